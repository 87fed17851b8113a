"""launch/sim.launch.yaml in processes of its own, as a user starts it: it drives by itself, its gate watches the cameras, its manager keeps it up."""

import signal
from pathlib import Path

import pytest

from tests.ros import graph as graphs

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")
pytest.importorskip("robosuite", reason="the graph needs robot-pt[sim] and robosuite")

DOMAIN = 116
LAUNCH = Path(__file__).parents[2] / "launch/sim.launch.yaml"


def test_it_drives_by_itself_a_frozen_camera_holds_it_and_a_killed_manager_ends_it(tmp_path):
    watcher = graphs.Watcher(DOMAIN, namespace="/sim")
    launched = graphs.Graph(
        DOMAIN, tmp_path, launch=LAUNCH, checkpoint=graphs.circling_policy(tmp_path / "run"), task="lift-red",
        workspace_min=graphs.LOW.tolist(), workspace_max=graphs.HIGH.tolist(),
    )  # fmt: skip
    try:
        watcher.until_mode("policy", timeout_s=120)
        watcher.until(lambda: len(watcher.motions()) > 30, 60, "the arm does not move")
        since = watcher.set("sim", freeze_images=True)
        watcher.until_said("repeats one image", since_s=since, timeout_s=6)
        watcher.time_to_hold(since)
        thawed = watcher.set("sim", freeze_images=False)
        watcher.until(lambda: watcher.motions(thawed), 30, "it does not go on by itself")
        killed = launched.send("manager", signal.SIGKILL)
        assert watcher.time_to_hold(killed) < 6.0  # its end is a Ctrl-C to all
        assert launched.wait(60) == 1
        codes = launched.exit_codes()
        assert codes.pop("manager") == -signal.SIGKILL
        assert set(codes.values()) == {0}, launched.text[-3000:]
        assert "Traceback" not in launched.text
        assert watcher.check_limits() > 60
    finally:
        launched.close()
        watcher.close()
