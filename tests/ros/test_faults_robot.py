"""SIGKILL of camera, operator's node, recorder and arm in the graph of a robot, one after the other; and one that does not come up."""

import signal

import pytest

from tests.ros import robot_graph

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")

DOMAIN, WRONG_ROBOT_DOMAIN, WRONG_CAMERA_DOMAIN = 142, 143, 144
KIND = robot_graph.KINDS["ros2_control"]
AT_ONCE_S = 1.0  # deadman: 0.1 s
SILENT_S = 2.5  # 2.5 control periods are 0.5 s


def test_nodes_of_a_robot_killed_one_after_the_other_each_end_in_hold(program, tmp_path):
    """Somebody else stands in for each before the next one goes: what holds is the gate, by what it does not hear."""
    driver = robot_graph.driver(program, KIND)
    watcher = robot_graph.Operator(DOMAIN, KIND)
    launched = robot_graph.launched("ros2_control", DOMAIN, tmp_path, robot_graph.PATIENT)
    try:
        robot_graph.until_up(watcher, launched)
        watcher.drive()
        killed = launched.send("teleop", signal.SIGKILL)
        watcher.until_said("hold-to-run", since_s=killed, timeout_s=1.5)
        assert watcher.time_to_hold(killed) < AT_ONCE_S
        watcher.gamepad = False
        watcher.drive()
        killed = launched.send("recorder", signal.SIGKILL)
        watcher.until(lambda: len(watcher.motions(killed + 0.3)) > 20, 10, "the arm waits for a recorder")
        killed = launched.send("camera", signal.SIGKILL)
        watcher.until_said("policy has sent no|camera", since_s=killed, timeout_s=1.5)
        assert watcher.time_to_hold(killed) < SILENT_S
        watcher.shows = True
        watcher.drive()
        killed = launched.send("arm", signal.SIGKILL)
        assert watcher.time_to_hold(killed) < SILENT_S
        assert launched.wait(40) == 1
        codes = launched.exit_codes()
        gone = {node: codes.pop(node) for node in ("teleop", "recorder", "camera", "arm")}
        assert set(gone.values()) == {-signal.SIGKILL}
        codes.pop("manager")  # it says that it missed somebody
        assert set(codes.values()) == {0}, launched.text[-3000:]
        assert driver.poll() is None
        assert watcher.check_limits() > 100
    finally:
        launched.close()
        watcher.close()


@pytest.mark.parametrize(
    ("domain", "settings", "node", "words"),
    [
        (WRONG_ROBOT_DOMAIN, "robot: panda2", "arm", ("panda2", "panda, wx250s")),
        pytest.param(
            WRONG_CAMERA_DOMAIN, "cameras: [side]", "policy", ("looks at camera 'primary'", "['side']"), marks=pytest.mark.slow
        ),
    ],
    ids=["unknown arm", "unknown camera"],
)  # fmt: skip
def test_an_arm_nobody_knows_or_a_camera_the_policy_was_not_trained_on_starts_nothing(
    tmp_path, domain, settings, node, words
):
    """No driver is needed to say what is wrong; whoever still starts then leaves in peace."""
    scope = "/**" if node == "arm" else f"/**/{node}"
    launched = robot_graph.launched("ros2_control", domain, tmp_path, f"{scope}:\n  ros__parameters: {{{settings}}}\n")
    try:
        assert launched.wait(120) == 1, launched.text
        said = [line for line in launched.text.splitlines() if "[ERROR]" in line and line.startswith(f"[{node}-")]
        assert len(said) == 1, launched.text
        assert all(word in said[0] for word in words), said
        assert f"{node} could not configure" in launched.text
        assert "Traceback" not in launched.text
        assert "the graph is active" not in launched.text
        others = {name: code for name, code in launched.exit_codes().items() if name != "manager"}
        assert set(others.values()) == {0}, "the rest is taken down and leaves in peace"
    finally:
        launched.close()
