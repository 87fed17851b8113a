"""The vocabulary: what fits together, what is refused and in which words."""

import dataclasses

import numpy as np
import pytest

from robot_pt.errors import DataError, MismatchError
from robot_pt.schema import ACTION_NAMES, Episode, EpisodeTable, Spec

SPEC = Spec(cameras={"primary": (4, 6)}, embodiment="panda")


def table(lengths: list[int]) -> EpisodeTable:
    count = len(lengths)
    return EpisodeTable(
        start=np.cumsum([0, *lengths])[:-1].astype(np.int64),
        length=np.array(lengths, np.int64),
        instruction=[f"do {i}" for i in range(count)],
        task=["a"] * count,
        success=np.zeros(count, np.int8),
        dataset=["d"] * count,
        split=["train"] * count,
        operator=["teleop"] * count,
    )


def episode(steps: int = 3, **changes: object) -> Episode:
    values: dict = {
        "spec": SPEC,
        "images": {"primary": np.zeros((steps, 4, 6, 3), np.uint8)},
        "proprio": np.zeros((steps, 7), np.float32),
        "actions": np.zeros((steps, 7), np.float32),
        "rewards": np.zeros(steps, np.float32),
        "terminated": np.zeros(steps, bool),
        "truncated": np.zeros(steps, bool),
    }
    return Episode(**{**values, **changes})


def test_a_spec_survives_json() -> None:
    import json

    assert Spec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC
    assert SPEC.cameras["primary"] == (4, 6)
    assert SPEC.action_names == ACTION_NAMES


@pytest.mark.parametrize("values", [{}, {"cameras": {}, "embodiment": "x", "colour": 1}])
def test_a_spec_file_with_other_fields_is_refused(values: dict) -> None:
    with pytest.raises(DataError, match="fields"):
        Spec.from_json(values)


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(DataError, match="control_hz"):
        dataclasses.replace(SPEC, control_hz=0.0)


def test_sources_share_a_network_only_with_the_camera_and_the_same_names() -> None:
    SPEC.require_trainable_with(SPEC, "primary")
    with pytest.raises(MismatchError, match="wrist"):
        SPEC.require_trainable_with(SPEC, "wrist")
    other = dataclasses.replace(SPEC, proprio_names=("x", "y"))
    with pytest.raises(MismatchError, match="proprio_names differ"):
        SPEC.require_trainable_with(other, "primary")


def test_selecting_rows_keeps_starts_and_order() -> None:
    chosen = table([2, 5, 3]).select([2, 0])
    assert chosen.start.tolist() == [7, 0]
    assert chosen.length.tolist() == [3, 2]
    assert chosen.instruction == ["do 2", "do 0"]
    assert chosen.steps == 5


def test_rows_are_the_steps_of_the_episodes_in_their_order() -> None:
    full = table([2, 5, 0, 3])
    assert full.rows().tolist() == list(range(10))
    assert full.rows([3, 0]).tolist() == [7, 8, 9, 0, 1]
    assert full.rows([2]).tolist() == full.rows([]).tolist() == []
    assert table([]).rows().dtype == np.int64
    parts = full.select([3, 2, 1])  # starts stay those of the whole source
    wanted = [row for s, n in zip(parts.start, parts.length, strict=True) for row in range(s, s + n)]
    assert parts.rows().tolist() == wanted == [7, 8, 9, 2, 3, 4, 5, 6]


def test_selecting_by_mask_nothing_and_from_nothing() -> None:
    full = table([2, 5])
    assert full.select(np.array([False, True])).length.tolist() == [5]
    assert len(full.select([])) == 0
    assert len(table([]).select([])) == 0


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="one length"):
        dataclasses.replace(table([2]), task=["a", "b"])


def test_a_whole_episode_validates() -> None:
    assert len(episode()) == 3
    episode().validate()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"actions": np.zeros((0, 7), np.float32)}, "at least one step"),
        ({"actions": np.zeros((3, 6), np.float32)}, "actions has shape"),
        ({"proprio": np.full((3, 7), np.nan, np.float32)}, "NaN or Inf at step 0"),
        ({"rewards": np.zeros(2, np.float32)}, "rewards has shape"),
        ({"images": {}}, "cameras"),
        ({"images": {"primary": np.zeros((2, 4, 6, 3), np.uint8)}}, "2 frames for 3 steps"),
        ({"images": {"primary": np.zeros((3, 4, 4, 3), np.uint8)}}, "the spec says"),
        ({"operator": ["teleop"]}, "operator has 1"),
        ({"requested_actions": np.full((3, 7), np.inf, np.float32)}, "requested_actions holds NaN"),
    ],
)
def test_what_cannot_be_an_episode_is_named(changes: dict, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        episode(**changes).validate()


@pytest.mark.parametrize(
    "damage",
    [{"cameras": {"primary": ["x", 3]}}, {"cameras": {"primary": [1]}}, {"cameras": []}, {"control_hz": "fast"}],
)
def test_a_damaged_spec_in_a_file_is_one_sentence(damage):
    values = {**Spec(cameras={"primary": (4, 4)}, embodiment="arm").to_json(), **damage}
    with pytest.raises(DataError, match=r"wrong kind .*; restore the file"):
        Spec.from_json(values)
