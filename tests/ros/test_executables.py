"""A node that is told to leave while it still starts does so in peace, whichever of its many imports it is at."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from robot_pt_ros.launch_runner.evaluate import Process
from robot_pt_ros.launch_runner.process import Running
from tests.ros.demo_store import demo_store
from tests.ros.node_process import ROOT
from tests.ros.test_launch_files import setup_py

DOMAIN = 211
NODES = setup_py()[1]
IMPORTS = 400
"""Every node has more, some a hundred."""
NEEDS = {"online": ("-p", "run:=.")}
"""What a node does not even start without."""
ENVIRONMENT = {
    **os.environ, "ROS_DOMAIN_ID": str(DOMAIN), "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "ros_nodes"), str(ROOT / "sim")]),
}  # fmt: skip
BOTH = (signal.SIGINT, signal.SIGTERM)
PEACE = (0, "")


def planned(label, argv, interpreter, folder):
    return Process(
        label=label, argv=argv, environment=ENVIRONMENT, parameters=(), directory=str(folder), required=False,
        sigterm_timeout_s=5.0, sigkill_timeout_s=5.0, interpreter=interpreter,
    )  # fmt: skip


class Started:
    """A node as `robot-pt launch` starts it, in a Python that tells of every import, so that moments are the same on any machine."""

    def __init__(self, name, folder, *args):
        words = ("--ros-args", *NEEDS.get(name, ()), *args)
        argv = (sys.executable, "-X", "importtime", "-m", "robot_pt_ros", name, *words)
        process = planned(name, argv, sys.executable, folder)
        self.name, self.lines, self.ended = name, [], threading.Event()
        self.running = Running(process, folder, self.lines.append, lambda code: self.ended.set())

    def imported(self, count):
        """Wait for so many modules."""
        end_s = time.monotonic() + 60
        while len(self.lines) < count:
            assert time.monotonic() < end_s, self.said
            assert not self.ended.is_set(), self.said
            time.sleep(0.001)

    @property
    def said(self):
        return [line for line in self.lines if not re.match(r"import time:", line)]

    def leaves(self, number):
        """Signal it: (exit code, what was said if Python had a word in it). In peace that is `PEACE`."""
        at = len(self.lines)
        self.running.send(number)
        assert self.ended.wait(60), f"{self.name} stays, told at import {at}: {self.said}"
        text = "\n".join(self.said)
        return self.running.exit_code, text if re.search("Traceback|KeyboardInterrupt", text) else ""

    def close(self):
        self.running.send(signal.SIGKILL)
        self.ended.wait(30)


@pytest.fixture
def started(tmp_path):
    made = []

    def start(name, *args):
        made.append(Started(name, tmp_path, *args))
        return made[-1]

    yield start
    for one in made:
        one.close()


def settings(folder):
    """Node -> parameters that it can be configured with alone."""
    import cv2

    frames = folder / "frames"
    frames.mkdir()
    cv2.imwrite(str(frames / "0.png"), np.zeros((48, 64, 3), np.uint8))
    demo_store(folder / "demos", np.full((5, 7), 0.01, np.float32))
    given = {
        "arm": {"robot": "panda", "gripper_joint": "finger", "driver": "ros2_control", "driver_namespace": "/driver"},
        "camera": {"source": frames},
        "policy": {"robot": "panda", "replay_store": folder / "demos"},
        "recorder": {"robot": "panda", "root": folder / "recorded", "min_free_bytes": 1000, "hard_min_bytes": 1000},
        "supervisor": {"robot": "wx250s"},
        "teleop": {"robot": "wx250s", "device": "topic"},
    }
    return {name: [w for k, v in values.items() for w in ("-p", f"{k}:={v}")] for name, values in given.items()}


@pytest.mark.parametrize("name", NODES)
def test_a_node_leaves_in_peace_while_it_is_imported(started, name):
    rng = random.Random(name)
    at_once, later = started(name), started(name)
    assert at_once.leaves(rng.choice(BOTH)) == PEACE
    later.imported(rng.randrange(IMPORTS))
    assert later.leaves(rng.choice(BOTH)) == PEACE


@pytest.mark.slow
@pytest.mark.parametrize("name", NODES)
def test_a_node_leaves_in_peace_at_any_moment_of_its_start(started, name):
    rng = random.Random()
    for moment in range(12):
        one = started(name)
        one.imported(rng.randrange(IMPORTS) if moment % 2 else IMPORTS)
        time.sleep(0 if moment % 2 else rng.uniform(0, 1.5))  # its last imports, its context, its node, its first spins
        told_at = len(one.lines)
        assert one.leaves(rng.choice(BOTH)) == PEACE, told_at


def told_while_it_changes(graph, watcher, node, after_s, number):
    """Signal it while it is being configured and activated; how it leaves."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    client = watcher.create_client(ChangeState, f"{node.name}/change_state")
    assert graph.spin_until(client.service_is_ready), node.said
    for change in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        client.call_async(ChangeState.Request(transition=Transition(id=change)))
    time.sleep(after_s)
    watcher.destroy_client(client)
    return node.leaves(number)


@pytest.mark.parametrize("number", BOTH)
def test_a_recorder_leaves_in_peace_while_it_is_configured(graph, started, tmp_path, number):
    node = started("recorder", *settings(tmp_path)["recorder"])
    assert told_while_it_changes(graph, graph.node("watcher"), node, 0.0, number) == PEACE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arm", "camera", "policy", "recorder", "supervisor", "teleop"])
def test_a_node_leaves_in_peace_while_it_is_configured_and_activated(graph, started, tmp_path, name):
    rng, watcher, given = random.Random(), graph.node("watcher"), settings(tmp_path)[name]
    for _ in range(8):
        node, after_s = started(name, *given), rng.uniform(0, 0.3)
        assert told_while_it_changes(graph, watcher, node, after_s, rng.choice(BOTH)) == PEACE, after_s


@pytest.mark.parametrize(("given", "said"), [((), "an executable is missing"), (("cook",), "no executable 'cook'")])
def test_a_name_that_no_executable_has_is_one_sentence(given, said):
    command = [sys.executable, "-m", "robot_pt_ros", *given]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert said in done.stderr
    assert ", ".join(sorted(NODES)) in done.stderr


def test_every_installed_executable_is_one_that_a_module_runs():
    from robot_pt_ros import executables

    assert {name: getattr(executables, name).args for name in NODES} == {name: (name,) for name in NODES}


def test_a_program_of_somebody_else_gets_its_signals_at_once(tmp_path):
    """Only ours ask for them."""
    argv, ended = (sys.executable, "-c", "import time; time.sleep(60)"), threading.Event()
    process = planned("nap", argv, None, tmp_path)
    running = Running(process, tmp_path, lambda line: None, lambda code: ended.set())
    running.send(signal.SIGTERM)
    assert ended.wait(30)
    assert running.exit_code == -signal.SIGTERM
