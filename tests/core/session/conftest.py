"""A policy that plays what it is told, an arm whose joints are its tool's pose, and a session around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from robot_pt.commands import ArmState
from robot_pt.rotations import rpy_to_matrix
from robot_pt.schema import Spec
from robot_pt.session import Session, SessionSettings

SPEC = Spec(cameras={"primary": (8, 12)}, embodiment="toy", control_hz=5.0)
PERIOD = 200_000_000
START = 10_000_000_000
HOME = (0.3, 0.0, 0.2, 0.0, 0.0, 0.1)


class CartesianArm:
    """Joints are x y z [m] roll pitch yaw [rad] of the tool."""

    joint_names = ("x", "y", "z", "roll", "pitch", "yaw")

    def fk(self, q):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rpy_to_matrix(q[3:]), q[:3]
        return pose


@dataclass
class ScriptedPolicy:
    """Answers with `choose(history)`, a chunk (H, 7); keeps what it was asked."""

    choose: Callable[[Any], Any]
    spec: Spec = SPEC
    version: str = "v1"
    record: Any = None
    resets: list[Any] = field(default_factory=list)
    histories: list[Any] = field(default_factory=list)

    def reset(self, task, instruction=None):
        self.resets.append((task, instruction))

    def act(self, history):
        self.histories.append(list(history))
        return self.choose(history)


def action(*deltas, gripper=1.0):
    return np.array([*deltas, *[0.0] * (6 - len(deltas)), gripper], np.float32)


@dataclass
class Rig:
    """A session with a clock in hand; `step` shows it the arm and a frame of now, then ticks."""

    session: Session
    policy: ScriptedPolicy
    now: int = START
    q: Any = HOME
    gripper: float = 1.0

    def see(self, age_ns=0):
        stamp = self.now - age_ns
        frame = np.full((8, 12, 3), stamp // 1_000_000 % 251, np.uint8)
        self.session.observe_arm(ArmState(stamp, np.array(self.q), self.gripper))
        self.session.observe_image("primary", stamp, frame)

    def start(self, **goal):
        self.see()
        return self.session.start(self.now, **goal)

    def step(self, periods=1.0):
        """Tick now, then let `periods` pass."""
        self.see()
        target = self.session.tick(self.now)
        self.now += round(periods * PERIOD)
        return target


@pytest.fixture
def rig():
    def build(
        choose=lambda history: action(0.01)[None],
        *,
        warm=True,
        spec=SPEC,
        robot=None,
        limits=None,
        record=None,
        **settings,
    ):
        policy = ScriptedPolicy(choose, spec=spec, record=record)
        clock = iter(range(0, 10**12, 1_000_000))  # every look at it takes 1 ms
        session = Session(
            policy, robot or spec, CartesianArm(), task="lift", settings=SessionSettings(**{"history": 4, **settings}),
            limits=limits, clock_ns=lambda: next(clock),
        )  # fmt: skip
        if warm:
            session.warm_up(3)
            policy.histories.clear()
        return Rig(session, policy)

    return build


@pytest.fixture(scope="session")
def toy():
    """The parts of a rig, for property tests."""
    return SimpleNamespace(Policy=ScriptedPolicy, Arm=CartesianArm, spec=SPEC)
