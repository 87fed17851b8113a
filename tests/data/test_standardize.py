"""Rotations, grippers and edges of episodes: each rule against a second derivation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import robot_pt_data
from robot_pt.errors import DataError
from robot_pt.schema import FAILURE, SUCCESS, UNKNOWN
from robot_pt_data import geometry
from robot_pt_data.mapping import Mapping
from robot_pt_data.standardize import absolute_gripper, achieved, standardize

RANDOM = Rotation.random(200, random_state=0)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("quaternion_xyzw", RANDOM.as_quat() * 2.5),
        ("quaternion_wxyz", RANDOM.as_quat()[:, [3, 0, 1, 2]]),
        ("axis_angle", RANDOM.as_rotvec()),
        ("euler", RANDOM.as_euler("xyz")),
    ],
)
def test_every_format_means_the_same_rotation_to_scipy(kind: Any, values: Any) -> None:
    np.testing.assert_allclose(geometry.to_matrix(values, kind), RANDOM.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(geometry.to_euler(values, kind), RANDOM.as_euler("xyz"), atol=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
def test_pose_matrices_of_either_order(order: Any) -> None:
    poses = np.tile(np.eye(4), (200, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = RANDOM.as_matrix(), np.arange(600).reshape(200, 3)
    flat = np.stack([p.ravel(order=order) for p in poses])
    np.testing.assert_array_equal(geometry.pose_matrix(flat), poses)
    np.testing.assert_allclose(geometry.to_matrix(flat, "pose_matrix"), RANDOM.as_matrix())


def test_what_is_no_rotation_is_refused() -> None:
    with pytest.raises(DataError, match="0 0 0 1 neither"):
        geometry.pose_matrix(np.ones((1, 16)))
    with pytest.raises(DataError, match="a quaternion has length"):
        geometry.to_matrix(np.zeros((1, 4)), "quaternion_xyzw")


def test_small_axis_angles_and_straight_down() -> None:
    tiny = np.array([[0, 0, 0], [1e-12, 0, 0], [0, 1e-7, 0]])
    np.testing.assert_allclose(
        geometry.to_matrix(tiny, "axis_angle"), Rotation.from_rotvec(tiny).as_matrix(), atol=1e-14
    )
    down = np.array([[0.3, np.pi / 2, 0.7]])
    again = geometry.to_matrix(geometry.matrix_to_euler(geometry.to_matrix(down, "euler")), "euler")
    np.testing.assert_allclose(again, geometry.to_matrix(down, "euler"), atol=1e-7)


@given(st.floats(-50, 50))
def test_wrap_keeps_the_direction_and_the_range(angle: float) -> None:
    wrapped = float(geometry.wrap(np.array(angle)))
    assert -np.pi < wrapped <= np.pi + 1e-9
    assert np.isclose(np.exp(1j * wrapped), np.exp(1j * angle), atol=1e-9)


@given(
    st.lists(st.sampled_from([-1.0, -0.05, 0.0, 0.05, 1.0]), min_size=1, max_size=20),
    st.sampled_from([True, False, None]),
)
def test_absolute_gripper_is_a_walk_through_the_commands(commands: list[float], start: bool | None) -> None:
    opening = float(next((c > 0 for c in commands if abs(c) > 0.1), True)) if start is None else float(start)
    expected = []
    for c in commands:
        opening = 0.0 if c > 0.1 else 1.0 if c < -0.1 else opening
        expected.append(opening)
    assert absolute_gripper(np.array(commands), start).tolist() == expected


def test_achieved_actions_lead_from_pose_to_pose_the_short_way_round() -> None:
    rng = np.random.default_rng(0)
    proprio = np.concatenate(
        [rng.normal(size=(30, 3)), rng.uniform(-np.pi, np.pi, (30, 3)), rng.random((30, 1))], axis=1
    ).astype(np.float32)
    actions = rng.normal(size=(30, 7)).astype(np.float32)
    moved = achieved(proprio, actions)
    np.testing.assert_allclose(proprio[:-1, :3] + moved[:-1, :3], proprio[1:, :3], atol=1e-6)
    assert (np.abs(moved[:, 3:6]) <= np.pi + 1e-5).all()
    after, target = (
        Rotation.from_euler("xyz", (proprio[:-1] + moved[:-1])[:, 3:6]),
        Rotation.from_euler("xyz", proprio[1:, 3:6]),
    )
    assert ((after.inv() * target).magnitude() < 1e-5).all()
    np.testing.assert_array_equal(moved[:, 6], actions[:, 6])
    np.testing.assert_array_equal(moved[-1, :6], 0)
    np.testing.assert_array_equal(achieved(proprio[:1], actions[:1])[0, :6], 0)


def one(mapping: Mapping, steps: int = 4, **columns: Any) -> Any:
    base = {
        "steps/is_terminal": np.eye(steps)[-1][:, None].astype(np.int64), "steps/reward": np.zeros((steps, 1), np.float32),
        "steps/language_instruction": np.array([b"go"], object),
    }  # fmt: skip
    return standardize(mapping, {**base, **{k.replace("__", "/"): v for k, v in columns.items()}}, steps)


def simple(**changes: Any) -> Mapping:
    if not {"translation", "rotation", "gripper", "action_source"} & set(changes):
        changes["action_kind"] = "none"
    return Mapping(embodiment="x", control_hz=5, cameras={"primary": "image"}, **changes)


def test_a_place_holder_first_step_is_dropped_only_when_it_is_one() -> None:
    mapping = simple(translation="action[0:3]", rotation="action[3:6]", drop_zero_first=True)
    zero, moving = np.zeros((4, 7)), np.full((4, 7), 0.01)
    assert one(mapping, steps__action=zero).drop_first == 1
    assert one(mapping, steps__action=moving).drop_first == 0
    assert one(simple(translation="action[0:3]"), steps__action=zero).drop_first == 0
    assert one(mapping, steps=1, steps__action=zero[:1]).drop_first == 0  # an episode never vanishes by it


def test_targets_are_differenced_from_where_the_arm_was() -> None:
    rng = np.random.default_rng(2)
    target, measured = rng.uniform(-3, 3, (4, 6)), rng.uniform(-3, 3, (4, 6))
    mapping = simple(
        translation="t[0:3]", rotation="t[3:6]", action_kind="target", position="p[0:3]", orientation="p[3:6]"
    )
    found = one(mapping, steps__t=target, steps__p=measured)
    np.testing.assert_allclose(found.actions[0, :3], target[0, :3] - measured[0, :3], rtol=1e-6)
    np.testing.assert_allclose(measured[0, :3] + np.cumsum(found.actions[:, :3], axis=0), target[:, :3], atol=1e-6)
    turned = measured[0, 3:] + np.cumsum(found.actions[:, 3:6], axis=0)
    np.testing.assert_allclose(np.exp(1j * turned), np.exp(1j * target[:, 3:]), atol=1e-5)
    only_moves = one(
        simple(translation="t[0:3]", action_kind="target", position="p[0:3]", orientation="p[3:6]"),
        steps__t=target,
        steps__p=measured,
    )
    np.testing.assert_array_equal(only_moves.actions[:, 3:6], 0)


@pytest.mark.parametrize(
    ("kind", "given_", "expected"),
    [
        ("open", [-0.2, 0.3, 1.2, 1.0], [0, 0.3, 1, 1]),
        ("closed", [-0.2, 0.3, 1.2, 1.0], [1, 0.7, 0, 0]),
        ("open_signed", [-1, 0, 1, 1], [0, 0.5, 1, 1]),
    ],
)
def test_gripper_kinds(kind: Any, given_: list[float], expected: list[float]) -> None:
    found = one(simple(gripper="g", gripper_kind=kind), steps__g=np.array(given_)[:, None])
    np.testing.assert_allclose(found.actions[:, 6], expected, atol=1e-6)


def test_measured_grippers_are_scaled_and_signed() -> None:
    width = np.array([[0.0], [0.04], [0.08], [0.08]])
    options: dict[str, Any] = {"position": "p", "gripper_state": "g"}
    columns = {"steps__p": np.zeros((4, 3)), "steps__g": width}
    scaled = one(simple(**options, gripper_state_scale=0.08), **columns)
    np.testing.assert_allclose(scaled.proprio[:, 6], [0, 0.5, 1, 1])
    closed = one(simple(**options, gripper_state_scale=0.08, gripper_state_kind="closed"), **columns)
    np.testing.assert_allclose(closed.proprio[:, 6], [1, 0.5, 0, 0])
    signed = one(
        simple(**options, gripper_state_kind="open_signed"), steps__p=np.zeros((4, 3)), steps__g=width * 25 - 1
    )
    np.testing.assert_allclose(signed.proprio[:, 6], [0, 0.5, 1, 1], atol=1e-6)


def test_success_rules() -> None:
    paid = {"steps/reward": np.array([[0.0], [0], [0], [1]])}
    assert one(simple()).success == UNKNOWN
    assert one(simple(), **paid).success == SUCCESS
    named = simple(success="/ok", success_known="/sure")
    for value, sure, expected in ((1, 1, SUCCESS), (0, 1, FAILURE), (-1, 1, UNKNOWN), (0, 0, UNKNOWN)):
        assert one(named, ok=np.array([[value]]), sure=np.array([[sure]])).success == expected
    assert one(named, **paid).success == SUCCESS  # the column is not in this copy: the reward speaks


def test_instructions_fall_back_and_are_never_blanked() -> None:
    mapping = simple(instruction=("a", "b"), task="c")
    texts = {
        "steps__a": np.array([b"  "], object),
        "steps__b": np.array(["Löffel".encode()], object),
        "steps__c": np.array([b"spoon"], object),
    }
    found = one(mapping, **texts)
    assert (found.instruction, found.task) == ("Löffel", "spoon")
    assert one(simple(instruction=("absent",))).instruction == ""
    assert one(simple()).task == "go"


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        (simple(translation="nowhere"), "no column 'steps/nowhere'"),
        (simple(translation="a[5:9]"), "has 7 values per step, 'a\\[5:9\\]' asks for more"),
        (simple(rotation="a[0:2]"), "2 values per step, 3 are needed"),
        (simple(translation="a"), "7 values per step, 1 to 3 are needed"),
    ],
)
def test_columns_that_do_not_fit(mapping: Mapping, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        one(mapping, steps__a=np.zeros((4, 7)))


def test_achieved_source_drops_the_unseen_end_and_keeps_its_reward(write_rlds: Callable[..., Path]) -> None:
    commanded: Any = robot_pt_data.open(write_rlds("droid"))
    source: Any = robot_pt_data.open(write_rlds("droid"), action_source="achieved")
    assert source.spec.action_source == "achieved"
    assert source.episodes.length.tolist() == [4, 4]
    for start in source.episodes.start.tolist():
        rows = slice(start, start + 4)
        moved = commanded.proprio[start + 1 : start + 5, :3] - commanded.proprio[rows, :3]
        np.testing.assert_allclose(source.actions[rows, :3], moved, atol=1e-6)
        assert source.rewards[rows].tolist() == [0, 0, 0, 1]
        assert source.terminated[rows].tolist() == [False, False, False, True]
