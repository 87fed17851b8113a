import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.commands import ArmState, JointCommand
from robot_pt.errors import MismatchError, UserError
from robot_pt.rotations import matrix_to_rpy, rpy_to_matrix
from robot_pt.schema import Spec
from robot_pt.session import Session, SessionSettings
from robot_pt.session.readiness import StepLimits, step_lengths
from robot_pt.targets import Limits, TargetIntegrator, action_between

PERIOD = 200_000_000
MS = 1_000_000


def action(*deltas, gripper=1.0):
    return np.array([*deltas, *[0.0] * (6 - len(deltas)), gripper], np.float32)


def command(stamp, T):
    return JointCommand(stamp, np.zeros(6), 1.0, T)


def pose(values):
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rpy_to_matrix(values[3:6]), values[:3]
    return out


# the way through the phases


def test_from_warm_up_to_running_and_back(rig):
    made = rig(warm=False)
    session = made.session
    assert session.phase == "idle"
    assert not made.start().ok
    timing = session.warm_up(5)
    assert (timing.runs, timing.p50_ms, session.phase) == (5, 1.0, "ready")
    assert session.tick(made.now) is None
    assert made.start().ok
    assert session.phase == "running"
    assert made.step() is not None
    assert session.stop().ok
    assert (session.phase, session.reason) == ("stopped", "stopped on request")
    assert made.step() is None
    assert made.start().ok
    assert made.step() is not None
    assert not session.start(made.now).ok  # it runs already


def test_the_policy_is_reset_with_the_goal_at_every_start(rig):
    made = rig()
    made.start()
    made.session.stop()
    made.start(instruction="lift it slowly")
    made.session.stop()
    made.start(task="stack")
    assert made.policy.resets == [("lift", None), ("lift", None), ("lift", "lift it slowly"), ("stack", None)]
    assert made.session.describe()["task"] == "stack"
    json.dumps(made.session.describe())


def test_a_task_the_policy_does_not_know_is_answered_with_its_sentence_and_changes_nothing(rig):
    made = rig()

    def refuse(task, instruction=None):
        raise UserError("there is no task 'dance'.")

    made.policy.reset = refuse
    answer = made.start(task="dance")
    assert answer == (False, "there is no task 'dance'.")
    assert (made.session.phase, made.session.describe()["task"]) == ("ready", "lift")


def test_it_does_not_start_while_a_source_is_silent_or_old(rig):
    made = rig()
    assert "joint state has sent nothing" in made.session.start(made.now).sentence
    made.session.observe_arm(ArmState(made.now, np.array(made.q), 1.0))
    assert "camera 'primary' has sent nothing" in made.session.start(made.now).sentence
    made.see()
    made.now += 300 * MS
    assert "0.300 s old" in made.session.start(made.now).sentence
    assert not made.session.check_fresh(made.now).ok
    made.see()
    assert made.session.check_fresh(made.now).ok
    assert made.session.phase == "ready"


def test_warming_up_while_running_is_refused_and_goes_on(rig):
    made = rig()
    made.start()
    with pytest.raises(UserError, match="stop it"):
        made.session.warm_up()
    assert made.session.phase == "running"
    with pytest.raises(UserError, match="warmup_iters"):
        rig(warm=False).session.warm_up(0)


def test_a_policy_too_slow_for_the_rate_cannot_be_started(rig):
    made = rig(warm=False, spec=Spec(cameras={"primary": (8, 12)}, embodiment="toy", control_hz=2000.0))
    with pytest.raises(UserError, match="longer than the control period"):
        made.session.warm_up(5)
    assert made.session.phase == "failed"
    assert "recover first" in made.start().sentence


def test_failed_is_left_by_recovering_and_warming_up(rig):
    made = rig()
    assert not made.session.recover().ok
    made.session.fail("the GPU is gone")
    assert not made.start().ok
    assert made.session.recover().ok
    assert made.session.phase == "idle"
    made.session.warm_up(2)
    assert made.start().ok


def test_stopping_what_does_not_run_is_fine(rig):
    made = rig()
    assert made.session.stop().ok
    assert made.session.phase == "ready"


# what does not fit, at construction


@pytest.mark.parametrize(
    ("robot", "words"),
    [
        ({"embodiment": "panda"}, "another robot"),
        ({"cameras": {"wrist": (8, 12)}}, "camera 'primary'"),
        ({"control_hz": 10.0}, "10 Hz"),
    ],
)
def test_a_policy_of_another_robot_camera_or_rate_is_refused(rig, robot, words):
    base = Spec(cameras={"primary": (8, 12)}, embodiment="toy")
    with pytest.raises(MismatchError, match=words):
        rig(robot=Spec(**{**base.to_json(), **robot}))


def test_actions_that_are_not_metric_are_never_driven(rig):
    with pytest.raises(MismatchError, match="no robot may execute"):
        rig(spec=Spec(cameras={"primary": (8, 12)}, embodiment="toy", action_unit="normalized"))


def test_limits_are_compared_with_what_the_policy_was_trained_on(rig):
    class Record:
        network, data = {}, [{"step_lengths": step_lengths(np.full((10, 7), 0.01))}]

    assert rig(limits=StepLimits(), record=Record()).session.notes == []
    with pytest.raises(MismatchError, match=r"100\.0%"):
        rig(limits=StepLimits(max_step_m=0.001), record=Record())


# the targets


def test_targets_integrate_actions_from_where_the_arm_stands(rig):
    made = rig(lambda history: action(0.01, 0, -0.005, 0, 0, 0.02, gripper=0.25)[None])
    made.start()
    expected = pose(made.q)
    for k in range(6):
        target = made.step()
        expected[:3, 3] += np.float64(np.float32([0.01, 0, -0.005]))
        expected[:3, :3] = rpy_to_matrix([0, 0, np.float32(0.02)]) @ expected[:3, :3]
        np.testing.assert_allclose(target.T_base_tool, expected, atol=1e-12)
        assert target.gripper == 0.25
        assert target.observation_ns == target.stamp_ns == 10_000_000_000 + k * PERIOD


@pytest.mark.parametrize(("asked", "sent"), [(1.7, 1.0), (-0.2, 0.0)])
def test_the_opening_asked_for_is_kept_in_its_range(rig, asked, sent):
    made = rig(lambda history: action(gripper=asked)[None])
    made.start()
    assert made.step().gripper == sent


def test_stamps_rise_even_where_the_clock_stands(rig):
    made = rig()
    made.start()
    stamps = [made.step().stamp_ns]
    made.session.stop()
    made.now -= PERIOD
    made.session.start(made.now)
    stamps.append(made.session.tick(made.now).stamp_ns)
    assert stamps[1] == stamps[0] + 1


def test_a_start_goes_on_from_where_the_gate_holds_the_arm(rig):
    made = rig()
    held = pose([0.31, 0, 0.205, 0, 0, 0.1])  # the arm sags 5 mm below its command
    made.session.executed(command(made.now - 20 * MS, held))
    made.start()
    np.testing.assert_allclose(made.step().T_base_tool[:3, 3], [0.32, 0, 0.205], atol=1e-8)
    assert made.session.last_step.anchor == "executed"


def test_a_clipping_gate_does_not_let_the_target_wind_up(rig):
    down = [True]
    made = rig(lambda history: action(0, 0, -0.02 if down[0] else 0.02)[None])
    made.start()
    for k in range(12):
        down[0] = k < 9
        made.now = 10_000_000_000 + k * PERIOD
        made.see()
        target = made.session.tick(made.now)
        floor = target.T_base_tool.copy()
        floor[2, 3] = max(floor[2, 3], 0.15)
        made.session.applied(target._replace(T_base_tool=floor))
        made.session.executed(command(made.now + 180 * MS, floor))
    assert target.T_base_tool[2, 3] == pytest.approx(0.15 + 3 * 0.02)  # the third step up


def test_a_takeover_takes_the_target_along(rig):
    made = rig()
    made.start()
    for k in range(4):
        made.see()
        made.session.tick(made.now)
        made.session.executed(command(made.now + 190 * MS, pose([0.5 + 0.1 * k, 0.2, 0.3, 0, 0, 1])))
        made.now += PERIOD
    made.see()
    np.testing.assert_allclose(made.session.tick(made.now).T_base_tool[:3, 3], [0.81, 0.2, 0.3], atol=1e-8)


def test_a_bad_command_of_the_gate_is_counted_and_moves_nothing(rig):
    made = rig()
    made.start()
    made.step()
    assert not made.session.executed(command(made.now, np.full((4, 4), np.nan)))
    np.testing.assert_allclose(made.step().T_base_tool[0, 3], 0.32, atol=1e-8)
    assert made.session.diagnostics()["refused/executed"] == 1


def test_every_target_has_its_record(rig):
    made = rig()
    made.start()
    made.step()
    made.see(age_ns=30 * MS)
    made.now += 10 * MS
    made.session.observe_arm(ArmState(made.now - 5 * MS, np.array(made.q), 1.0))
    target = made.session.tick(made.now)
    info = made.session.last_step
    assert info.stamp_ns == target.stamp_ns == made.now
    assert info.observation_ns == target.observation_ns == info.decided_ns == made.now - 40 * MS
    assert info.stamps_ns["primary"] == made.now - 40 * MS
    assert info.ages_s["primary"] == pytest.approx(0.04)
    np.testing.assert_array_equal(info.action, action(0.01))
    assert (info.inference_ms, info.tick_interval_ms, info.policy_version) == (1.0, 210.0, "v1")
    made.session.tick(made.now + 1)
    assert made.session.last_step is None


# observations


def test_the_policy_sees_one_observation_per_tick_up_to_its_history(rig):
    made = rig()
    made.start()
    for _ in range(6):
        made.step()
    assert [len(seen) for seen in made.policy.histories] == [1, 2, 3, 4, 4, 4]
    times = [seen.time_ns for seen in made.policy.histories[-1]]
    assert times == [10_000_000_000 + k * PERIOD for k in (2, 3, 4, 5)]


def test_a_late_camera_costs_a_tick_and_a_dead_one_the_run(rig):
    made = rig(max_stale_s=1.0)
    made.start()
    made.step()
    assert made.session.tick(made.now) is None  # 0.2 s old by now
    assert made.session.phase == "stale"
    assert "0.200 s old" in made.session.reason
    made.now += PERIOD
    assert made.step() is not None
    assert (made.session.phase, made.session.reason) == ("running", "")
    assert [len(seen) for seen in made.policy.histories] == [1, 1]  # what was before the gap is forgotten
    for _ in range(6):
        assert made.session.tick(made.now) is None
        made.now += PERIOD
    assert made.session.phase == "stale"
    assert made.session.tick(made.now) is None
    assert made.session.phase == "stopped"
    assert "for more than 1 s" in made.session.reason
    made.see()
    assert made.session.tick(made.now + PERIOD) is None  # not before a new start
    assert made.session.diagnostics()["went_stale"] == 2


def test_after_a_gap_targets_build_on_where_the_arm_is_held(rig):
    made = rig()
    made.start()
    made.step()
    made.session.tick(made.now)
    made.now += PERIOD
    made.session.executed(command(made.now - 20 * MS, pose([0.25, 0, 0.2, 0, 0, 0])))
    np.testing.assert_allclose(made.step().T_base_tool[0, 3], 0.26, atol=1e-8)


def test_refused_samples_are_counted_in_diagnostics(rig):
    made = rig()
    made.start()
    assert not made.session.observe_image("primary", 0, np.zeros((8, 12, 3), np.uint8))
    assert not made.session.observe_image("primary", made.now + 10**9, np.zeros((8, 12, 3), np.uint8), made.now)
    assert not made.session.observe_arm(ArmState(made.now - 1, np.array(made.q), 1.0))
    assert not made.session.observe_arm(ArmState(made.now + 10**9, np.array(made.q), 1.0), made.now)
    values = made.session.diagnostics()
    assert values["refused/primary: zero stamp"] == 1
    assert values["refused/primary: stamp in the future"] == 1
    assert values["refused/arm: backward stamp"] == 1
    assert values["refused/arm: stamp in the future"] == 1


# time


def test_a_second_tick_in_one_period_gives_nothing(rig):
    made = rig()
    made.start()
    assert made.step(0.3) is not None
    assert made.step(0.9) is None
    assert made.step() is not None
    assert made.session.diagnostics()["early_tick"] == 1


def test_a_clock_set_back_forgets_everything_and_goes_on_from_the_arm(rig):
    made = rig()
    made.start()
    for _ in range(3):
        made.step()
    made.session.executed(command(made.now, pose([9, 9, 9, 0, 0, 0])))
    made.now -= 3_000_000_000
    made.see()  # refused: its stamps are old
    assert made.session.tick(made.now) is None
    assert (made.session.phase, made.session.reason) == ("stale", "the clock went back by 2.800 s")
    made.now += PERIOD
    target = made.step()
    assert target.stamp_ns == made.now - PERIOD
    np.testing.assert_allclose(target.T_base_tool[0, 3], 0.31, atol=1e-8)


def test_a_simulator_whose_clock_starts_anew_with_every_episode_can_start_again(rig):
    made = rig(lockstep=True)
    made.start()
    made.step(), made.step()
    made.session.executed(command(made.now, pose([9, 9, 9, 0, 0, 0])))
    made.session.stop()
    made.now = PERIOD
    frame = np.zeros((8, 12, 3), np.uint8)
    assert made.session.observe_arm(ArmState(made.now, np.array(made.q), 1.0), made.now)
    assert made.session.observe_image("primary", made.now, frame, made.now)
    assert made.session.start(made.now).ok
    target = made.session.tick(made.now)
    assert target.stamp_ns == PERIOD
    np.testing.assert_allclose(target.T_base_tool[0, 3], 0.31, atol=1e-8)


def test_who_knows_that_the_clock_was_set_back_says_so_and_the_episode_goes_on_without_a_pause(rig):
    made = rig(lockstep=True)
    made.start()
    for _ in range(3):
        made.step()
    made.session.executed(command(made.now, pose([9, 9, 9, 0, 0, 0])))
    made.now = PERIOD
    made.session.clock_set_back()
    made.see()
    target = made.session.tick(made.now)
    assert target is not None
    assert made.session.phase == "running"
    assert target.stamp_ns == PERIOD
    np.testing.assert_allclose(
        target.T_base_tool[0, 3], 0.31, atol=1e-8
    )  # from the arm, not from a command of the old time
    assert made.session.diagnostics()["clock_back"] == 1


def test_a_clock_jump_forward_is_a_gap(rig):
    made = rig()
    made.start()
    made.step()
    made.now += 10**12
    assert made.session.tick(made.now) is None
    made.now += PERIOD
    assert made.step() is not None


def test_intervals_and_ages_reach_diagnostics(rig):
    made = rig()
    made.start()
    for periods in (1, 1.7, 1, 1):
        made.step(periods)
    values = made.session.diagnostics()
    assert values["deadline_missed"] == 1
    assert values["tick_interval_ms/max"] == pytest.approx(340)
    assert values["jitter"] == pytest.approx(0.7)
    assert values["age_ms/arm/max"] == 0
    assert all(isinstance(value, str | int | float) for value in values.values())


# chunks


def test_a_chunk_is_played_before_the_policy_is_asked_again(rig):
    def choose(history):
        return np.stack([action(0.001 * (k + 1)) for k in range(5)])

    made = rig(choose, chunk_execute_steps=3)
    made.start()
    infos = [(made.step(), made.session.last_step)[1] for _ in range(7)]
    assert [info.chunk_index for info in infos] == [0, 1, 2, 0, 1, 2, 0]
    assert [len(seen) for seen in made.policy.histories] == [1, 4, 4]
    assert infos[2].decided_ns < infos[2].observation_ns
    assert infos[2].inference_ms == infos[0].inference_ms


def test_a_missed_tick_loses_its_action_and_nothing_is_bunched_up(rig):
    made = rig(lambda history: np.stack([action(0.001 * (k + 1)) for k in range(4)]))
    made.start()
    made.step()
    made.step(2.0)
    target = made.step()
    assert made.session.last_step.chunk_index == 3
    np.testing.assert_allclose(target.T_base_tool[0, 3], 0.3 + 0.001 + 0.002 + 0.004, atol=1e-8)


@pytest.fixture
def asynchronous(rig):
    def build(length=6, **changes):
        made = rig(lambda history: np.stack([action(0.001)] * length), inference_mode="async", **changes)
        made.start()
        return made

    return build


def test_asynchronous_inference_holds_until_its_first_chunk_and_then_skips_what_has_passed(asynchronous):
    made = asynchronous()
    assert made.step() is None
    request = made.session.inference_due()
    assert (request.observation_ns, len(request.history)) == (10_000_000_000, 1)
    assert made.session.inference_due() is None
    assert made.step() is None  # still thinking: 0.2 s
    assert made.session.inference_due() is None  # one request at a time
    arrived = request.requested_ns + 330 * MS  # 1.65 periods: the first two actions are lost
    assert made.session.deliver(made.policy.act(request.history), request.observation_ns, arrived)
    assert made.step() is not None
    info = made.session.last_step
    assert (info.chunk_index, info.inference_ms, info.decided_ns) == (2, 330.0, request.observation_ns)
    assert made.session.inference_due() is not None  # the next one is asked for at once
    assert made.session.diagnostics()["held"] == 2


def test_a_chunk_that_is_used_up_ends_in_hold(asynchronous):
    made = asynchronous(length=3)
    made.step()
    request = made.session.inference_due()
    made.session.deliver(made.policy.act(request.history), request.observation_ns, made.now - 1)
    assert [made.step() is not None for _ in range(4)] == [True, True, False, False]
    assert made.session.phase == "running"


def test_a_chunk_that_comes_after_its_time_is_counted_and_not_played(asynchronous):
    made = asynchronous(length=3)
    made.step()
    request = made.session.inference_due()
    made.step(), made.step(), made.step()
    made.session.deliver(made.policy.act(request.history), request.observation_ns, made.now)
    assert made.step() is None
    assert made.session.diagnostics()["chunk_too_late"] == 1


def test_a_new_chunk_takes_over_at_its_own_time(asynchronous):
    made = asynchronous()
    made.step()
    for expected in (1, 1, 1):
        request = made.session.inference_due()
        made.session.deliver(made.policy.act(request.history), request.observation_ns, made.now - 50 * MS)
        made.step()
        assert made.session.last_step.chunk_index == expected


def test_what_nobody_asked_for_or_asked_before_a_restart_is_not_played(asynchronous):
    made = asynchronous()
    assert not made.session.deliver(np.zeros((4, 7)), 123, made.now)
    made.step()
    request = made.session.inference_due()
    made.session.stop()
    assert not made.session.deliver(np.zeros((4, 7)), request.observation_ns, made.now)
    assert made.session.diagnostics()["unasked_chunk"] == 2


def test_inference_that_never_answers_stops_the_policy(asynchronous):
    made = asynchronous(max_stale_s=0.7)
    for _ in range(5):
        assert made.step() is None
    assert made.session.phase == "stopped"
    assert "has not answered for 0.7 s" in made.session.reason


def test_nan_from_another_thread_fails_too(asynchronous):
    made = asynchronous()
    made.step()
    request = made.session.inference_due()
    assert not made.session.deliver(np.full((6, 7), np.nan), request.observation_ns, made.now)
    assert made.session.phase == "failed"
    assert made.step() is None


# damaged policies


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda: np.full((1, 7), np.nan), "dx = nan"),
        (lambda: np.full((1, 7), np.inf), "dx = inf"),
        (lambda: np.full((1, 7), 1e30), "damaged"),
        (lambda: np.zeros((1, 6)), "shape (1, 6)"),
        (lambda: (_ for _ in ()).throw(UserError("the weights are damaged.")), "the weights are damaged."),
        (lambda: (_ for _ in ()).throw(RuntimeError("CUDA error: out of memory")), "CUDA error"),
    ],
)
def test_a_damaged_policy_fails_and_publishes_nothing(rig, broken, words):
    good = [True]
    made = rig(lambda history: action(0.01)[None] if good[0] else broken())
    made.start()
    assert made.step() is not None
    good[0] = False
    assert made.step() is None
    assert made.session.phase == "failed"
    assert words in made.session.reason
    assert made.session.last_step is None
    assert made.step() is None
    with pytest.raises(UserError):
        made.session.recover(), made.session.warm_up(1)
    assert made.session.phase == "failed"


actions = st.tuples(
    *[st.floats(-0.125, 0.125, width=32)] * 3, *[st.floats(-0.5, 0.5, width=32)] * 3, st.floats(0, 1, width=32)
)


LIMITS = Limits(low=(0.2, -0.1, 0.1, -0.5, -0.5, -0.5), high=(0.4, 0.1, 0.3, 0.5, 0.5, 0.5))
FREE = Limits(low=(-9, -9, -9, -4, -4, -4), high=(9, 9, 9, 4, 4, 4), max_step_m=9, max_step_rad=9)


class Rail:
    """A tool that is at its commanded target after every step."""

    def __init__(self, limits):
        self.integrator = TargetIntegrator(limits)
        self.integrator.reset(np.array([0.3, 0, 0.2]), np.eye(3))

    @property
    def T_base_tool(self):
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = self.integrator.rotation, self.integrator.position
        return out

    @property
    def q(self):
        return np.concatenate([self.integrator.position, matrix_to_rpy(self.integrator.rotation)])


@settings(deadline=None, max_examples=60)
@given(st.lists(actions.map(lambda a: np.array(a, np.float32)), min_size=1, max_size=15))
def test_through_session_and_gate_a_simulator_gets_the_very_actions_it_gets_directly(toy, chosen):
    """Also at walls, where the gate clips and the session goes on from what was executed."""
    direct = Rail(LIMITS)
    sent_directly = [direct.integrator.apply(a) for a in chosen]
    wanted = iter([*[np.zeros(7)] * 4, *chosen])
    policy = toy.Policy(lambda history: np.asarray(next(wanted))[None])
    session = Session(policy, toy.spec, toy.Arm(), settings=SessionSettings(lockstep=True))
    session.warm_up(1)
    world, gate, now = Rail(FREE), Rail(LIMITS), 10**9
    previous = None
    for k, action in enumerate(chosen):
        session.observe_arm(ArmState(now, world.q, 1.0))
        session.observe_image("primary", now, np.zeros((8, 12, 3), np.uint8))
        if k == 0:
            assert session.start(now).ok
            previous = command(now - 1, gate.T_base_tool)
        target = session.tick(now)
        requested = action_between(previous, target)
        np.testing.assert_allclose(requested, action, rtol=0, atol=1e-7)
        gate.integrator.apply(requested)
        executed = JointCommand(target.stamp_ns, world.q, target.gripper, gate.T_base_tool)
        np.testing.assert_allclose(
            world.integrator.apply(action_between(previous, executed)), sent_directly[k], atol=1e-6
        )
        session.executed(executed)
        previous, now = executed, now + PERIOD


def test_neither_torch_nor_a_simulator_comes_along():
    code = "import json, sys, robot_pt.session; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "mujoco", "mink", "zarr", "rclpy", "robot_pt.agents"} & set(json.loads(done.stdout))
