"""Numbers and folders that cannot be meant are refused before anything is read or written."""

from pathlib import Path

import pytest

from robot_pt.checkpoint import write_config
from robot_pt.errors import UserError
from robot_pt.online.hearts import Heart
from robot_pt.recipes.limits import at_least, require_room


def test_the_first_number_below_its_least_is_named() -> None:
    at_least(0, seed=0, workers=3)
    with pytest.raises(UserError, match=r"--bc-warm-start is -1; give 0 or more\."):
        at_least(0, seed=0, bc_warm_start=-1)


def test_a_run_is_not_written_into_a_folder_of_something_else(tmp_path: Path) -> None:
    require_room(tmp_path / "new")
    require_room(tmp_path)
    (tmp_path / ".config.json.part").touch()
    require_room(tmp_path)
    (tmp_path / "dataset_info.json").touch()
    with pytest.raises(
        UserError, match=r"is no run and not empty, it holds \['dataset_info.json'\]; choose another --out"
    ):
        require_room(tmp_path)
    write_config(tmp_path, {"format_version": 1, "verb": "pretrain", "arguments": {}})
    require_room(tmp_path)


@pytest.mark.parametrize("content", ['{"architectures": ["LlamaModel"]}', "[]", "not json", ""])
def test_a_config_of_another_program_makes_no_run_of_its_folder(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"is no run and not empty, it holds \['config.json'\]"):
        require_room(tmp_path)
    assert (tmp_path / "config.json").read_text() == content


def test_a_robot_that_lives_before_its_learner_does_not_bar_the_run(tmp_path: Path) -> None:
    Heart(tmp_path, "robot", "robot").beat("waits")
    require_room(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="is no run and not empty"):
        require_room(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match=r"Permission denied.*check its rights"):
        require_room(tmp_path)
