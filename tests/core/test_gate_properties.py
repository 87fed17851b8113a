"""Whatever arrives in whatever order: what is sent is finite and inside every limit, and silence ends in hold.

The rules are written down a second time here and in the referee, from the outside: shadows of what was heard and when.
"""

from __future__ import annotations

import json
import sys
from math import inf, nan
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from robot_pt.commands import ArmState
from robot_pt.gate import Box, GateLimits, Mode
from robot_pt.rotations import rpy_to_matrix

sys.path.insert(0, str(Path(__file__).parent))
from gate_rig import NS, TICK_NS, Gantry, Planar, Rig

GANTRY, PLANAR = Gantry(), Planar()
ROOM = Box((-0.3, -0.3, 0.1), (0.3, 0.3, 0.5))
FLAT = Box((0.2, -0.3, -0.01), (0.62, 0.3, 0.01))
WATCHED = {"left_finger": Box((-0.31, -0.28, 0.12), (0.31, 0.33, inf))}
ELBOW = {"elbow": Box((0.05, -0.28, -1), (0.4, 0.28, 1))}
TURNED = {"rotation_low": (-0.3, -0.4, -1.5), "rotation_high": (0.3, 0.4, 1.5)}

CONFIGURATIONS = {
    "hardware": (GANTRY, (0, 0, 0.3, 0, 0, 0), {"workspace": ROOM, "watch": WATCHED, "hardware": True, **TURNED}),
    "cameras": (GANTRY, (0, 0, 0.3, 0, 0, 0), {"workspace": ROOM, "cameras": ("a", "b"), "frozen_image_s": 0.3}),
    "planar": (PLANAR, (-0.6, 1.2, 0.1), {"workspace": FLAT, "watch": ELBOW, "joint_margin_rad": 0.1}),
    "lockstep": (PLANAR, (-0.6, 1.2, 0.1), {"workspace": FLAT, "watch": ELBOW, "lockstep": True, "tick_hz": 5.0}),
    "turning": (GANTRY, (0, 0, 0.3, 0, 0, 0), {"workspace": ROOM, "lockstep": True, "tick_hz": 5.0, **TURNED}),
}

numbers = st.floats(-1, 1) | st.sampled_from([0.0, 1e-9, 5.0, -80.0, 1e3, 1e30, -1e300, nan, inf, -inf])
small = st.floats(-0.08, 0.08)
junk = st.sampled_from(
    [None, "x", [], [[1, 2], [3]], np.zeros((4, 3)), np.full((4, 4), nan), np.eye(4) * 1e40, {}, b"4"]
)
ages = st.sampled_from([0, 0, 0, 0, 0, TICK_NS, NS // 5, NS, -NS, 10 * NS])


class Gates(RuleBasedStateMachine):
    """`shadow` holds times at which things that permit motion were heard."""

    @initialize(name=st.sampled_from(sorted(CONFIGURATIONS)), ready=st.booleans())
    def start(self, name, ready):
        arm, q, changes = CONFIGURATIONS[name]
        limits = GateLimits.for_robot(arm, **changes)
        self.rig = Rig(arm, limits, q)
        self.limits, self.arm = limits, arm
        self.step_ns = round(NS / limits.tick_hz)
        self.state_ns = self.pressed_ns = self.target_ns = None
        self.frame_ns = {}
        self.armed = self.started = self.estopped = False
        self.gripper = 0.5
        self.sag = np.zeros(len(q))  # (J,) measured joints less the command's
        if ready:
            for _ in range(25):
                self.advance(0)
            self.ask("arm")
            self.heartbeat(False)
            self.ask("start_policy")

    # time

    def advance(self, late_ns):
        """One tick of a healthy graph, `late_ns` too late."""
        r = self.rig
        r.now += self.step_ns + late_ns
        self.measured()
        self.look()

    @rule(late=st.sampled_from([0, 0, 0, 0, 1, NS // 50, NS // 10, NS]), count=st.integers(1, 12))
    def ticks(self, late, count):
        for _ in range(count):
            self.advance(late)

    @rule(dt=st.sampled_from([0, 1, 1_000_000, NS // 50, NS // 5, NS, 3600 * NS, -1, -TICK_NS, -NS, -50 * NS]))
    def silence(self, dt):
        """Time passes, or the clock is set, and nothing is heard."""
        r = self.rig
        r.now = max(r.now + dt, NS)
        if dt < -5_000_000:
            self.state_ns = self.pressed_ns = self.target_ns = None
            self.frame_ns = {}
        self.look()

    @rule(count=st.integers(1, 40))
    def long_silence(self, count):
        for _ in range(count):
            self.rig.now += self.step_ns
            self.look()

    def look(self):
        """Tick, and hold the output against limits and shadows."""
        r, limits = self.rig, self.limits
        r.gate.rehearse()
        output = r.output = r.gate.tick(r.now)
        r.referee.see(r.now, output)
        if output.command is not None:
            r.q, self.gripper = output.command.q.copy(), output.command.gripper
            if limits.lockstep:  # a simulator answers every command with the state that it led to
                r.gate.on_state(r.now, ArmState(r.now + 1, self.stands(), self.gripper))
                self.state_ns = r.now
        json.dumps(r.gate.status())
        moving = output.mode in (Mode.POLICY, Mode.TELEOP)
        if moving:
            assert self.armed
            assert not self.estopped
            assert self.heard(self.state_ns, limits.timeout_s)
        if output.mode is Mode.TELEOP or (moving and limits.require_deadman):
            silent_s = limits.timeout_s if limits.lockstep else limits.deadman_timeout_s
            assert self.heard(self.pressed_ns, silent_s)
        if output.mode is Mode.POLICY:
            assert self.started
            assert self.heard(self.target_ns, limits.timeout_s)
            assert all(self.heard(self.frame_ns.get(name), limits.timeout_s) for name in limits.cameras)
        if output.mode in (Mode.FAULT, Mode.ESTOP, Mode.DISARMED):
            self.armed = self.started = False

    def heard(self, then_ns, within_s):
        return then_ns is not None and -5_000_000 <= self.rig.now - then_ns <= within_s * NS

    # what a healthy graph says

    def stands(self):
        """(J,) where the arm is."""
        return np.clip(self.rig.q + self.sag, self.arm.lower_rad, self.arm.upper_rad)

    def measured(self):
        self.rig.gate.on_state(self.rig.now, ArmState(self.rig.now, self.stands(), self.gripper))
        self.state_ns = self.rig.now

    @rule(pressed=st.sampled_from([True, True, False, None, 1]))
    def heartbeat(self, pressed):
        self.rig.gate.on_deadman(self.rig.now, pressed)
        self.pressed_ns = self.rig.now if pressed is True else None

    def pose(self, step, turn):
        """Near the last command, so that much of it is accepted."""
        sent = self.rig.gate.sent
        T = (self.arm.fk(self.rig.q) if sent is None else sent.T_base_tool).copy()
        T[:3, 3] += step
        T[:3, :3] = rpy_to_matrix(turn) @ T[:3, :3]
        return T

    @rule(
        step=st.tuples(small, small, small),
        yaw=st.floats(-0.3, 0.3),
        gripper=st.floats(-0.5, 1.5),
        count=st.integers(1, 8),
    )
    def a_policy_that_works(self, step, yaw, gripper, count):
        if self.arm is PLANAR:
            step = (*step[:2], 0)
        for _ in range(count):
            self.a_working_policy_sends(self.pose(step, (0, 0, yaw)), gripper)

    @rule(direction=st.integers(0, 2), sign=st.sampled_from([-1, 1]), turn=st.tuples(small, small, small))
    def a_policy_that_runs_into_a_wall(self, direction, sign, turn):
        if self.rig.output.mode is not Mode.POLICY:
            self.an_operator_sets_it_up_again()
        step = 0.06 * sign * np.eye(3)[direction] + 0.02
        if self.arm is PLANAR:
            step, turn = step * (1, 1, 0), (0, 0, turn[2])
        for _ in range(14):
            self.a_working_policy_sends(self.pose(step, turn), 0.5)

    def a_working_policy_sends(self, T, gripper):
        for camera in self.limits.cameras:
            self.frame(camera, 0, self.rig.now)
        if self.limits.require_deadman:
            self.heartbeat(True)
        self.send("policy", T, gripper, 0, 0)
        for _ in range(max(1, round(self.limits.period_s * NS / self.step_ns))):
            self.advance(0)

    # what anybody may say

    def send(self, source, T, gripper, age, observed):
        r = self.rig
        stamp = r.now - age
        r.gate.on_pose(r.now, source, stamp, T, stamp - observed if source == "policy" else 0)
        r.gate.on_gripper(r.now, source, stamp, gripper)
        if source == "policy":
            self.target_ns = r.now

    @rule(
        source=st.sampled_from(["policy", "teleop"]),
        step=st.tuples(numbers, numbers, numbers),
        turn=st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(-4, 4)),
        gripper=numbers,
        age=ages,
        observed=st.sampled_from([0, 0, TICK_NS, NS, -1]),
    )
    def any_target(self, source, step, turn, gripper, age, observed):
        self.send(source, self.pose(np.nan_to_num(step, nan=nan), turn), gripper, age, observed)

    @rule(source=st.sampled_from(["policy", "teleop"]), T=junk, gripper=numbers | junk, age=ages)
    def junk_target(self, source, T, gripper, age):
        self.send(source, T, gripper, age, 0)

    @rule(
        source=st.sampled_from(["policy", "teleop"]), step=st.tuples(small, small, small), age=ages, which=st.booleans()
    )
    def half_a_target(self, source, step, age, which):
        r = self.rig
        if which:
            r.gate.on_pose(r.now, source, r.now - age, self.pose(step, (0, 0, 0)), r.now - age)
        else:
            r.gate.on_gripper(r.now, source, r.now - age, 0.7)
        if source == "policy":
            self.target_ns = r.now  # it may complete a pair

    @rule(q=st.lists(numbers, min_size=3, max_size=6) | junk, age=ages, gripper=numbers | junk)
    def any_joint_state(self, q, age, gripper):
        r = self.rig
        good = r.q.copy()
        r.gate.on_state(r.now, ArmState(r.now - age, q, gripper))
        r.q = good
        self.state_ns = r.now

    @rule(sag=st.lists(st.sampled_from([0.0, 0.06, -0.06]) | small, min_size=6, max_size=6), rest=st.integers(0, 30))
    def the_arm_stands_elsewhere_than_its_command(self, sag, rest):
        """It swung over, or sags; it may have rested there when it is next asked to move."""
        self.sag = np.array(sag[: len(self.sag)])
        for _ in range(rest):
            self.advance(0)

    @rule(camera=st.sampled_from(["a", "b", "c"]), age=ages, digest=st.integers(0, 2))
    def frame(self, camera, age, digest):
        self.rig.gate.on_frame(self.rig.now, camera, self.rig.now - min(age, NS), digest)
        self.frame_ns[camera] = self.rig.now

    # operators

    @rule(name=st.sampled_from(["arm", "start_policy", "start_policy", "takeover", "release", "stop_policy", "disarm"]))
    def ask(self, name):
        reply = self.rig.gate.request(self.rig.now, name)
        if not reply.ok:
            return
        assert not (self.estopped and name in ("arm", "start_policy", "takeover"))
        self.armed = {"arm": True, "disarm": False}.get(name, self.armed)
        self.started = {"start_policy": True, "stop_policy": False, "disarm": False}.get(name, self.started)
        if name in ("start_policy", "release"):
            self.target_ns = self.rig.now  # it has its time to begin
        if name == "disarm":
            self.look()

    @rule()
    def an_operator_sets_it_up_again(self):
        self.rig.gate.on_deadman(self.rig.now, False)
        self.pressed_ns = None
        for _ in range(30):
            self.advance(0)
        for name in ("reset_fault", "clear_estop"):
            self.rig.request(name)
        self.estopped = False
        self.ask("arm")
        self.heartbeat(False)
        self.ask("start_policy")
        assert self.armed
        assert self.started

    @precondition(lambda self: not self.estopped)
    @rule(value=st.sampled_from([False, np.False_, True, None]), cause=st.sampled_from(["estop", "publisher", "fault"]))
    def trip(self, value, cause):
        r = self.rig
        if cause == "publisher":
            r.gate.on_second_publisher(r.now, "command")
        elif cause == "fault":
            r.gate.on_fault(r.now, "")
        else:
            r.gate.on_estop(r.now, value)
        stays = cause == "estop" and value in (False, np.False_) and value is not None
        before = r.output.mode
        self.estopped = cause == "estop" and not stays
        self.look()  # one tick later it is done
        if not stays:
            assert r.output.mode in (Mode.ESTOP, Mode.FAULT)
        elif before not in (Mode.ESTOP, Mode.FAULT):
            assert r.output.mode not in (Mode.ESTOP,)

    def teardown(self):
        """Silence, from wherever this is: hold, at the last within two and a half control periods and a tick."""
        if not hasattr(self, "rig"):
            return
        last = self.rig.now
        while self.rig.output.mode in (Mode.POLICY, Mode.TELEOP) or self.rig.now == last:
            self.rig.now += self.step_ns
            self.look()
            assert self.rig.now - last <= self.limits.timeout_s * NS + self.step_ns
        held = self.rig.q.copy()
        for _ in range(5):
            self.rig.now += self.step_ns
            self.look()
        np.testing.assert_array_equal(self.rig.q, held)


Gates.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # shrinking takes minutes; add Phase.shrink to study a failure
)
TestGates = Gates.TestCase
