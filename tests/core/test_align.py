"""Alignment: steps follow from stamps alone, whatever the order of arrival; nothing is lost without being counted."""

import bisect
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.align import GAP_NS, Aligner, Track
from robot_pt.alignment import Alignment
from robot_pt.commands import JointCommand, PoseTarget
from robot_pt.errors import DataError
from robot_pt.rotations import matrix_to_rpy, rpy_to_matrix
from robot_pt.samples import Frame, Gripper, Joints, Mode, PolicyStep, Request, Reward, Sample, ToolPose, Version
from robot_pt.schema import Spec
from robot_pt.targets import Limits, TargetIntegrator
from tests.core.robot_run import BEGIN, PERIOD, SPEC, Event, events, jpeg, pose

SECOND, LATENCY = 1_000_000_000, 40_000_000


def aligned(
    found: list[Event], end_ns: int | None = None, spec: Spec = SPEC, joints: int | None = 6, **options: object
) -> Alignment:
    aligner = Aligner(spec, joints=joints, **options)
    for received_ns, sample in found:
        aligner.add(sample, received_ns)
    return aligner.finish(end_ns)


def same(a: Alignment, b: Alignment) -> None:
    assert [s.anchor_ns for s in a.steps] == [s.anchor_ns for s in b.steps]
    for one, other in zip(a.steps, b.steps, strict=True):
        assert {k: bytes(v) for k, v in one.images.items()} == {k: bytes(v) for k, v in other.images.items()}
        assert one.age_ns == other.age_ns
        for name in ("proprio", "joints", "action", "requested"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one[7:] == other[7:]


def naive(found: list[Event], anchors: list[int]) -> list[dict[str, object]]:
    """The rule of the steps with everything known at once, written apart from the code that it judges."""
    samples = [s for _, s in found]

    def closest(kind: type, t: int, keep: Callable[[Sample], bool] = lambda s: True) -> Sample:
        return min((s for s in samples if type(s) is kind and keep(s)), key=lambda s: (abs(s.stamp_ns - t), s.stamp_ns))

    def last(kind: type, before: int) -> Sample | None:
        return max(
            (s for s in samples if type(s) is kind and s.stamp_ns < before), key=lambda s: s.stamp_ns, default=None
        )

    def begin(t: int) -> int:
        asked = [s.stamp_ns for s in samples if isinstance(s, Request) and t <= s.stamp_ns < t + PERIOD]
        return min(asked, default=t + LATENCY)

    out = []
    for t, following in itertools.pairwise(anchors):
        measured = closest(ToolPose, t).T_base_tool
        begun, ended = last(JointCommand, begin(t)), last(JointCommand, begin(following))
        asked = last(Request, begin(following))
        start = begun.T_base_tool if begun else measured
        asked = None if asked is None or asked.stamp_ns < begin(t) else asked.target
        ends = {"action": ended, "requested": asked or ended}
        row: dict[str, object] = {
            name: np.concatenate(
                [
                    (end.T_base_tool if end else start)[:3, 3] - start[:3, 3],
                    matrix_to_rpy((end.T_base_tool if end else start)[:3, :3] @ start[:3, :3].T),
                    [end.gripper if end else closest(Gripper, t).opening],
                ]
            )
            for name, end in ends.items()
        }
        row["proprio"] = [*measured[:3, 3], *matrix_to_rpy(measured[:3, :3]), closest(Gripper, t).opening]
        row["joints"] = closest(Joints, t).q
        for camera in SPEC.cameras:
            row[camera] = closest(Frame, t, lambda s, c=camera: s.camera == c).image
        out.append(row)
    return out


@pytest.mark.parametrize(
    ("source", "camera_hz"), [("policy", 30.0), ("teleop", 30.0), ("policy", 5.0), ("teleop", 7.3)]
)
def test_steps_are_what_the_rule_says_of_all_samples_at_once(source: str, camera_hz: float) -> None:
    found = events(source=source, camera_hz=camera_hz)
    alignment = aligned(found)
    anchors = [s.anchor_ns for s in alignment.steps]
    assert len(anchors) in (18, 19, 20)
    following = [*anchors[1:], anchors[-1] + PERIOD]
    expected = naive(found, [*anchors[:1], *following])
    for k, (step, row) in enumerate(zip(alignment.steps, expected, strict=True)):
        if k < len(anchors) - 1 and anchors[k] + PERIOD < BEGIN + 4 * SECOND - LATENCY:
            np.testing.assert_allclose(step.action, row["action"], atol=1e-12)
            np.testing.assert_allclose(step.requested, row["requested"], atol=1e-12)
        np.testing.assert_allclose(step.proprio, row["proprio"], atol=1e-12)
        np.testing.assert_array_equal(step.joints, row["joints"])
        assert all(step.images[camera] == row[camera] for camera in SPEC.cameras)
        assert step.operator == source
        assert step.version == "ab12"
    assert sum(s.reward for s in alignment.steps) == 0.25
    assert "held" not in alignment.counts
    assert "lost" not in alignment.counts


def test_anchors_are_the_policys_own_observations_where_it_says_them() -> None:
    found = events(source="policy")
    shifted = [
        (t, Request(s.target._replace(observation_ns=s.target.observation_ns + 37_000_000), s.source))
        if isinstance(s, Request)
        else (t, s)
        for t, s in found
    ]
    anchors = np.array([s.anchor_ns for s in aligned(shifted).steps])
    assert anchors[0] == BEGIN + 3_000_000  # where the slowest camera starts
    np.testing.assert_array_equal(anchors[1:], BEGIN + 37_000_000 + PERIOD * np.arange(1, len(anchors)))


def test_anchors_follow_the_camera_without_a_policy_so_that_rounded_rates_do_not_drift() -> None:
    spec = Spec(cameras={"primary": (12, 16)}, embodiment="panda", control_hz=15.0)
    out: list[Event] = [(BEGIN, Gripper(BEGIN, 1.0)), (BEGIN, ToolPose(BEGIN, pose(0)))]
    for k in range(600):  # 40 s of a simulator that rounds down to whole microseconds
        stamp = BEGIN + int(k * 1e6 / 15) * 1000
        out += [(stamp, Frame(stamp, "primary", jpeg(0))), (stamp, ToolPose(stamp + 1, pose(k / 15)))]
        out.append((stamp, JointCommand(stamp, np.zeros(6), 1.0, pose((k + 1) / 15))))
    alignment = aligned(out, spec=spec, joints=None)
    assert len(alignment.steps) == 599
    for k, step in enumerate(alignment.steps[1:], 1):
        assert step.age_ns["primary"] == 0
        np.testing.assert_allclose(step.action[:3], (pose((k + 1) / 15) - pose(k / 15))[:3, 3], atol=1e-12)


@pytest.mark.parametrize("latency_ms", [0, 40, 150, 199])
def test_an_action_that_a_gate_spreads_over_a_period_belongs_to_the_observation_behind_it(latency_ms: int) -> None:
    """A gate at 50 Hz reaches what was asked for one period after it was asked, however late in the step that was."""
    rng, latency = np.random.default_rng(1), latency_ms * 1_000_000
    targets = np.cumsum(rng.normal(0, 0.02, (21, 3)), axis=0)
    found = [e for e in events(4.0) if not isinstance(e[1], Request | JointCommand)]
    for k in range(20):
        seen = BEGIN + k * PERIOD
        for tick in range(10):
            at = np.eye(4)
            at[:3, 3] = targets[k] + (targets[k + 1] - targets[k]) * (tick + 1) / 10
            stamp = seen + latency + tick * PERIOD // 10
            found.append((stamp, JointCommand(stamp, np.zeros(6), 1.0, at)))
        asked = np.eye(4)
        asked[:3, 3] = targets[k + 1]
        found.append((seen + latency, Request(PoseTarget(seen + latency, asked, 1.0, seen), "policy")))
    alignment = aligned(sorted(found, key=lambda e: e[0]))
    by_anchor = {round((s.anchor_ns - BEGIN) / PERIOD): s for s in alignment.steps[1:-1]}
    assert len(by_anchor) >= 16
    for k, step in by_anchor.items():
        np.testing.assert_allclose(step.action[:3], targets[k + 1] - targets[k], atol=1e-12)
        np.testing.assert_allclose(step.requested[:3], targets[k + 1] - targets[k], atol=1e-12)


def test_lock_step_gives_back_the_actions_that_were_sent() -> None:
    limits = Limits(low=(0.1, -0.3, 0.0, -1.5, -1.5, -1.5), high=(0.6, 0.3, 0.5, 1.5, 1.5, 1.5))
    integrator, rng = TargetIntegrator(limits), np.random.default_rng(3)
    integrator.reset(np.array([0.3, 0.0, 0.2]), rpy_to_matrix([0.1, 0.0, 0.2]), 1.0)
    measured = np.eye(4)
    measured[:3, :3], measured[:3, 3] = integrator.rotation, integrator.position
    out: list[Event] = [(BEGIN, Mode(BEGIN, "policy"))]
    sent, asked = [], []
    for k in range(12):
        stamp = BEGIN + k * PERIOD
        out += [(stamp, Frame(stamp, camera, jpeg(k))) for camera in SPEC.cameras]
        out += [(stamp, ToolPose(stamp, measured)), (stamp, Gripper(stamp, 1.0)), (stamp, Joints(stamp, np.full(6, k)))]
        if k == 11:
            break
        action = np.append(rng.normal(0, 0.03, 6), rng.random())
        asked.append(action)
        requested = np.eye(4)
        requested[:3, 3] = integrator.position + action[:3]
        requested[:3, :3] = rpy_to_matrix(action[3:6]) @ integrator.rotation
        sent.append(integrator.apply(action))
        target = np.eye(4)
        target[:3, :3], target[:3, 3] = integrator.rotation, integrator.position
        out.append((stamp, Request(PoseTarget(stamp, requested, float(action[6]), stamp), "policy")))
        out.append((stamp, JointCommand(stamp, np.zeros(6), integrator.gripper, target)))
    episode = aligned(out, patience_s=10.0).episode(outcome="success")
    np.testing.assert_allclose(episode.actions, sent, atol=1e-6)
    np.testing.assert_allclose(episode.requested_actions, asked, atol=1e-6)
    assert [bytes(frame) for frame in episode.images["wrist"]] == [jpeg(k) for k in range(11)]
    assert episode.joint_positions[:, 0].tolist() == list(range(11))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), source=st.sampled_from(["policy", "teleop"]))
def test_any_order_of_arrival_within_the_patience_gives_the_same_steps(seed: int, source: str) -> None:
    found, rng = events(seconds=3.0, source=source), np.random.default_rng(seed)
    delayed = sorted(
        ((s.stamp_ns + int(rng.integers(0, 1_900_000_000)), s) for _, s in found if not isinstance(s, Mode | Version)),
        key=lambda e: e[0],
    )
    latched = [e for e in found if isinstance(e[1], Mode | Version)]
    mixed = aligned([*latched, *delayed])
    same(aligned(found), mixed)
    assert mixed.counts["reordered"]
    assert not {"late", "clock stepped back"} & set(mixed.counts)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_steps_made_while_samples_come_are_final(seed: int) -> None:
    """What is settled live is a prefix of the whole, at every moment."""
    found = events(seconds=4.0)
    rng = np.random.default_rng(seed)
    order = sorted(found, key=lambda e: e[1].stamp_ns + int(rng.integers(0, 500_000_000)) * (e[1].stamp_ns >= BEGIN))
    aligner, seen = Aligner(SPEC, joints=6), []
    for received_ns, sample in order:
        aligner.add(sample, received_ns + SECOND)
        if len(aligner) > len(seen):
            seen.append(aligner.steps[-1])
    whole = aligner.finish()
    assert len(seen) >= 5
    assert all(a is b for a, b in zip(seen, whole.steps, strict=False))


def test_what_comes_later_than_the_patience_is_counted_and_left_out() -> None:
    found = events()
    straggler = next(e for e in found if isinstance(e[1], Joints) and e[1].stamp_ns > BEGIN + SECOND // 2)
    rest = [e for e in found if e is not straggler]
    alignment = aligned([*rest, straggler], patience_s=1.0)
    assert alignment.counts["clock stepped back"] == {"joints": 1}  # 3.5 s behind its own source
    late = Frame(BEGIN + SECOND // 2 + 1, "primary", jpeg(7))
    held = [
        (t, s) for t, s in found if not (isinstance(s, Frame) and s.camera == "primary" and s.stamp_ns > BEGIN + SECOND)
    ]
    cut = next(i for i, (_, s) in enumerate(held) if s.stamp_ns > BEGIN + 3 * SECOND)
    assert aligned([*held[:cut], (0, late), *held[cut:]], patience_s=1.0).counts.get("stamp from the future")
    assert aligned([*held[:cut], (BEGIN + 9 * SECOND, late), *held[cut:]], patience_s=1.0).counts["late"] == {
        "primary": 1
    }


def test_a_clock_that_steps_back_starts_no_step_and_is_counted() -> None:
    found = events(seconds=4.0)
    again = [(t, s._replace(stamp_ns=s.stamp_ns - 3600 * SECOND)) for t, s in found if isinstance(s, Frame | Joints)]
    alignment = aligned([*found, *again])
    same(aligned(found), alignment)
    assert alignment.counts["clock stepped back"] == {"joints": 400, "primary": 120, "wrist": 120}


def test_a_clock_that_leaps_ahead_ends_the_steps() -> None:
    found = events(seconds=4.0)
    leap = GAP_NS + 10 * SECOND
    later = [
        (t + leap, s._replace(stamp_ns=s.stamp_ns + leap)) for t, s in found if isinstance(s, Frame | Joints | ToolPose)
    ]
    alignment = aligned([*found, *later])
    same(
        aligned(found, end_ns=BEGIN + 4 * SECOND)._replace(steps=alignment.steps[:19]),
        alignment._replace(steps=alignment.steps[:19]),
    )
    assert len(alignment.steps) <= 20 + GAP_NS // PERIOD + 1
    assert alignment.counts["gap"] == {"steps": 1}
    assert alignment.counts["after a gap"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Joints(BEGIN + SECOND, np.array([np.nan] * 6)), "joints are not finite (J,)"),
        (Joints(BEGIN + SECOND, np.zeros(5)), "5 joints, not 6"),
        (ToolPose(BEGIN + SECOND, np.full((4, 4), np.inf)), "the pose is not a finite (4, 4)"),
        (ToolPose(BEGIN + SECOND, np.eye(3)), "the pose is not a finite (4, 4)"),
        (Gripper(BEGIN + SECOND, float("nan")), "the gripper is not finite"),
        (Reward(BEGIN + SECOND, float("inf")), "the reward is not finite"),
        (JointCommand(BEGIN + SECOND, np.full(6, np.nan), 1.0, np.eye(4)), "the command is not finite"),
        (Request(PoseTarget(BEGIN + SECOND, np.eye(4), float("nan")), "policy"), "gripper not finite"),
        (PolicyStep(BEGIN + SECOND, BEGIN, float("nan")), "the policy's step is not finite"),
        (PolicyStep(BEGIN + SECOND, BEGIN, 1.0, 1.0, np.zeros(6)), "the policy's step is not finite"),
        (Frame(0, "primary", jpeg(0)), "no stamp"),
        (Frame(BEGIN + SECOND, "elsewhere", jpeg(0)), "a camera that the spec does not have"),
        (Frame(BEGIN + SECOND, "primary", b"\xff\xd8\xff"), "frames that are no image"),
        (Frame(BEGIN + SECOND, "primary", b""), "frames that are no image"),
        (Frame(BEGIN + SECOND, "primary", np.zeros((8, 9, 3), np.uint8)), "frames of 8x9"),
    ],
)
def test_unusable_samples_are_counted_by_reason_and_change_nothing(bad: Sample, reason: str) -> None:
    found = events()
    alignment = aligned([*found[:700], (BEGIN + 2 * SECOND, bad), *found[700:]])
    same(aligned(found), alignment)
    assert sum(alignment.counts[reason].values()) == 1


def test_a_sample_that_comes_twice_counts_once() -> None:
    found = events()
    alignment = aligned([e for e in found for _ in range(2)])
    same(
        aligned([e for e in found if not isinstance(e[1], Reward)]),
        aligned([e for e in found for _ in range(2) if not isinstance(e[1], Reward)]),
    )
    assert alignment.counts["duplicate"]["primary"] == 120


def test_lost_frames_are_counted_from_their_gaps_and_long_holds_by_step() -> None:
    found = [
        e
        for e in events()
        if not (isinstance(e[1], Frame) and e[1].camera == "wrist" and (e[1].stamp_ns // 33_333_333) % 10 == 3)
    ]
    gone = 120 - sum(isinstance(s, Frame) and s.camera == "wrist" for _, s in found)
    assert gone > 5
    first_or_last = 1  # a gap at either end cannot be seen
    assert abs(aligned(found).counts["lost"]["wrist"] - gone) <= first_or_last
    dark = [
        e
        for e in events()
        if not (
            isinstance(e[1], Frame) and e[1].camera == "wrist" and BEGIN + SECOND < e[1].stamp_ns < BEGIN + 2 * SECOND
        )
    ]
    alignment = aligned(dark)
    ages = [abs(s.age_ns["wrist"]) for s in alignment.steps]
    assert alignment.counts["held"] == {"wrist": sum(age > 150_000_000 for age in ages)}
    assert alignment.counts["held"]["wrist"] >= 3
    assert alignment.counts["repeated"]["wrist"] >= 2
    assert abs(alignment.counts["lost"]["wrist"] - 30) <= 1
    assert len(alignment.steps) == len(aligned(events()).steps)


def test_a_camera_that_dies_is_held_and_a_camera_that_never_speaks_is_named() -> None:
    dead = [
        e
        for e in events()
        if not (isinstance(e[1], Frame) and e[1].camera == "wrist" and e[1].stamp_ns > BEGIN + SECOND)
    ]
    alignment = aligned(dead)
    assert len(alignment.steps) == len(aligned(events()).steps)
    assert alignment.counts["held"]["wrist"] == 14
    silent = [e for e in events() if not (isinstance(e[1], Frame) and e[1].camera == "wrist")]
    with pytest.raises(DataError, match=r"nothing usable came from \['wrist'\]"):
        aligned(silent)
    wrong = [
        (t, s._replace(image=np.zeros((4, 4, 3), np.uint8)) if isinstance(s, Frame) and s.camera == "wrist" else s)
        for t, s in events()
    ]
    with pytest.raises(DataError, match="frames of 4x4"):
        aligned(wrong)
    with pytest.raises(DataError, match="record for longer"):
        aligned([e for e in events(seconds=0.1) if not isinstance(e[1], Reward)])


def test_memory_stays_bounded_while_a_camera_is_awaited() -> None:
    aligner = Aligner(SPEC, joints=6, patience_s=1.0)
    for received_ns, sample in events(seconds=20.0):
        if not (isinstance(sample, Frame) and sample.camera == "wrist"):
            aligner.add(sample, received_ns)
    assert sum(len(track.stamps) for track in aligner._tracks.values()) < 600


def test_takeovers_are_interventions_and_pauses_belong_to_whom_they_interrupt() -> None:
    found = [e for e in events(source="policy") if not isinstance(e[1], Mode)]
    modes = [("hold", 0.0), ("policy", 0.5), ("teleop", 1.5), ("hold", 2.0), ("policy", 2.5), ("fault", 3.5)]
    found += [(BEGIN + int(t * SECOND), Mode(BEGIN + int(t * SECOND), name)) for name, t in modes]
    found.sort(key=lambda e: e[0])
    alignment = aligned(found)
    expected = []
    names, starts = [m[0] for m in modes], [BEGIN + int(m[1] * SECOND) for m in modes]
    owner, ran = "unknown", False
    for step in alignment.steps:
        mode = names[bisect.bisect_left(starts, step.anchor_ns + PERIOD) - 1]
        owner = {"policy": "policy", "teleop": "intervention" if ran else "teleop"}.get(mode, owner)
        ran |= mode == "policy"
        expected.append(owner)
    assert [s.operator for s in alignment.steps] == expected
    assert {"unknown", "policy", "intervention"} == set(expected)
    for step in alignment.steps:  # the policy is not heard in teleop or hold: requested is what was executed
        if step.operator in ("unknown", "intervention"):
            np.testing.assert_array_equal(step.requested, step.action)
    scripted = aligned(events(source="teleop"), teleop="scripted")
    assert {s.operator for s in scripted.steps} == {"scripted"}


def test_what_a_policy_says_of_its_step_is_kept_with_it() -> None:
    found = events(source="policy")
    requests = [s for _, s in found if isinstance(s, Request)]
    told = [
        (s.stamp_ns, PolicyStep(s.stamp_ns, s.target.observation_ns, 12.5, 200.0, np.full(7, 0.25))) for s in requests
    ]
    episode = aligned(sorted([*found, *told], key=lambda e: e[0])).episode()
    assert set(episode.metadata["inference_ms"]) == {12.5}
    assert set(episode.metadata["tick_interval_ms"]) == {200.0}
    np.testing.assert_array_equal(episode.requested_actions, 0.25)
    assert "inference_ms" not in aligned(found).episode().metadata


def test_rewards_are_given_once_also_after_the_last_step() -> None:
    found = [e for e in events() if not isinstance(e[1], Reward)]
    given_at = [BEGIN + 10_000_000, BEGIN + 1_234_000_000, BEGIN + 1_234_000_000, BEGIN + 4 * SECOND + 30_000_000]
    rewarded = sorted([*found, *((t, Reward(t, 1.0)) for t in given_at)], key=lambda e: e[0])
    rewards = [s.reward for s in aligned(rewarded).steps]
    assert sum(rewards) == 4.0
    assert rewards[-1] == 1.0
    assert rewards[0] == 1.0
    assert max(rewards) == 2.0


@settings(max_examples=30, deadline=None)
@given(end_s=st.floats(1.0, 4.2), late_s=st.floats(0.0, 3.0), source=st.sampled_from(["policy", "teleop"]))
def test_what_is_stamped_after_the_end_changes_nothing_however_early_it_came(
    end_s: float, late_s: float, source: str
) -> None:
    """Recorders hear of the end a while after it, and meanwhile of what came next: steps are the same without it."""
    found, end = events(source=source), BEGIN + round(end_s * SECOND)
    heard = [e for e in found if e[1].stamp_ns <= end + round(late_s * SECOND)]
    in_time = [e for e in heard if e[1].stamp_ns <= end]
    cut, clean = aligned(heard, end), aligned(in_time, end)
    assert [s.anchor_ns for s in cut.steps] == [s.anchor_ns for s in clean.steps]
    assert cut.steps[-1].anchor_ns + PERIOD <= end + PERIOD // 20
    settled = late_s > 1.5  # its last action was made with a request from after the end before the end was known
    for one, other in zip(cut.steps[: -1 if settled else None], clean.steps, strict=False):
        np.testing.assert_array_equal(one.action, other.action)
        np.testing.assert_array_equal(one.requested, other.requested)


def test_a_reward_that_came_after_the_end_is_given() -> None:
    found, end = events(), BEGIN + 3 * SECOND
    late = [e for e in found if e[1].stamp_ns <= end and not isinstance(e[1], Reward)]
    late += [(end + SECOND // 10, Reward(end + SECOND // 10, 1.0))]
    assert [s.reward for s in aligned(late, end).steps][-1] == 1.0


def test_kinematics_stand_in_for_a_tool_pose() -> None:
    found = [e for e in events() if not isinstance(e[1], ToolPose)]
    with pytest.raises(DataError, match=r"\['pose'\]"):
        aligned(found)
    alignment = aligned(found, fk=lambda q: pose(float(q[0])))
    for step in alignment.steps:
        np.testing.assert_allclose(step.proprio[:3], pose(float(step.joints[0]))[:3, 3])


@pytest.mark.parametrize("before_s", [60, 1])  # 1: between two simulated episodes
def test_a_command_from_long_before_is_not_where_the_first_action_starts(before_s: int) -> None:
    found = [e for e in events() if not isinstance(e[1], JointCommand)]
    old = BEGIN - before_s * SECOND
    first = aligned([(BEGIN - 1, JointCommand(old, np.zeros(6), 0.3, pose(20.0))), *found]).steps[0]
    np.testing.assert_allclose(first.action[:6], 0, atol=1e-15)
    recent = BEGIN - SECOND // 10
    command = JointCommand(recent, np.zeros(6), 0.3, pose(20.0))
    moved = JointCommand(BEGIN + SECOND // 10, np.zeros(6), 0.4, pose(20.5))
    step = aligned([(recent, command), *found[:100], (BEGIN + SECOND, moved), *found[100:]]).steps[0]
    np.testing.assert_allclose(step.action[:3], (pose(20.5) - pose(20.0))[:3, 3], atol=1e-12)
    assert step.action[6] == 0.4


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(-5, 55))
def test_a_track_finds_what_a_search_through_all_finds(stamps: list[int], t: int) -> None:
    track: Track[int] = Track()
    for i, stamp in enumerate(stamps):
        track.insert(stamp, i)
    assert track.stamps == sorted(stamps)
    found = track.nearest(t)[0]
    assert (abs(found - t), found) == min((abs(s - t), s) for s in stamps)
    before = track.before(t)
    assert (None if before is None else stamps[before]) == max((s for s in stamps if s < t), default=None)
    assert sorted(stamps[i] for i in track.within(t, t + 9)) == sorted(s for s in stamps if t <= s < t + 9)
    track.drop_before(t)
    assert track.stamps == [*[s for s in sorted(stamps) if s < t][-1:], *[s for s in sorted(stamps) if s >= t]]
