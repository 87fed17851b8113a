"""Faults of a running graph, one after the other on one graph of real processes: each ends in hold in time, none sends a wild command.

Times are bounded wide here, for a busy machine; benchmarks/faults.py reads the exact ones.
"""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.ros import graph as graphs
from tests.ros.node_process import NodeProcess, change_state

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")
pytest.importorskip("robosuite", reason="the graph needs robot-pt[sim] and robosuite")

DOMAIN, OTHER_DOMAIN = 102, 105

pytestmark = pytest.mark.slow  # minutes of real time, in which load decides over tenths of seconds
SILENT_S = 1.5  # 2.5 control periods are 0.5 s
AT_ONCE_S = 0.6  # e-stop and deadman: 0.1 s


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return graphs.circling_policy(tmp_path_factory.mktemp("circling"))


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """64 kB of disk for the latch file; any folder where this user may not mount."""
    folder = tmp_path_factory.mktemp("small")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    yield folder, mounted.returncode == 0
    if mounted.returncode == 0:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def running(checkpoint, small_disk, tmp_path_factory):
    """(graph, watcher) of a graph that drives; at the end every command it ever sent is checked."""
    watcher = graphs.Watcher(DOMAIN)
    watcher.held = True
    launched = graphs.Graph(
        DOMAIN, tmp_path_factory.mktemp("graph"), checkpoint=checkpoint, require_deadman="true",
        latch_file=small_disk[0] / "latch.json",
    )  # fmt: skip
    try:
        watcher.until_mode("policy", timeout_s=90)
        yield launched, watcher
    finally:
        launched.close()
        watcher.close()


@pytest.fixture
def driving(running):
    """The same, brought back from whatever the test before left; checks what was sent during the test."""
    launched, watcher = running
    assert launched.process.poll() is None, launched.text[-3000:]
    watcher.drive()
    yield launched, watcher
    watcher.check_limits()


def test_it_drives_and_every_command_is_inside_its_limits(driving):
    _, watcher = driving
    begun = time.monotonic()
    watcher.until(lambda: len(watcher.motions(begun)) > 150, 15, "the arm hardly moves")
    poses = np.array([watcher.arm.fk(c.q)[:3, 3] for c in watcher.motions(begun)])
    assert np.ptp(poses, axis=0)[:2].min() > 0.05
    assert watcher.check_limits() > 100
    measured = np.array([q[:-1] for at, q in watcher.joints if at > begun])
    assert np.ptp(measured, axis=0).max() > 0.2, "the simulated arm follows"
    seconds = time.monotonic() - begun
    assert len(watcher.joints) / seconds > 20, "joint states between the control steps"


@pytest.mark.parametrize(("node", "why"), [("policy", "policy has sent no"), ("sim", "joint states|camera")])
def test_a_stopped_node_ends_in_hold_and_a_continued_one_goes_on(driving, node, why):
    """Shorter than the bond, so that the manager leaves the graph up."""
    launched, watcher = driving
    stopped = launched.send(node, signal.SIGSTOP)
    try:
        state = watcher.until_mode("hold", since_s=stopped, timeout_s=SILENT_S)
        held_s = watcher.time_to_hold(stopped, settle_s=0.3)
    finally:
        launched.send(node, signal.SIGCONT)
    assert any(part in state.text for part in why.split("|")), state
    assert held_s < SILENT_S
    watcher.drive()


def test_a_stopped_supervisor_sends_nothing_and_goes_on_without_a_jump(driving):
    launched, watcher = driving
    stopped = launched.send("supervisor", signal.SIGSTOP)
    time.sleep(1.2)
    last = watcher.commands[-1].heard_s
    continued = launched.send("supervisor", signal.SIGCONT)
    assert last - stopped < AT_ONCE_S
    watcher.until(lambda: watcher.commands[-1].heard_s > continued + 0.5, 10, "no command after the stop")
    before = [c for c in watcher.commands if c.heard_s < continued][-1]
    after = next(c for c in watcher.commands if c.heard_s > continued)
    assert np.abs(after.q - before.q).max() < 0.1  # two ticks' worth of motion at most, not a second's


def test_a_stopped_manager_stops_nothing(driving):
    launched, watcher = driving
    stopped = launched.send("manager", signal.SIGSTOP)
    time.sleep(1.0)
    launched.send("manager", signal.SIGCONT)
    assert {s.mode for s in watcher.states if s.heard_s > stopped} == {"policy"}
    assert watcher.motions(stopped + 0.5)


@pytest.mark.parametrize(
    ("fault", "bound_s", "why"),
    [
        ({"freeze_images": True}, 4.0, "repeats one image"),
        ({"black_images": True}, 4.0, "repeats one image"),
        ({"image_delay_s": 0.5}, 2.5, "policy has sent no|camera"),
        ({"drop_image_p": 1.0}, 2.5, "policy has sent no|camera"),
        ({"freeze_joint_states": True}, SILENT_S, "joint states"),
        ({"clock_offset_s": -5.0}, SILENT_S, "joint states"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_sensor_ends_in_hold_and_a_good_one_goes_on(driving, fault, bound_s, why):
    _, watcher = driving
    try:
        since = watcher.set("sim", **fault)
        state = watcher.until_mode("hold", since_s=since, timeout_s=bound_s + 1)
        held_s = watcher.time_to_hold(since)
    finally:
        watcher.set("sim", **{name: type(value)() for name, value in fault.items()})
    assert any(part in state.text for part in why.split("|")), state
    assert held_s < bound_s
    watcher.drive()


@pytest.mark.parametrize("fault", [{"nan_state": True}, {"wrong_joint": "joint3"}], ids=lambda value: next(iter(value)))
def test_joint_states_that_mean_nothing_are_a_fault_that_latches(driving, fault):
    _, watcher = driving
    wrong = {k: watcher.arm.joint_names[2] if k == "wrong_joint" else v for k, v in fault.items()}
    try:
        since = watcher.set("sim", **wrong)
        state = watcher.until_mode("fault", since_s=since, timeout_s=AT_ONCE_S)
        held_s = watcher.time_to_hold(since)
    finally:
        watcher.set("sim", **{name: type(value)() for name, value in wrong.items()})
    assert "malformed joint states" in state.fault
    assert held_s < AT_ONCE_S
    time.sleep(0.5)
    assert watcher.mode == "fault", "good joint states alone do not reset it"
    held = watcher.pull("safety/reset_fault")
    assert not held[0], "not while the deadman is held"
    assert "deadman" in held[1]


def test_a_released_deadman_and_a_silent_one_hold(driving):
    _, watcher = driving
    for gone in (False, None):
        watcher.held, since = gone, time.monotonic()
        state = watcher.until_mode("hold", since_s=since, timeout_s=AT_ONCE_S)
        assert "hold-to-run" in state.text
        assert watcher.time_to_hold(since) < AT_ONCE_S
        watcher.drive()


def test_the_estop_topic_trips_false_is_ignored_and_the_latch_is_on_disk(driving, small_disk):
    _, watcher = driving
    watcher.estop(False)
    time.sleep(0.4)
    assert watcher.mode == "policy"
    since = watcher.estop(True)
    watcher.until_mode("estop", since_s=since, timeout_s=AT_ONCE_S)
    assert watcher.time_to_hold(since) < AT_ONCE_S
    watcher.estop(False)
    time.sleep(0.4)
    assert watcher.mode == "estop"
    assert not watcher.pull("safety/arm")[0]
    assert '\\"estop\\": true' in (small_disk[0] / "latch.json").read_text()


def test_a_full_disk_does_not_keep_the_estop_from_holding_and_is_told(driving, small_disk):
    folder, is_small = small_disk
    if not is_small:
        pytest.skip("this user may not mount a small disk")
    launched, watcher = driving
    filler = folder / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(100_000))
    try:
        since = watcher.estop(True)
        watcher.until_mode("estop", since_s=since, timeout_s=AT_ONCE_S)
        assert watcher.time_to_hold(since) < AT_ONCE_S
        watcher.until(lambda: "would not survive a restart" in launched.text, 5, "the operator is not told")
    finally:
        filler.unlink()
    latch = folder / "latch.json"
    watcher.until(lambda: '\\"estop\\": true' in latch.read_text(), 5, "room again, and the latch is not written")


def test_a_busy_machine_breaks_no_limit(driving):
    _, watcher = driving
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    begun = time.monotonic()
    try:
        time.sleep(4)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert {s.mode for s in watcher.states if s.heard_s > begun} <= {"policy", "hold"}
    watcher.drive()


def test_a_second_policy_is_a_fault(driving, checkpoint, tmp_path):
    _, watcher = driving
    node = NodeProcess(
        "policy", DOMAIN, tmp_path, "-r", "__node:=second", checkpoint=str(checkpoint), robot="panda", task="lift-red"
    )
    try:
        since = time.monotonic()
        changed = change_state(watcher, watcher.node, "second", 1, timeout_s=40)
        state = watcher.until_mode("fault", since_s=since, timeout_s=3.0)
        assert changed == [True], node.text
        assert "more than one publisher on policy/" in state.fault
        watcher.time_to_hold(since)
    finally:
        node.close()


def test_ctrl_c_ends_it_within_ten_seconds_the_policy_first_and_all_with_0(driving):
    launched, watcher = driving
    begun = time.monotonic()
    code, seconds = launched.end()
    assert (code, launched.exit_codes()) == (0, dict.fromkeys(("sim", "supervisor", "policy", "manager"), 0))
    assert seconds < 10
    asked = max(step["stamp_ns"] for step in watcher.steps)
    assert asked < watcher.commands[-1].stamp_ns - 300_000_000, "the policy stops first"
    assert launched.text.rindex("sim-1: has finished") > launched.text.rindex("supervisor-2: has finished")
    assert watcher.commands[-1].heard_s - begun > 0.3, "hold is sent while the arm comes to rest"
    still = [c.q for c in watcher.commands[-10:]]
    assert np.ptp(still, axis=0).max() < 1e-9


def test_an_estop_survives_a_restart_of_the_supervisor(running, small_disk, tmp_path):
    """After a SIGKILL, which says nothing to anybody."""
    latch, parameters = small_disk[0] / "latch.json", {"robot": "panda"}
    watcher = graphs.Watcher(OTHER_DOMAIN)
    first = NodeProcess("supervisor", OTHER_DOMAIN, tmp_path, latch_file=str(latch), **parameters)
    second = None
    try:
        assert change_state(watcher, watcher.node, "supervisor", 1, 3) == [True, True], first.text
        watcher.until(lambda: watcher.estop(True) and watcher.mode == "estop", 5, "no e-stop")
        watcher.until(lambda: '\\"estop\\": true' in latch.read_text(), 5, "the latch is not written")
        os.kill(first.process.pid, signal.SIGKILL)
        first.close()
        watcher.forget_estop()
        killed = time.monotonic()
        watcher.until(lambda: watcher.node.count_publishers("safety/state") == 0, 30, "the dead one is still seen")
        second = NodeProcess("supervisor", OTHER_DOMAIN, tmp_path, latch_file=str(latch), **parameters)
        assert change_state(watcher, watcher.node, "supervisor", 1, 3, timeout_s=40) == [True, True], second.text
        watcher.until_mode("estop", since_s=killed)
        assert not watcher.pull("safety/arm")[0]
    finally:
        for node in (first, second):
            if node is not None:
                node.close()
        watcher.close()
