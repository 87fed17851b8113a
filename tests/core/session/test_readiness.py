from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.schema import Spec
from robot_pt.session.readiness import (
    COLD_RUNS,
    StepLimits,
    WarmUp,
    clipping,
    measure,
    require_drivable,
    step_lengths,
    too_slow,
)

ROBOT = Spec(cameras={"primary": (480, 640), "wrist": (480, 640)}, embodiment="widowx250s")
PERIOD = 200_000_000


def spec(**changes):
    return Spec(**{**ROBOT.to_json(), "cameras": {"primary": (128, 128)}, **changes})


def test_a_policy_for_this_robot_may_drive_it():
    require_drivable(spec(), ROBOT)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"embodiment": "panda"}, "another robot"),
        ({"cameras": {"secondary": (64, 64)}}, "camera 'secondary', the robot has ['primary', 'wrist']"),
        ({"action_unit": "normalized"}, "normalized, not metres"),
        ({"action_unit": "unknown"}, "unknown, not metres"),
        ({"control_hz": 10.0}, "10 Hz"),
        ({"action_source": "achieved"}, "action_source"),
        ({"action_names": ("dx", "dy")}, "the policy has actions ['dx', 'dy']"),
        ({"proprio_names": ("q1", "q2")}, "the policy has state ['q1', 'q2']"),
    ],
)
def test_everything_that_does_not_fit_is_one_sentence(policy, words):
    with pytest.raises(MismatchError) as raised:
        require_drivable(spec(**policy), ROBOT)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_robot_of_another_state_is_refused_even_where_the_policy_agrees():
    names = ("q1", "q2")
    with pytest.raises(MismatchError, match="the robot has state"):
        require_drivable(spec(proprio_names=names), Spec(**{**ROBOT.to_json(), "proprio_names": names}))


@dataclass
class Record:
    """What `clipping` reads of a PolicyRecord."""

    data: list[Any] = field(default_factory=list)
    network: dict[str, Any] = field(default_factory=dict)


@settings(deadline=None)
@given(
    arrays(np.float32, (40, 7), elements=st.floats(-0.25, 0.25, width=32)), st.floats(0.01, 0.3), st.floats(0.01, 0.3)
)
def test_the_share_that_would_be_clipped_is_known_to_a_thousandth(actions, most_m, most_rad):
    actions = np.repeat(actions, 50, 0)  # no quantile then lies between two steps by much
    lengths = [np.linalg.norm(actions[:, part].astype(np.float64), axis=1) for part in (slice(3), slice(3, 6))]
    limits = StepLimits(most_m, most_rad)
    assume(all(np.abs(each - most).min() > 1e-5 for each, most in zip(lengths, limits, strict=True)))
    counted = max(np.mean(each > most) for each, most in zip(lengths, limits, strict=True))
    record = Record(data=[{"name": "demo", "step_lengths": step_lengths(actions)}])
    try:
        note = clipping(record, limits)
    except MismatchError as error:
        share = float(str(error).split("%")[0]) / 100
        assert counted > 0.008
    else:
        share = float(note.split("%")[0]) / 100 if note else 0.0
        assert counted < 0.012
    assert share == pytest.approx(counted, abs=0.0026)  # 1001 levels, and a sentence rounds to 0.1 %


def test_a_few_long_steps_are_a_note_and_many_a_refusal_that_names_both_limits():
    actions = np.zeros((2000, 7))
    actions[:10, 0] = 0.08
    limits = StepLimits()
    record = Record(data=[{"name": "a"}, {"name": "demo", "step_lengths": step_lengths(actions)}])
    assert clipping(record, limits).startswith("0.5% of the training actions")
    actions[:100, 5] = 0.5
    record.data[1]["step_lengths"] = step_lengths(actions)
    with pytest.raises(MismatchError, match=r"5\.\d% of the actions.*max_step_translation_m or max_step_rotation_rad"):
        clipping(record, limits)


def test_without_step_lengths_the_bounds_say_how_far_actions_may_reach():
    bounds = {"low": [-0.05] * 3 + [-0.25] * 3 + [0.0], "high": [0.05] * 3 + [0.25] * 3 + [1.0]}
    assert clipping(Record(network={"bounds": bounds}), StepLimits()) == ""
    bounds["high"][1] = 0.12
    assert "0.12 m" in clipping(Record(network={"bounds": bounds}), StepLimits())
    assert clipping(Record(), StepLimits()) == ""


@pytest.mark.parametrize(
    "lengths", [{}, {"m": ["x"], "rad": [0]}, {"m": [], "rad": [0]}, {"m": 3, "rad": [0]}, {"m": None}]
)
def test_damaged_step_lengths_are_told(lengths):
    with pytest.raises(DataError, match=r"policy\.json is damaged"):
        clipping(Record(data=[{"step_lengths": lengths}]), StepLimits())


@pytest.mark.parametrize("actions", [np.zeros((0, 7)), np.full((3, 7), np.nan)])
def test_step_lengths_of_nothing_are_refused(actions):
    with pytest.raises(UserError, match="need at least one finite"):
        step_lengths(actions)


def test_steps_with_nan_do_not_count():
    actions = np.zeros((3, 7))
    actions[0, 0], actions[1, 0] = np.nan, 0.03
    assert step_lengths(actions)["m"][-1] == 0.03


def test_warming_up_shows_grey_frames_of_the_cameras_sizes_and_leaves_cold_runs_out():
    seen, times = [], [50.0, 9.0, 8.0, 4.0, 2.0, 6.0]  # ms
    ticks = []
    for length in times:
        ticks += [len(ticks) * 10**9, len(ticks) * 10**9 + round(length * 1e6)]
    clock = iter(ticks)

    def act(history):
        seen.append(history)
        return np.zeros((2, 7))

    assert COLD_RUNS == 3
    timing = measure(act, ROBOT, history=4, runs=3, clock_ns=lambda: next(clock))
    assert timing.first_ms == 50.0
    assert timing.p50_ms == 4.0
    assert timing.p99_ms == pytest.approx(6.0, abs=0.1)
    assert (timing.runs, timing.chunk) == (3, 2)
    assert len(seen[0]) == 4
    assert {role: frame.shape for role, frame in seen[0][-1].images.items()} == dict.fromkeys(
        ROBOT.cameras, (480, 640, 3)
    )
    assert np.isfinite(seen[0][-1].proprio).all()


def test_damaged_weights_are_found_while_warming_up():
    with pytest.raises(UserError, match="damaged"):
        measure(lambda history: np.full((1, 7), np.nan), ROBOT, 1, 1, iter(range(100)).__next__)


@pytest.mark.parametrize(
    ("p99_ms", "chunk", "asynchronous", "play", "fine"),
    [
        (199.0, 1, False, None, True),
        (201.0, 1, False, None, False),
        (201.0, 8, False, None, False),  # a chunk does not make the tick that infers any shorter
        (201.0, 8, True, None, True),
        (1390.0, 8, True, None, True),
        (1410.0, 8, True, None, False),
        (250.0, 8, True, 2, False),
        (1.0, 1, True, None, False),  # its only action belongs to a tick that has passed
    ],
)
def test_what_is_too_slow_depends_on_the_period_or_on_what_a_chunk_lasts(p99_ms, chunk, asynchronous, play, fine):
    sentence = too_slow(WarmUp(500.0, 1.0, p99_ms, 10, chunk), PERIOD, asynchronous=asynchronous, play=play)
    assert (sentence == "") == fine
    if not fine:
        assert f"{p99_ms:.1f} ms" in sentence
