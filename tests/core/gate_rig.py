"""Two arms with exact kinematics, a rig that plays gate, arm and clock together, and a referee that knows the rules by itself."""

from __future__ import annotations

import contextlib
from collections import deque
from math import acos, atan2, cos, pi, sin
from typing import NamedTuple

import numpy as np

from robot_pt.commands import ArmState, PoseTarget
from robot_pt.gate import Box, Gate, GateLimits, GateOutput, Mode
from robot_pt.rotations import angle_between, matrix_to_rpy, rpy_to_matrix

NS = 1_000_000_000
TICK_NS = NS // 50
MOVING = (Mode.POLICY, Mode.TELEOP)


class Solved(NamedTuple):
    q: np.ndarray
    position_error_m: float
    rotation_error_rad: float


def pose(x, y, z, rpy=(0.0, 0.0, 0.0)):
    T = np.eye(4)
    T[:3, 3], T[:3, :3] = (x, y, z), rpy_to_matrix(rpy)
    return T


class Gantry:
    """Three slides and a roll-pitch-yaw wrist: joints are x, y, z, roll, pitch, yaw of the tool."""

    name = "gantry"
    joint_names = ("x", "y", "z", "roll", "pitch", "yaw")
    lower_rad = np.array([-1.0, -1.0, -1.0, -3.1, -1.5, -3.1])
    upper_rad = -lower_rad
    max_velocity_rad_s = np.full(6, 3.0)
    effort_limit = np.full(6, 10.0)

    def fk(self, q):
        return pose(*q[:3], q[3:6])

    def points(self, q, gripper=1.0):
        T = self.fk(q)
        return {
            "tool": T[:3, 3],
            "elbow": T[:3, 3] + (0, 0, 0.3),
            "left_finger": (T @ (0, 0.05 * gripper, -0.02, 1))[:3],
        }

    def ik(self, T, q_start):
        q = np.concatenate([T[:3, 3], matrix_to_rpy(T[:3, :3])])
        q = np.clip(q, self.lower_rad, self.upper_rad)
        reached = self.fk(q)
        return Solved(q, float(np.linalg.norm(T[:3, 3] - reached[:3, 3])), angle_between(T[:3, :3], reached[:3, :3]))


class Planar:
    """Three hinges about z, links of 0.3, 0.25 and 0.1 m in the plane z = 0."""

    name = "planar"
    joint_names = ("a", "b", "c")
    links = (0.3, 0.25, 0.1)
    lower_rad, upper_rad = np.array([-3.0, 0.05, -2.5]), np.array([3.0, 2.9, 2.5])
    max_velocity_rad_s = np.full(3, 2.0)
    effort_limit = np.full(3, 10.0)

    def _corners(self, q):
        angles = np.cumsum(q)
        steps = np.array(
            [[length * cos(a), length * sin(a), 0.0] for length, a in zip(self.links, angles, strict=True)]
        )
        return np.cumsum(steps, axis=0)

    def fk(self, q):
        return pose(*self._corners(q)[2], (0, 0, float(np.sum(q))))

    def points(self, q, gripper=1.0):
        elbow, wrist, tool = self._corners(q)
        return {"elbow": elbow, "wrist": wrist, "tool": tool}

    def ik(self, T, q_start):
        l1, l2, l3 = self.links
        yaw = atan2(T[1, 0], T[0, 0])
        x, y = T[0, 3] - l3 * cos(yaw), T[1, 3] - l3 * sin(yaw)
        b = acos(min(1.0, max(-1.0, (x * x + y * y - l1 * l1 - l2 * l2) / (2 * l1 * l2))))
        a = atan2(y, x) - atan2(l2 * sin(b), l1 + l2 * cos(b))
        c = (yaw - a - b + pi) % (2 * pi) - pi
        a = (a + pi) % (2 * pi) - pi
        q = np.clip([a, b, c], self.lower_rad, self.upper_rad)
        reached = self.fk(q)
        return Solved(q, float(np.linalg.norm(T[:3, 3] - reached[:3, 3])), angle_between(T[:3, :3], reached[:3, :3]))


class Before(NamedTuple):
    """What a command goes on from: the last one, or the measured arm."""

    q: np.ndarray
    T_base_tool: np.ndarray
    gripper: float


class Referee:
    """Checks every output against rules written down a second time, without looking inside the gate."""

    def __init__(self, arm, limits: GateLimits):
        self.arm, self.limits = arm, limits
        self.last = None
        self.last_ns = None
        self.armed = False  # since the last output
        self.moves = False  # the last command differed from the one before
        self.moved = 0  # commands that differ from the one before
        self.outside = 0  # commands that are outside a limit, on their way back
        self.told = deque(maxlen=40)  # joints (J,) that the gate was told

    def listen(self, gate: Gate) -> None:
        """To what the gate is told of its arm, and to who arms it."""
        take, ask = gate.on_state, gate.request

        def on_state(now_ns, state):
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                q = np.array(state.q, float)
                if q.shape == self.arm.lower_rad.shape and np.isfinite(q).all():
                    self.told.append(q)
            take(now_ns, state)

        def request(now_ns, name):
            reply = ask(now_ns, name)
            self.armed |= reply.ok and name == "arm"
            return reply

        gate.on_state, gate.request = on_state, request

    def see(self, now_ns: int, output: GateOutput) -> None:
        limits, command = self.limits, output.command
        if command is not None and self._stays(output):
            self.last, self.last_ns = command, now_ns
            return
        assert np.isfinite(output.clipped).all()
        assert output.clipped.shape == (7,)
        if output.mode is Mode.DISARMED:
            assert command is None
            self.last = None
        if command is None:
            self.last_ns = now_ns
            return
        assert np.isfinite(command.q).all()
        assert np.isfinite(command.T_base_tool).all()
        assert 0 <= command.gripper <= 1
        reached = self.arm.fk(command.q)
        assert np.linalg.norm(reached[:3, 3] - command.T_base_tool[:3, 3]) <= limits.ik_position_tolerance_m
        assert angle_between(reached[:3, :3], command.T_base_tool[:3, :3]) <= limits.ik_rotation_tolerance_rad + 1e-7
        befores, armed, self.armed = [] if self.last is None else [self.last], self.armed, False
        starts = output.mode in MOVING and (limits.lockstep or not self.moves)
        if self.last is None or armed or starts:
            gripper = command.gripper if self.last is None else self.last.gripper
            befores += [Before(q, self.arm.fk(q), gripper) for q in self.told]
        broken = [self._breaks(before, now_ns, command, output.mode) for before in befores]
        assert "" in broken, broken
        self.moves = self.last is not None and bool((command.q != self.last.q).any())
        self.moved += self.moves
        self.outside += bool((self._excess(command) > 1e-9).any())
        self.last, self.last_ns = command, now_ns

    def _stays(self, output: GateOutput) -> bool:
        """A simulator that waits is held where its arm was just said to be, wherever that is."""
        resting = self.limits.lockstep and output.mode not in (*MOVING, Mode.DISARMED)
        return resting and any(output.command.q.tobytes() == q.tobytes() for q in self.told)

    def _excess(self, at) -> np.ndarray:
        """(3 + J + points,) by how much walls, joint limits and boxes of watched points are exceeded; 0 inside."""
        limits, margin = self.limits, self.limits.joint_margin_rad
        points = self.arm.points(at.q, at.gripper)
        over = [
            _over(at.T_base_tool[:3, 3], limits.workspace.low, limits.workspace.high, 0.0),
            _over(at.q, self.arm.lower_rad + margin, self.arm.upper_rad - margin, 1e-5),
            *([_over(points[name], box.low, box.high, 1e-5).max()] for name, box in limits.watch.items()),
        ]
        return np.concatenate(over)

    def _breaks(self, before, now_ns, command, mode) -> str:
        """What forbids a command after another; "" where nothing does."""
        limits = self.limits
        farther = self._excess(command) > self._excess(before) + 1e-9
        if farther.any():
            return f"farther outside than before: {farther.nonzero()[0]}"
        change = np.abs(command.q - before.q)
        if mode not in MOVING:
            if change.any():
                return f"{change} while in {mode}"
            # the pose stays too, or is said anew from the joints (arming does): inverse kinematics had come near it, not to it
            poses = (before.T_base_tool, self.arm.fk(command.q))
            return "" if min(np.abs(command.T_base_tool - T).max() for T in poses) < 1e-9 else "another pose"
        if limits.lockstep:
            dt_s, steps = limits.period_s, 1.0
        else:
            assert now_ns is not None
            assert self.last_ns is not None
            dt_s = min(max(now_ns - self.last_ns, 0) / NS, 2 / limits.tick_hz)
            steps = dt_s * limits.control_hz
        fastest = np.minimum(limits.max_joint_velocity_rad_s, self.arm.max_velocity_rad_s)
        if (change > fastest * dt_s * (1 + 1e-5) + 1e-12).any():
            return f"joints too fast: {change} in {dt_s}"
        step = np.linalg.norm(command.T_base_tool[:3, 3] - before.T_base_tool[:3, 3])
        if step > limits.max_step_m * steps * (1 + 1e-5) + 1e-9:
            return f"tool too fast: {step}"
        turn = angle_between(command.T_base_tool[:3, :3], before.T_base_tool[:3, :3])
        if (
            limits.lockstep
        ):  # a step is an action there, and as long as its three angles are: up to 2.4 % less than what they turn
            angles = matrix_to_rpy(command.T_base_tool[:3, :3] @ before.T_base_tool[:3, :3].T)
            turn = min(turn, float(np.linalg.norm(angles)))
        return "" if turn <= limits.max_step_rad * steps * 1.02 + 1e-7 else f"tool turns too fast: {turn}"


def _over(values, low, high, slack):
    """(N,) by how much values are below `low` or above `high`; 0 within `slack`."""
    over = np.maximum(np.maximum(np.asarray(low) - values, values - np.asarray(high)), 0.0)
    return np.where(over > slack, over, 0.0)


class Rig:
    """A gate, an arm that does what it is told (unless `stuck`), and one clock."""

    def __init__(self, arm, limits: GateLimits, q, *, latches: str = ""):
        self.arm, self.limits, self.q = arm, limits, np.array(q, float)
        self.gate = Gate(arm, limits, latches=latches)
        self.referee = Referee(arm, limits)
        self.referee.listen(self.gate)
        self.now = 100 * NS
        self.stuck = self.mute = False
        self.effort = None
        self.held: bool | None = None
        self.output: GateOutput = self.gate.tick(self.now)

    def state(self):
        if not self.mute:
            self.gate.on_state(self.now, ArmState(self.now, self.q.copy(), 1.0, self.effort))

    def tick(self, count=1, *, step_ns=TICK_NS):
        for _ in range(count):
            self.now += step_ns
            self.state()
            if self.held is not None:
                self.gate.on_deadman(self.now, self.held)
            self.output = self.gate.tick(self.now)
            self.referee.see(self.now, self.output)
            if self.output.command is not None and not self.stuck:
                self.q = self.output.command.q.copy()
        return self.output

    def request(self, name):
        reply = self.gate.request(self.now, name)
        assert reply.ok, reply.message
        return reply

    def ready(self, *requests):
        """Armed after half a second of rest, then these requests."""
        self.tick(25)
        for name in ("arm", *requests):
            self.request(name)
        return self

    def target(self, T, gripper=1.0, source="policy", *, age_ns=0, observed_ns=None):
        stamp = self.now - age_ns
        seen = (stamp if observed_ns is None else observed_ns) if source == "policy" else 0
        self.gate.on_target(self.now, source, PoseTarget(stamp, np.asarray(T), gripper, seen))

    def go(self, T, gripper=1.0, source="policy", ticks=10, **more):
        """One target and one control period; the output of the tick that decided."""
        self.now += TICK_NS
        self.state()
        if self.held is not None:
            self.gate.on_deadman(self.now, self.held)
        self.target(T, gripper, source, **more)
        decided = self.output = self.gate.tick(self.now)
        self.referee.see(self.now, decided)
        if decided.command is not None and not self.stuck:
            self.q = decided.command.q.copy()
        self.tick(ticks - 1)
        return decided


ROOM = Box((-0.5, -0.5, 0.0), (0.5, 0.5, 0.6))
START = (0.0, 0.0, 0.3, 0.0, 0.0, 0.0)


def limits(**changes):
    return GateLimits.for_robot(Gantry(), **({"workspace": ROOM, "ramp_in_s": 0.0, "max_step_m": 0.05} | changes))


def lockstep(**changes):
    return Rig(Gantry(), limits(lockstep=True, control_hz=5.0, tick_hz=5.0, **changes), START)


def rig(q=START, **changes):
    return Rig(Gantry(), limits(**changes), q)


def hardware(**changes):
    return rig(hardware=True, joint_margin_rad=0.0, max_joint_velocity_rad_s=2.0, **changes)
