"""Faults of a running graph, one after the other on one graph of real processes: each ends in hold in time, none sends a wild command.

Times are bounded wide here, for a machine whose cores others use too; benchmarks/faults.py reads the exact ones. A fault's hold is
told by its reason: load alone may hold the arm for a moment at any time, and then the graph goes on by itself.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from tests.ros import graph as graphs
from tests.ros.node_process import NodeProcess, change_state

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")
pytest.importorskip("robosuite", reason="the graph needs robot-pt[sim] and robosuite")

DOMAIN, OTHER_DOMAIN = 106, 107
SILENT_S = 2.5  # 2.5 control periods are 0.5 s
AT_ONCE_S = 1.0  # e-stop and deadman: 0.1 s


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return graphs.circling_policy(tmp_path_factory.mktemp("circling"))


class SmallDisk:
    """64 kB of disk for the latch file; where this user may not mount, files that may not grow."""

    def __init__(self, folder):
        self.folder, self.latch = folder, folder / "latch.json"
        self.mounted = not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False
        ).returncode

    @contextmanager
    def full(self, pid):
        """No room for the process `pid`."""
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        filler = self.folder / "filler"
        if self.mounted:
            with pytest.raises(OSError, match="No space left"):
                filler.write_bytes(bytes(100_000))
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        try:
            yield
        finally:
            filler.unlink(missing_ok=True)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    disk = SmallDisk(tmp_path_factory.mktemp("small"))
    yield disk
    if disk.mounted:
        subprocess.run(["umount", "--lazy", disk.folder], check=True)


@pytest.fixture(scope="module")
def running(checkpoint, small_disk, tmp_path_factory):
    """(graph, watcher) of a graph that drives; at the end every command it ever sent is checked."""
    watcher = graphs.Watcher(DOMAIN)
    watcher.held = True
    launched = graphs.Graph(
        DOMAIN, tmp_path_factory.mktemp("graph"), checkpoint=checkpoint, require_deadman="true",
        latch_file=small_disk.latch,
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

    def where():
        return np.array([watcher.arm.fk(c.q)[:3, 3] for c in watcher.motions(begun)])

    watcher.until(lambda: len(where()) > 60 and np.ptp(where(), axis=0)[:2].min() > 0.05, 30, "the arm hardly moves")
    measured = np.array([q[:-1] for at, q in list(watcher.joints) if at > begun])
    assert np.ptp(measured, axis=0).max() > 0.1, "the simulated arm follows"
    assert len(measured) / (time.monotonic() - begun) > 10, "joint states between the control steps"
    assert watcher.check_limits() > 60


@pytest.mark.parametrize(("node", "why"), [("policy", "policy has sent no"), ("sim", "joint states|camera")])
def test_a_stopped_node_ends_in_hold_and_a_continued_one_goes_on(driving, node, why):
    """Shorter than the bond, so that the manager leaves the graph up."""
    launched, watcher = driving
    stopped = launched.send(node, signal.SIGSTOP)
    try:
        watcher.until_said(why, since_s=stopped, timeout_s=1.5)
        held_s = watcher.time_to_hold(stopped, settle_s=0.3)
    finally:
        launched.send(node, signal.SIGCONT)
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
    try:
        watcher.until(lambda: watcher.motions(stopped + 0.7), 10, "the arm stands still without a manager")
    finally:
        launched.send("manager", signal.SIGCONT)
    assert {s.mode for s in watcher.states if s.heard_s > stopped} <= {"policy", "hold"}


@pytest.mark.parametrize(
    ("fault", "bound_s", "why"),
    [
        ({"freeze_images": True}, 4.0, "repeats one image"),
        ({"black_images": True}, 4.0, "repeats one image"),
        ({"image_delay_s": 0.5}, 2.5, "policy has sent no|camera"),
        ({"drop_image_p": 1.0}, 2.5, "policy has sent no|camera"),
        ({"freeze_joint_states": True}, SILENT_S, "joint states"),
        ({"clock_offset_s": -5.0}, SILENT_S, "joint states|camera"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_sensor_ends_in_hold_and_a_good_one_goes_on(driving, fault, bound_s, why):
    _, watcher = driving
    try:
        since = watcher.set("sim", **fault)
        watcher.until_said(why, since_s=since, timeout_s=bound_s + 2)
        held_s = watcher.time_to_hold(since)
    finally:
        watcher.set("sim", **{name: type(value)() for name, value in fault.items()})
    assert held_s < bound_s
    watcher.drive()


def test_a_camera_that_freezes_while_the_arm_is_held_is_found_before_it_moves_again(driving):
    """With the arm at rest pictures of a simulated scene would be equal, were it not for the noise of its cameras."""
    _, watcher = driving
    watcher.held = False
    watcher.until_said("hold-to-run", since_s=time.monotonic())
    time.sleep(2.0)
    watcher.held, since = True, time.monotonic()
    watcher.drive()
    assert "repeats one image" not in {s.text for s in watcher.states if s.heard_s > since}, "a still scene is no fault"
    watcher.held = False
    watcher.time_to_hold(time.monotonic())
    try:
        watcher.set("sim", freeze_images=True)
        time.sleep(2.0)
        watcher.held, since = True, time.monotonic()
        watcher.until_said("repeats one image", since_s=since)
    finally:
        watcher.set("sim", freeze_images=False)
    watcher.drive()


def test_joints_in_another_order_are_read_by_their_names(driving):
    _, watcher = driving
    try:
        since = watcher.set("sim", reverse_joints=True)
        watcher.until(lambda: len(watcher.motions(since + 0.5)) > 40, 20, "the arm does not go on")
        order = [names for at, names in watcher.joint_names if at > since + 0.5]
        assert order
        assert set(order) == {("gripper", *watcher.arm.joint_names[::-1])}
    finally:
        watcher.set("sim", reverse_joints=False)
    assert {s.mode for s in watcher.states if s.heard_s > since} <= {"policy", "hold"}


@pytest.mark.parametrize("fault", [{"nan_state": True}, {"wrong_joint": "joint3"}], ids=lambda value: next(iter(value)))
def test_joint_states_that_mean_nothing_are_a_fault_that_latches(driving, fault):
    _, watcher = driving
    wrong = {k: watcher.arm.joint_names[2] if k == "wrong_joint" else v for k, v in fault.items()}
    try:
        since = watcher.set("sim", **wrong)
        state = watcher.until_mode("fault", since_s=since, timeout_s=AT_ONCE_S + 1)
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
        watcher.until_said("hold-to-run", since_s=since)
        assert watcher.time_to_hold(since) < AT_ONCE_S
        watcher.drive()


def test_the_estop_topic_trips_false_is_ignored_and_the_latch_is_on_disk(driving, small_disk):
    _, watcher = driving
    watcher.estop(False)
    time.sleep(0.4)
    assert watcher.mode in ("policy", "hold")
    since = watcher.estop(True)
    watcher.until_mode("estop", since_s=since, timeout_s=AT_ONCE_S + 1)
    assert watcher.time_to_hold(since) < AT_ONCE_S
    watcher.estop(False)
    time.sleep(0.4)
    assert watcher.mode == "estop"
    assert not watcher.pull("safety/arm")[0]
    assert '\\"estop\\": true' in small_disk.latch.read_text()


def test_a_full_disk_does_not_keep_the_estop_from_holding_and_is_told(driving, small_disk):
    launched, watcher = driving
    with small_disk.full(launched.pid("supervisor")):
        since = watcher.estop(True)
        watcher.until_mode("estop", since_s=since, timeout_s=AT_ONCE_S + 1)
        assert watcher.time_to_hold(since) < AT_ONCE_S
        watcher.until(lambda: "would not survive a restart" in launched.text, 10, "the operator is not told")
    watcher.until(lambda: '\\"estop\\": true' in small_disk.latch.read_text(), 10, "room again, and it is not written")


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
        state = watcher.until_mode("fault", since_s=since, timeout_s=10.0)
        assert changed == [True], node.text
        assert "more than one publisher on policy/" in state.fault
        watcher.time_to_hold(since)
    finally:
        node.close()


def test_a_second_switch_is_a_fault(driving):
    """Released here and pressed there, nobody holds it."""
    from std_msgs.msg import Bool

    from robot_pt_ros import topics

    _, watcher = driving
    since = time.monotonic()
    second = watcher.node.create_publisher(Bool, topics.DEADMAN, topics.heartbeat())
    try:
        state = watcher.until_mode("fault", since_s=since, timeout_s=10.0)
        assert "more than one publisher on teleop/deadman" in state.fault
        watcher.time_to_hold(since)
    finally:
        watcher.node.destroy_publisher(second)
    watcher.drive()


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
    latch, parameters = small_disk.latch, {"robot": "panda"}
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
