"""ArmGuard: whatever is offered, what is passed on is finite, inside the limits, near the arm and fresh; silence ends in hold in time."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.arm_guard import SENTENCES, ArmGuard, GuardSettings
from robot_pt.commands import JointCommand
from robot_pt.errors import UserError

NS = 1_000_000_000
ARM = SimpleNamespace(
    lower_rad=np.array([-1.0, -2.0]), upper_rad=np.array([1.0, 2.0]), max_velocity_rad_s=np.array([1.0, 2.0])
)
START = 100 * NS
EPOCH = 1_700_000_000 * NS
STEP = NS // 50


def command(stamp_ns: int, q=(0.0, 0.0), gripper: float = 0.5, T=None) -> JointCommand:
    return JointCommand(stamp_ns, np.asarray(q, np.float64), gripper, np.eye(4) if T is None else T)


def ready(now_ns: int = START, q=(0.0, 0.0), **changes: float) -> ArmGuard:
    guard = ArmGuard(ARM, GuardSettings(**changes))
    guard.state(now_ns, np.asarray(q, np.float64))
    return guard


def test_a_good_command_is_given_once_and_then_held() -> None:
    guard = ready()
    assert guard.holds(START) == "silent"
    assert guard.offer(START, EPOCH, command(EPOCH)) is None
    assert guard.holds(START) == ""
    assert guard.sentence(START) == "following."
    assert guard.take(START).stamp_ns == EPOCH
    assert guard.take(START) is None, "nothing new: hold"


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"q": (np.nan, 0)}, "malformed"),
        ({"q": (np.inf, 0)}, "malformed"),
        ({"q": (0.0, 0.0, 0.0)}, "malformed"),
        ({"q": ()}, "malformed"),
        ({"gripper": np.nan}, "malformed"),
        ({"gripper": 1.01}, "opening"),
        ({"gripper": -0.01}, "opening"),
        ({"T": np.full((4, 4), np.nan)}, "malformed"),
        ({"T": np.eye(3)}, "malformed"),
        ({"q": (1.001, 0.0)}, "joint_limit"),
        ({"q": (0.0, -2.001)}, "joint_limit"),
        ({"q": (0.51, 0.0)}, "jump"),
        ({"stamp_ns": EPOCH - 301_000_000}, "old"),
        ({"stamp_ns": EPOCH + 51_000_000}, "future"),
        ({"stamp_ns": 0}, "old"),
    ],
)
def test_what_is_refused_by_which_reason(fields, refusal: str) -> None:
    guard = ready()
    offered = command(fields.pop("stamp_ns", EPOCH), **fields)
    assert guard.offer(START, EPOCH, offered) == refusal
    assert guard.take(START) is None
    assert guard.counts == {refusal: 1}
    assert guard.holds(START) == refusal
    assert guard.sentence(START) == SENTENCES[refusal]


def test_a_value_that_is_no_number_is_malformed() -> None:
    guard = ready()
    assert guard.offer(START, EPOCH, command(EPOCH)._replace(q=["a", "b"])) == "malformed"


def test_limits_allow_for_rounding_and_nothing_more() -> None:
    for q, fine in ((1 + 5e-7, True), (1 + 1e-5, False)):
        assert (ready(q=(1.0, 0.0)).offer(START, EPOCH, command(EPOCH, (q, 0.0))) is None) is fine


def test_commands_must_come_in_order_and_not_faster_than_the_arm() -> None:
    guard = ready()
    assert guard.offer(START, EPOCH, command(EPOCH)) is None
    assert guard.offer(START, EPOCH, command(EPOCH)) == "sequence"
    assert guard.offer(START, EPOCH, command(EPOCH - 1)) == "sequence"
    # 1.2 x 1 rad/s x 20 ms + 0.02
    assert guard.offer(START + STEP, EPOCH + STEP, command(EPOCH + STEP, (0.05, 0.0))) == "speed"
    assert guard.offer(START + STEP, EPOCH + STEP, command(EPOCH + STEP, (0.04, 0.06))) is None


def test_silence_ends_in_hold_within_the_timeout_and_a_new_start_may_have_any_stamp() -> None:
    guard = ready(state_timeout_s=5.0)
    guard.offer(START, EPOCH, command(EPOCH))
    assert guard.holds(START + 250_000_000) == ""
    late = START + 250_000_001
    assert guard.holds(late) == "silent"
    assert guard.take(late) is None
    before = EPOCH - 10 * NS  # the supervisor's clock was set back meanwhile, and ours
    assert guard.offer(late, before, command(before, (0.4, 0.0))) is None
    assert guard.last.stamp_ns == before


def test_a_command_that_waited_too_long_is_not_sent() -> None:
    guard = ready(state_timeout_s=5.0)
    guard.offer(START, EPOCH, command(EPOCH))
    assert guard.take(START + NS) is None


def test_without_fresh_joint_states_nothing_is_followed() -> None:
    guard = ArmGuard(ARM)
    assert guard.offer(START, EPOCH, command(EPOCH)) == "joint_state"
    guard.state(START, np.zeros(2))
    assert guard.offer(START, EPOCH, command(EPOCH)) is None
    assert guard.offer(START + NS, EPOCH + NS, command(EPOCH + NS)) == "joint_state"
    assert guard.holds(START + NS) == "joint_state"


def test_only_one_supervisor_is_followed() -> None:
    guard = ready()
    for names, rival in (
        (["supervisor"], ""),
        ([""], ""),
        ([], ""),
        (["supervisor", "neighbour"], "neighbour"),
        (["neighbour"], "neighbour"),
        (["supervisor", "supervisor"], "2 times supervisor"),
        (["", ""], "2 times supervisor"),
        (["supervisor"], ""),
    ):
        guard.publishers(names, "supervisor")
        assert guard.rival == rival
        expected = "rival" if rival else None
        EPOCH_NOW = EPOCH + len(guard.counts) + sum(guard.counts.values())
        offered = command((guard.last.stamp_ns if guard.last else EPOCH_NOW) + 1)
        assert guard.offer(START, EPOCH, offered) == expected
        if rival:
            assert rival in guard.sentence(START)
            assert guard.take(START) is None


def test_a_rival_or_a_stop_drops_what_was_not_sent_yet() -> None:
    for end in (lambda g: g.publishers(["x"], "supervisor"), lambda g: g.stop("the node is leaving.")):
        guard = ready()
        guard.offer(START, EPOCH, command(EPOCH))
        end(guard)
        assert guard.take(START) is None
        guard.publishers([], "supervisor")
        guard.resume()
        assert guard.take(START) is None


def test_stopped_says_why() -> None:
    guard = ready()
    guard.stop("the arm node is not active.")
    assert guard.offer(START, EPOCH, command(EPOCH)) == "stopped"
    assert guard.sentence(START) == "the arm node is not active."
    guard.resume()
    assert guard.offer(START, EPOCH, command(EPOCH)) is None


@pytest.mark.parametrize("name", ["timeout_s", "max_age_s", "max_future_s", "state_timeout_s", "max_jump_rad"])
@pytest.mark.parametrize("value", [0.0, -1.0, 6.0, float("nan"), float("inf")])
def test_settings_that_cannot_be_meant_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} is .*above 0 and at most 5"):
        GuardSettings(**{name: value})


NUMBER = st.floats(width=64) | st.floats(-1.2, 1.2)
EVENT = st.one_of(
    st.tuples(st.just("offer"), st.integers(-400, 100), st.lists(NUMBER, min_size=2, max_size=2), NUMBER),
    st.tuples(st.just("state"), st.lists(st.floats(-1, 1), min_size=2, max_size=2)),
    st.tuples(st.just("publishers"), st.lists(st.sampled_from(["supervisor", "", "other"]), max_size=3)),
    st.tuples(st.just("wait"), st.integers(-50, 700)),
)


@settings(deadline=None)
@given(st.lists(EVENT, max_size=40))
def test_whatever_comes_what_is_passed_on_is_safe(events) -> None:
    guard, now, q = ready(), START, np.zeros(2)
    heard_ns, state_ns, rival = None, START, False
    for event in events:
        match event:
            case ("offer", age_ms, joints, gripper):
                if guard.offer(now, EPOCH + now, command(EPOCH + now + age_ms * 10**6, joints, gripper)) is None:
                    heard_ns = now
            case ("state", joints):
                q, state_ns = np.asarray(joints), now
                guard.state(now, q)
            case ("publishers", names):
                guard.publishers(names, "supervisor")
                rival = len(names) > 1 or "other" in names
            case ("wait", ms):
                now += ms * 10**6
        taken = guard.take(now)
        if taken is not None:
            assert not rival
            assert np.isfinite(taken.q).all()
            assert (np.abs(taken.q) <= [1 + 1e-6, 2 + 1e-6]).all()
            assert -1e-6 <= taken.gripper <= 1 + 1e-6
            assert np.abs(taken.q - q).max() <= 0.5
            assert 0 <= now - heard_ns <= 250_000_000
            assert 0 <= now - state_ns <= 500_000_000
        if heard_ns is None or not 0 <= now - heard_ns <= 250_000_000:
            assert guard.holds(now)
