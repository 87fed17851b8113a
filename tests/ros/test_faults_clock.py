"""Simulated time that jumps back in lock-step: what was heard before it counts no more, and the arm goes on from where it is, by itself."""

import numpy as np
import pytest

from tests.ros import graph as graphs

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")
pytest.importorskip("robosuite", reason="the graph needs robot-pt[sim] and robosuite")

DOMAIN = 93
JUMP_NS = 1_500_000_000


@pytest.mark.slow
def test_a_target_that_nobody_heard_does_not_stop_the_world(tmp_path):
    """Asked for before the policy is in control: the simulator goes on with a hold after a while, and so does the policy."""
    watcher = graphs.Watcher(DOMAIN)
    launched = graphs.Graph(
        DOMAIN, tmp_path, checkpoint=graphs.circling_policy(tmp_path / "run"), lockstep="true", trigger="[safety/arm]",
    )  # fmt: skip
    try:
        watcher.until(lambda: "holding where the arm is" in launched.text, 120, "it does not come up")
        watcher.pull("policy/start")
        watcher.until(lambda: watcher.steps, 10, "the policy does not ask")
        watcher.until(lambda: "'not_in_control': 1" in watcher.states[-1].counts, 10, "the gate has not heard it")
        assert watcher.pull("safety/start_policy")[0]
        watcher.until(lambda: len(watcher.motions()) > 3, 40, "the arm does not move")
        assert "no command for the last observation" in launched.text
        watcher.check_limits()
    finally:
        launched.close()
        watcher.close()


def test_clock_that_jumps_back_in_lock_step_holds_and_goes_on(tmp_path):
    watcher = graphs.Watcher(DOMAIN)
    launched = graphs.Graph(
        DOMAIN, tmp_path, checkpoint=graphs.circling_policy(tmp_path / "run"), lockstep="true",
        trigger="[safety/arm, safety/start_policy]",
    )  # fmt: skip
    try:
        watcher.until(lambda: "the policy is in control" in launched.text, 120, "it does not come up")
        watcher.pull("policy/start")
        watcher.until(lambda: len(watcher.motions()) > 8, 60, "the arm does not move")
        since = watcher.set("sim", clock_offset_s=-JUMP_NS / 1e9)
        heard = lambda: [c for c in list(watcher.commands) if c.heard_s > since - 1]  # noqa: E731

        def jump():
            stamps = np.array([c.stamp_ns for c in heard()])
            at = np.flatnonzero(np.diff(stamps) < -JUMP_NS // 2)
            return int(at[0]) + 1 if len(at) else None

        watcher.until(lambda: jump() is not None, 60, "no command of the time after the jump")
        watcher.until(lambda: len(heard()) > jump() + 8, 60, "it does not go on")
        jumped_s = heard()[jump()].heard_s - heard()[jump() - 1].heard_s
        assert jumped_s < 5.0, "nobody waits for a time that is over"
        assert "simulated time was set back" in launched.text
        assert "no command for the last observation" not in launched.text
        assert watcher.check_limits(jumps=1) > 16
        assert len(watcher.motions(heard()[jump()].heard_s)) > 4
        code, _ = launched.end()
        assert code == 0
    finally:
        launched.close()
        watcher.close()
