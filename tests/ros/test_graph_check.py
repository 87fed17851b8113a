"""The checker that every test of a running graph trusts: what it lets pass, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ros.graph import Command, Watcher


class Slide:
    """One joint [m] that is the tool's x."""

    def fk(self, q: np.ndarray) -> np.ndarray:
        T = np.eye(4)
        T[0, 3] = q[0]
        return T


def check(*sent: float, measured: float) -> None:
    """Commands of an arm between 0 and 1, fifty a second, while it was measured at one place."""
    watcher = Watcher.__new__(Watcher)
    watcher.arm, watcher.low, watcher.high = Slide(), np.array([0.0, -1, -1]), np.array([1.0, 1, 1])
    watcher.states, watcher.joints = [], [(0.02 * i, np.array([measured, 0.0])) for i in range(50)]
    watcher.commands = [Command(0.02 * i, i, np.array([x]), 1.0) for i, x in enumerate(sent)]
    watcher._check_walls(watcher.commands, [watcher.arm.fk(c.q) for c in watcher.commands])


def test_commands_inside_pass():
    check(0.5, 0.5, 0.9, 1.0, 1.0005, 0.9, measured=0.5)


def test_an_arm_that_rests_outside_comes_back_and_does_not_go_farther():
    check(1.03, 1.03, 1.02, 1.01, 1.0, 0.9, measured=1.03)
    check(0.9, 0.9, 1.025, 1.02, 1.0, measured=1.03)  # taken over where it rests
    with pytest.raises(AssertionError, match="sent"):
        check(1.03, 1.03, 1.02, 1.025, measured=1.03)


@pytest.mark.parametrize("sent", [(0.9, 0.95, 1.01), (0.9, 0.9, 1.05, 1.05), (0.9, 0.95, 1.03)])
def test_commands_that_lead_outside_do_not_pass(sent):
    with pytest.raises(AssertionError, match="sent"):
        check(*sent, measured=0.9 if len(sent) == 4 else 1.03)
