"""A simulator under the clock of the graph: episodes one after the other on one time that never goes back."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter

from robot_pt.commands import Float64, JointCommand, PoseTarget
from robot_pt.schema import Image, Observation
from robot_pt.simulator import Simulator
from robot_pt.targets import action_between, moved
from robot_pt_ros.arm_model import arm_of
from robot_pt_ros.node import flag, number

BETWEEN_EPISODES_NS = 1_000_000_000
"""Simulated time between the last observation of an episode and the first of the next."""
EARLIEST_NS = 100_000_000
"""ROS time cannot be negative, and a stamp of zero means none."""
LOST_ON_THE_WAY = 1e-12
"""Two poses of some metres, as quaternions in messages and apart again, are off by less [m], [rad]; floats of 32 bits lie farther apart."""
EVALUATED_FROM, SEEDS_LEFT = 1_000_000, 10_000
"""First seed of `robot_pt.evaluate`; a seed at random lies below it, with so many to count up."""
MOST_BEHIND_S = 0.1
"""Real time: how much a world that was not run catches up with at once [s]."""


class World:
    """Steps with commands, knows the time, remembers how the episode stands."""

    def __init__(self, simulator: Simulator, node: Node):
        self._simulator, self._node, self._arm = simulator, node, arm_of(node)
        self._lockstep, self._timeout_s = flag(node, "lockstep"), number(node, "answer_timeout_s")
        self.wall = Clock(clock_type=ClockType.STEADY_TIME)
        self.cameras, self.instruction = tuple(simulator.spec.cameras), simulator.instruction
        self.period_s = 1 / simulator.spec.control_hz
        self._offset_ns, self.now_ns, self._answered_ns, self._asked_at = 0, 0, 0, 0.0
        self.reward, self.ended, self._steps, self._success = 0.0, False, 0, False
        self._seed: int | None = None
        self._begun_at, self._paced = 0.0, 0
        self._noise = SensorNoise()
        self._off_by_ns = self._skew_ns = 0

    def reset(self) -> None:
        """The next episode, from the seed in the parameter, which then counts up; a scene nobody has touched is not used up."""
        seed = int(number(self._node, "seed"))
        if seed < 0:
            seed = int(np.random.default_rng().integers(EVALUATED_FROM - SEEDS_LEFT))
        if self._lockstep and self._seed == seed - 1 and not self._steps:
            seed -= 1
        self._node.set_parameters([Parameter("seed", value=seed + 1)])
        begun = self.now_ns - self._skew_ns + BETWEEN_EPISODES_NS
        self.observation = self._simulator.reset(seed)
        self._offset_ns = begun - self.observation.time_ns
        self.reward, self.ended, self._steps, self._success, self._seed = 0.0, False, 0, False, seed
        q = self.joints(self.observation)
        self._previous = PoseTarget(
            0, self._arm.fk(q[:-1]), float(q[-1])
        )  # targets are relative to where the arm stands
        self._begun_at, self._paced = time.monotonic(), 0
        self._observed()

    def step(self, command: JointCommand | None) -> None:
        """One control period towards a command; None holds the last target. In real time the world goes on after an episode."""
        if self.ended and self._lockstep:
            return
        target = self._previous if command is None else PoseTarget(0, command.T_base_tool, command.gripper)
        if command is not None:
            self._answered_ns = command.stamp_ns
        action = action_between(self._previous, target)
        result = self._simulator.step(as_asked(action) if self._lockstep else action)
        # In real time targets are absolute: what was cut off is asked for again, and does not add up
        reached = moved(self._previous.T_base_tool, result.sent_action)
        self._previous = target if self._lockstep else target._replace(T_base_tool=reached)
        self.observation = result.observation
        if not self.ended:
            self.reward, self._steps, self._success = result.reward, self._steps + 1, result.success
            self.ended = result.terminated or result.truncated
        self._observed()

    def close(self) -> None:
        """Give the simulator back; nothing may be asked of the world afterwards."""
        self._simulator.close()

    def set_clock(self, off_by_ns: int) -> bool:
        """Every stamp from now on is off by this much, though never before 0.1 s; True where that is a change."""
        if off_by_ns == self._off_by_ns:
            return False
        skew_ns = max(off_by_ns, EARLIEST_NS - self.now_ns + self._skew_ns)
        jump_ns, self._off_by_ns, self._skew_ns = skew_ns - self._skew_ns, off_by_ns, skew_ns
        self.now_ns += jump_ns
        self._answered_ns += jump_ns
        return True

    def due(self) -> int:
        """Real time: steps that the world is behind, at most `MOST_BEHIND_S`; what is missed beyond that never was."""
        now, most = time.monotonic(), max(1, round(MOST_BEHIND_S / self.period_s))
        behind = max(0, round((now - self._begun_at) / self.period_s) - self._paced)
        if behind > most:
            self._begun_at, self._paced = now, 0
            return most
        self._paced += behind
        return behind

    def answers(self, command: JointCommand) -> bool:
        """Lock-step: the command answers the last observation, once."""
        return not self.ended and command.stamp_ns >= self.now_ns and command.stamp_ns > self._answered_ns

    def waited_too_long(self) -> bool:
        """Lock-step: nobody answered within answer_timeout_s of real time."""
        return not self.ended and time.monotonic() - self._asked_at > self._timeout_s

    def joints(self, seen: Observation) -> Float64:
        """(J + 1,) [rad], then the opening."""
        assert seen.joint_positions is not None, "simulators of arms report their joints"
        return np.append(np.asarray(seen.joint_positions, np.float64), float(seen.proprio[-1]))

    def truth(self) -> dict[str, Any]:
        """The scene as it truly is, JSON values."""
        return {**self._simulator.truth(), "seed": self._seed, "ended": self.ended}

    def about(self) -> dict[str, Any]:
        """What episodes say of the simulator, JSON values; the task without its place, as a policy knows it."""
        simulator = self._simulator
        return {"task": simulator.task, "instruction": simulator.instruction, "metadata": simulator.about()}

    def start(self) -> dict[str, Any]:
        """Seed and initial conditions of this episode, JSON values."""
        return {"seed": self._seed, "initial_conditions": self._simulator.initial_conditions()}

    def result(self) -> dict[str, Any]:
        """How the episode ended, JSON values."""
        return {**self.start(), "success": self._success, "steps": self._steps, "task": self._simulator.task}

    def _observed(self) -> None:
        if not self._lockstep:
            seen = {camera: self._noise.on(frame) for camera, frame in self.observation.images.items()}
            self.observation = self.observation._replace(images=seen)
        on_time_ns = self.observation.time_ns + self._offset_ns if self._lockstep else self._clock_ns()
        self.now_ns = on_time_ns + self._skew_ns
        self._asked_at = time.monotonic()

    def _clock_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)


def as_asked(action: Float64) -> Float64:
    """The action (7,) that a policy gave in float32, where this one is that but for what numbers lose on their way as poses.

    A grasp turns 1e-16 into a pixel within seconds, and the pixel into another action.
    """
    given = np.where(np.abs(action) <= LOST_ON_THE_WAY, 0.0, action.astype(np.float32).astype(np.float64))
    return np.where(np.abs(given - action) <= LOST_ON_THE_WAY, given, action)


class SensorNoise:
    """What tells a camera that lives from one that is frozen, in pictures of a scene that stands still: the last bit of the top row."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def on(self, frame: Image) -> Image:
        """A copy of the frame, (H, W, 3) uint8, off by one level at most."""
        noisy = frame.copy()
        noisy[0] ^= self._rng.integers(0, 2, noisy[0].shape, np.uint8)
        return noisy
