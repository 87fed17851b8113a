"""A mapping of ten lines opens a data set nobody knows; one that does not fit says which line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robot_pt_data
from robot_pt.errors import DataError
from robot_pt_data.mapping import Mapping, Selector, load_mapping
from robot_pt_data.oxe import BRIDGE_DATASET

README = Path(__file__).parents[2] / "data" / "README.md"


@pytest.fixture
def unknown(write_rlds: Callable[..., Path], tmp_path: Path) -> Path:
    """Bridge columns under a name that no entry has."""
    folder = tmp_path / "my_robot" / "1.0.0"
    shutil.copytree(write_rlds("bridge_dataset", as_name="my_robot"), folder)
    return folder


TEN_LINES = """
embodiment = "ur5e"
control_hz = 10
cameras = { primary = "observation/image_0", wrist = "observation/image_3" }
translation = "action[0:3]"
rotation = "action[3:6]"
gripper = "action[6]"
gripper_kind = "closed"
position = "observation/state[0:3]"
orientation = "observation/state[3:6]"
action_unit = "metric"
"""


def test_ten_lines_open_an_unknown_data_set(unknown: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no entry knows the columns of the data set 'my_robot'.*--mapping"):
        robot_pt_data.open(unknown)
    (tmp_path / "mine.toml").write_text(TEN_LINES)
    source = robot_pt_data.open(unknown, mapping=tmp_path / "mine.toml")
    known = robot_pt_data.open(unknown, mapping=BRIDGE_DATASET)
    assert source.spec.embodiment == "ur5e"
    assert set(source.spec.cameras) == {"primary", "wrist"}
    np.testing.assert_array_equal(source.actions[:, :6], known.actions[:, :6])
    np.testing.assert_allclose(source.actions[:, 6], 1 - known.actions[:, 6], atol=1e-6)
    np.testing.assert_array_equal(source.images(np.arange(5), "wrist"), known.images(np.arange(5), "wrist"))


def test_a_mapping_beside_the_data_needs_no_flag(unknown: Path) -> None:
    (unknown / "robot_pt_mapping.toml").write_text(TEN_LINES)
    assert robot_pt_data.open(unknown).spec.embodiment == "ur5e"
    (unknown / "robot_pt_mapping.toml").unlink()
    (unknown / "robot_pt_mapping.json").write_text(json.dumps(BRIDGE_DATASET.to_json()))
    assert robot_pt_data.open(unknown).spec.embodiment == "widowx250s"


def test_changing_a_line_makes_another_index(unknown: Path) -> None:
    base = {"embodiment": "a", "control_hz": 5.0, "cameras": {"primary": "observation/image_0"}, "gripper": "action[6]"}
    first = robot_pt_data.open(unknown, mapping=base)
    second = robot_pt_data.open(unknown, mapping={**base, "gripper_kind": "closed"})
    np.testing.assert_allclose(first.actions[:, 6], 1 - second.actions[:, 6], atol=1e-6)


def test_the_example_of_the_readme_is_a_mapping() -> None:
    text = README.read_text().split("```toml")[1].split("```")[0]
    import tomllib

    mapping = load_mapping(tomllib.loads(text))
    assert mapping.action_unit == "metric"
    assert 8 <= len([line for line in text.splitlines() if line.strip()]) <= 12


def test_round_trip_through_json(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps(BRIDGE_DATASET.to_json()))
    again = load_mapping(tmp_path / "m.json")
    assert again == BRIDGE_DATASET
    assert again.digest == BRIDGE_DATASET.digest
    assert load_mapping(BRIDGE_DATASET) is BRIDGE_DATASET


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("action", Selector("steps/action", 0, None)),
        ("action[6]", Selector("steps/action", 6, 7)),
        ("observation/state[0:3]", Selector("steps/observation/state", 0, 3)),
        ("/success", Selector("success", 0, None)),
    ],
)
def test_selectors(text: str, expected: Selector) -> None:
    assert Selector.parse(text) == expected


NO_ACTION: dict[str, Any] = {"embodiment": "x", "control_hz": 5.0, "cameras": {"primary": "image"}}
GOOD = {**NO_ACTION, "gripper": "action[6]"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"colour": "red"}, "this one gives .*'colour'"),
        ({"gripper_kind": "sticky"}, "gripper_kind = 'sticky' .* give one of"),
        ({"action_unit": "inches"}, "action_unit = 'inches'"),
        ({"translation": 3}, "translation = 3 in the mapping; give a str"),
        ({"control_hz": 0}, "control_hz = 0 .* above 0"),
        ({"control_hz": "fast"}, "control_hz = 'fast'"),
        ({"cameras": {}}, r"roles \[\]"),
        ({"cameras": {"left": "image"}}, r"roles \['left'\]"),
        ({"cameras": "image"}, "table of role"),
        ({"translation": "action[3:"}, "is not a column"),
        ({"translation": "action[3:3]"}, "selects nothing"),
        ({"position": "p", "state": "s"}, "position or state, not both"),
    ],
)
def test_each_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        load_mapping({**GOOD, **changes})


@pytest.mark.parametrize("changes", [{}, {"position": "p"}, {"action_unit": "metric"}, {"gripper_constant": 0.0}])
def test_a_mapping_without_any_action_is_refused_unless_it_says_that_there_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(
        DataError, match=r"every action would be zero.*translation, rotation or gripper.*'achieved'.*'none'"
    ):
        load_mapping({**NO_ACTION, **changes})
    for column in ("translation", "rotation", "gripper"):
        load_mapping({**NO_ACTION, **changes, column: "action[0:1]"})


@pytest.mark.parametrize(
    "changes", [{"gripper": "action[6]"}, {"action_source": "achieved", "position": "p"}, {"action_unit": "metric"}]
)
def test_data_without_actions_has_none(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="action_kind = 'none' is of data without actions"):
        load_mapping({**NO_ACTION, "action_kind": "none", **changes})


def test_data_declared_without_actions_opens_and_is_refused_for_execution(unknown: Path) -> None:
    silent = {**NO_ACTION, "cameras": {"primary": "observation/image_0"}, "action_kind": "none"}
    source: Any = robot_pt_data.open(unknown, mapping=silent)
    assert not source.actions[:, :6].any()
    assert source.spec.action_unit == "unknown"
    assert any("refused for execution" in warning for warning in source.warnings)


def test_missing_fields_and_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"required: \['cameras', 'control_hz', 'embodiment'\]"):
        load_mapping({"embodiment": "x"})
    with pytest.raises(DataError, match="cannot be read"):
        load_mapping(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("= nothing")
    with pytest.raises(DataError, match=r"is not valid .toml"):
        load_mapping(tmp_path / "bad.toml")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="not a list"):
        load_mapping(tmp_path / "list.json")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"cameras": {"primary": "observation/image_9"}},
            "camera primary = 'observation/image_9' is no image column.*image_0",
        ),
        ({"cameras": {"primary": "action"}}, "is no image column"),
        ({"translation": "velocity[0:3]"}, "asks for 'velocity\\[0:3\\]'.*mend the mapping"),
        ({"translation": "observation/image_1[0:3]"}, "holds images, not numbers"),
        ({"optional_cameras": ("primary",), "cameras": {"primary": "nothing"}}, "none of the cameras"),
    ],
)
def test_columns_that_the_data_does_not_have(unknown: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        robot_pt_data.open(unknown, mapping={**GOOD, "cameras": {"primary": "observation/image_0"}, **changes})


def test_names_operator_and_dataset_may_come_from_the_data(unknown: Path) -> None:
    mapping = {**GOOD, "cameras": {"primary": "observation/image_0"}, "state": "observation/state[0:2]"}
    mapping |= {
        "operator": "/episode_metadata/file_path",
        "dataset": "/episode_metadata/file_path",
        "state_names": ["a", "b"],
    }
    source = robot_pt_data.open(unknown, mapping=mapping)
    assert source.spec.proprio_names == ("a", "b")
    assert source.episodes.operator == source.episodes.dataset == ["/data/x"] * 2
    gone = robot_pt_data.open(unknown, mapping={**mapping, "operator": "/nobody", "dataset": ""})
    assert gone.episodes.operator == ["unknown"] * 2
    assert gone.episodes.dataset == ["my_robot"] * 2
    with pytest.raises(DataError, match="its state has 2 values, the mapping names 1"):
        robot_pt_data.open(unknown, mapping={**mapping, "state_names": ["a"]})


def test_state_columns_are_kept_under_plain_names(unknown: Path) -> None:
    mapping = Mapping(
        embodiment="x", control_hz=5, cameras={"primary": "observation/image_0"}, state="observation/state[0:2]", gripper="action[6]",
    )  # fmt: skip
    source = robot_pt_data.open(unknown, mapping=mapping)
    assert source.spec.proprio_names == ("state_0", "state_1")
    assert source.proprio.shape == (10, 2)
    assert source.spec.action_unit == "unknown"


POSE = {
    "embodiment": "x", "control_hz": 5.0, "cameras": {"primary": "observation/image_0"},
    "position": "observation/state[0:3]", "orientation": "observation/state[3:6]", "gripper_state": "observation/state[6]",
}  # fmt: skip
STORED = {"translation": "action[0:3]", "rotation": "action[3:6]", "gripper": "action[6]", "action_unit": "metric"}


def test_stored_actions_may_be_achieved_ones(unknown: Path) -> None:
    commanded = robot_pt_data.open(unknown, mapping={**POSE, **STORED})
    source = robot_pt_data.open(unknown, mapping={**POSE, **STORED, "action_source": "achieved"})
    assert (commanded.spec.action_source, source.spec.action_source) == ("commanded", "achieved")
    assert source.spec.action_unit == "metric"
    np.testing.assert_array_equal(source.actions, commanded.actions)
    assert source.episodes.length.tolist() == commanded.episodes.length.tolist()
    asked = robot_pt_data.open(
        unknown, mapping={**POSE, **STORED, "action_source": "achieved"}, action_source="achieved"
    )
    np.testing.assert_array_equal(asked.actions, commanded.actions)
    with pytest.raises(DataError, match="my_robot keeps achieved actions only"):
        robot_pt_data.open(unknown, mapping={**POSE, **STORED, "action_source": "achieved"}, action_source="commanded")


def test_a_data_set_without_actions_gets_them_from_its_poses(unknown: Path) -> None:
    source: Any = robot_pt_data.open(unknown, mapping={**POSE, "action_source": "achieved", "pose_unit": "metric"})
    twin = robot_pt_data.open(unknown, mapping={**POSE, **STORED}, action_source="achieved")
    assert (source.spec.action_source, source.spec.action_unit) == ("achieved", "metric")
    assert source.episodes.length.tolist() == twin.episodes.length.tolist()
    assert not [w for w in source.warnings if "not metres" in w]
    table = source.episodes
    for start, length in zip(table.start.tolist(), table.length.tolist(), strict=True):
        rows = slice(start, start + length)
        np.testing.assert_array_equal(source.actions[rows, :6], twin.actions[rows, :6])
        moved = source.proprio[start + 1 : start + length + 1, :3] - source.proprio[rows, :3]
        np.testing.assert_allclose(source.actions[rows, :3], moved, atol=1e-6)
        np.testing.assert_array_equal(source.actions[rows, 6], source.proprio[start + 1 : start + length + 1, 6])


def test_achieved_actions_from_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="names neither"):
        load_mapping({**NO_ACTION, "action_source": "achieved"})
    with pytest.raises(DataError, match="action_source = 'wished'"):
        load_mapping({**GOOD, "action_source": "wished"})


def test_an_export_of_achieved_actions_says_so(unknown: Path, tmp_path: Path) -> None:
    from robot_pt_data.export import export

    before = robot_pt_data.open(unknown, mapping={**POSE, **STORED}, action_source="achieved")
    after = robot_pt_data.open(export(before, tmp_path / "x"))
    assert after.spec == before.spec
    table = before.episodes
    rows = np.concatenate([np.arange(s, s + n) for s, n in zip(table.start, table.length, strict=True)])
    np.testing.assert_array_equal(after.actions, before.actions[rows])
