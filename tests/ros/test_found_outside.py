"""An arm that is found outside its workspace when a policy takes over: led back, and never farther out."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")

from tests.ros import graph as graphs

DOMAIN = 67
LOW = np.array([0.52, -0.12, -0.02])  # [m]; the simulated arm begins 5 cm short of it


@pytest.mark.slow
def test_an_arm_found_outside_its_workspace_is_led_back(tmp_path):
    pytest.importorskip("robosuite", reason="the simulator needs robot-pt[sim]")
    watcher = graphs.Watcher(DOMAIN, low=LOW)
    watcher.held = True
    run = graphs.circling_policy(tmp_path / "run", low=LOW)
    launched = graphs.Graph(DOMAIN, tmp_path, checkpoint=run, require_deadman="true", workspace_min=str(LOW.tolist()))
    try:
        watcher.until_mode("policy", timeout_s=90)
        time.sleep(4)
        outside = [watcher._outside(watcher.arm.fk(command.q)) for command in list(watcher.commands)]
        assert outside[0] > 0.04
        assert outside[-1] < 1e-3, "it came back"
        assert watcher.check_limits() > 100
        assert launched.end()[0] == 0
    finally:
        launched.close()
        watcher.close()
