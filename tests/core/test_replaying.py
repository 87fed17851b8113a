"""Replay: every recorded action comes once, in order and whole, whatever the calls' timing; and a session drives with it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt import robots
from robot_pt.commands import ArmState
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.replaying import LONGEST_GAP, ReplayPolicy, load_replay
from robot_pt.rotations import rpy_to_matrix
from robot_pt.schema import Episode, Observation, Spec
from robot_pt.session import Session, SessionSettings
from robot_pt.store import DemoStore
from robot_pt.targets import moved

PERIOD = 200_000_000
SPEC = Spec(cameras={"primary": (8, 8)}, embodiment="panda")


def recorded(steps: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-0.04, 0.04, (steps, 7)).astype(np.float32)
    actions[:, 3:6] *= 4
    actions[:, 6] = rng.integers(0, 2, steps)
    return actions


def seen(time_ns: int) -> list[Observation]:
    return [Observation({}, np.zeros(7, np.float32), time_ns)]


def written(tmp_path, actions: np.ndarray, spec: Spec = SPEC) -> DemoStore:
    store, steps = DemoStore.create(tmp_path / "demos", spec), len(actions)
    for shown in (actions[::-1], actions):
        store.append(
            Episode(
                spec=spec,
                images={"primary": np.zeros((steps, 8, 8, 3), np.uint8)},
                proprio=np.zeros((steps, 7), np.float32),
                actions=shown,
                rewards=np.zeros(steps, np.float32),
                terminated=np.zeros(steps, bool),
                truncated=np.arange(steps) == steps - 1,
                task="lift-red",
            )
        )
    return store


def test_on_time_every_action_is_the_recorded_one_and_then_nothing_moves() -> None:
    actions = recorded()
    policy = ReplayPolicy(actions, SPEC, "replay:x:0")
    start = 10**18
    played = [policy.act(seen(start + i * PERIOD))[0] for i in range(len(actions) + 3)]
    np.testing.assert_array_equal(played[: len(actions)], actions)
    assert policy.finished
    for idle in played[len(actions) :]:
        np.testing.assert_array_equal(idle, [0, 0, 0, 0, 0, 0, actions[-1, 6]])


def end_pose(actions) -> np.ndarray:
    T = np.eye(4)
    for action in actions:
        T = moved(T, action)
    return T


@settings(deadline=None)
@given(st.lists(st.integers(-80, 80), min_size=20, max_size=20), st.sets(st.integers(1, 18), max_size=5))
def test_jitter_and_missed_calls_lose_no_motion(jitter_ms: list[int], missed: set[int]) -> None:
    """The path's end is the recorded one, for at most LONGEST_GAP - 1 calls fall out in a row."""
    missed = {i for i in missed if i - 1 not in missed}
    actions = recorded(12, seed=3)
    policy = ReplayPolicy(actions, SPEC, "replay:x:0")
    played = [
        policy.act(seen(10**15 + i * PERIOD + jitter * 10**6))[0]
        for i, jitter in enumerate(jitter_ms)
        if i not in missed
    ]
    assert policy.finished
    np.testing.assert_allclose(end_pose(played), end_pose(actions), atol=1e-5)


def test_missed_actions_come_together_with_the_newest_opening() -> None:
    actions = recorded(4)
    policy = ReplayPolicy(actions, SPEC, "replay:x:0")
    policy.act(seen(0))
    joined = policy.act(seen(2 * PERIOD))[0]
    np.testing.assert_allclose(joined[:3], actions[1, :3] + actions[2, :3], atol=1e-7)
    both = rpy_to_matrix(actions[2, 3:6]) @ rpy_to_matrix(actions[1, 3:6])
    np.testing.assert_allclose(rpy_to_matrix(joined[3:6]), both, atol=1e-6)
    assert joined[6] == actions[2, 6]


@pytest.mark.parametrize("gap", [2 + LONGEST_GAP, 50, 10**6, -3])
def test_after_a_pause_or_a_clock_set_back_it_goes_on_where_it_was(gap: int) -> None:
    actions = recorded()
    policy = ReplayPolicy(actions, SPEC, "replay:x:0")
    policy.act(seen(10**18))
    np.testing.assert_array_equal(policy.act(seen(10**18 + gap * PERIOD))[0], actions[1])


def test_two_calls_at_one_time_give_one_action() -> None:
    actions = recorded()
    policy = ReplayPolicy(actions, SPEC, "replay:x:0")
    policy.act(seen(5))
    np.testing.assert_array_equal(policy.act(seen(5))[0], [*np.zeros(6), actions[0, 6]])
    np.testing.assert_array_equal(policy.act(seen(5 + PERIOD))[0], actions[1])


def test_a_store_is_read_by_number_or_id(tmp_path) -> None:
    actions = recorded()
    store = written(tmp_path, actions)
    for name in (1, "1", "000001"):
        policy = load_replay(store.path, name)
        assert policy.version == f"replay:{store.path}:000001"
        assert policy.task_names == ("lift-red",)
        assert policy.spec == replace(SPEC, cameras={})
        np.testing.assert_array_equal(policy.act(seen(1))[0], actions[0])


def test_a_session_drives_with_it_without_cameras_from_the_measured_pose(tmp_path) -> None:
    """Warm-up plays nothing away, and the targets are the recorded path moved to where the arm stands."""
    actions = recorded(5, seed=2) * np.float32([0.2] * 6 + [1])
    policy = load_replay(written(tmp_path, actions).path, 1)
    arm = robots.load("panda")
    session = Session(policy, policy.spec, arm, settings=SessionSettings(lockstep=True))
    session.warm_up(5)
    now, targets = 10**15, []
    session.observe_arm(ArmState(now, arm.home_rad, 1.0))
    assert session.start(now).ok
    for _ in range(len(actions)):
        session.observe_arm(ArmState(now, arm.home_rad, 1.0))
        targets.append(session.tick(now))
        now += PERIOD
    pose = arm.fk(arm.home_rad)
    for action, target in zip(actions, targets, strict=True):
        pose = moved(pose, action)
        np.testing.assert_allclose(target.T_base_tool, pose, atol=1e-6)
        assert target.gripper == action[6]


def test_what_cannot_be_replayed_is_one_sentence(tmp_path) -> None:
    store = written(tmp_path, recorded())
    with pytest.raises(DataError, match="no episode '000007'"):
        load_replay(store.path, 7)
    with pytest.raises(DataError, match="not a demo store"):
        load_replay(tmp_path / "nothing", 0)
    with pytest.raises(MismatchError, match="not metres"):
        ReplayPolicy(recorded(), replace(SPEC, action_unit="normalized"), "replay:x:0")
    for bad in (np.zeros((0, 7)), np.full((2, 7), np.nan), np.zeros(7)):
        with pytest.raises(DataError, match="choose another episode"):
            ReplayPolicy(bad, SPEC, "replay:x:0")
    with pytest.raises(UserError, match="without an observation"):
        ReplayPolicy(recorded(), SPEC, "replay:x:0").act([])


def test_actions_that_are_not_canonical_are_refused(tmp_path) -> None:
    spec = replace(SPEC, action_names=("a", "b"))
    store = written(tmp_path, np.zeros((3, 2), np.float32), spec)
    with pytest.raises(UserError, match="an action has 7 numbers"):
        load_replay(store.path, 0)
