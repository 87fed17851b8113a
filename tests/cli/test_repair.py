"""`robot-pt data repair`: one command from a store that is refused to one that opens, and one sentence where there is nothing to mend."""

import json
from pathlib import Path

import numpy as np
import pytest

from robot_pt import cli
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore

SPEC = Spec(cameras={}, embodiment="ant")
STEPS = 3


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Three episodes, the second of which is truncated."""
    store = DemoStore.create(tmp_path / "demos", SPEC)
    for _ in range(3):
        store.append(
            Episode(
                spec=SPEC, images={}, proprio=np.zeros((STEPS, 7), np.float32), actions=np.zeros((STEPS, 7), np.float32),
                rewards=np.zeros(STEPS, np.float32), terminated=np.zeros(STEPS, bool), truncated=np.arange(STEPS) == STEPS - 1,
            )
        )  # fmt: skip
    path = store.path / "000001" / "rewards" / "c.0"
    path.write_bytes(path.read_bytes()[:-1])
    return store.path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict, str]:
    code = cli.main([*map(str, words), "--json"])
    shown = capsys.readouterr()
    return code, json.loads(shown.out.splitlines()[-1]), shown.err


def test_the_command_that_the_error_names_mends_the_store(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "data", "inspect", damaged)
    assert (code, f"`robot-pt data repair {damaged}`" in said["error"]) == (2, True)
    (damaged / "journals").mkdir()
    (damaged / "journals" / "e.mcap").write_bytes(b"")
    code, said, told = run(capsys, "data", "repair", damaged)
    assert (code, said["sound"], said["finished"], list(said["damaged"])) == (0, 2, [], ["000001"])
    assert "it is truncated" in said["damaged"]["000001"]
    assert (Path(said["set_aside_in"]) / "000001" / "reason.txt").is_file()
    assert "A recorder that next starts on" in told
    code, said, told = run(capsys, "data", "repair", damaged)
    assert (code, said["sound"], said["damaged"], "recorder" in told) == (0, 2, {}, False)
    assert run(capsys, "data", "inspect", damaged)[1]["episodes"] == 2


def test_a_copy_is_what_opens(damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "data", "repair", damaged, "--out", tmp_path / "copy")
    assert (code, said["store"], said["sound"]) == (0, str(tmp_path / "copy"), 2)
    assert "set_aside_in" not in said
    assert run(capsys, "data", "inspect", tmp_path / "copy")[1]["episodes"] == 2
    assert run(capsys, "data", "inspect", damaged)[0] == 2
    code, said, _ = run(capsys, "data", "repair", damaged, "--out", tmp_path / "copy")
    assert (code, said["error"]) == (2, f"{tmp_path / 'copy'} exists; name a new folder for what is sound.")


def test_people_are_told_which_and_why(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "repair", str(damaged)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "000001" in said
    assert "it is truncated" in said


def test_a_store_whose_own_document_is_damaged_is_told_as_one(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not as a folder of something else."""
    document = damaged / "zarr.json"
    document.write_text(document.read_text()[:-5])
    for verb in ("inspect", "repair"):
        code, said, _ = run(capsys, "data", verb, damaged)
        why = "is not JSON: the file is damaged. It says what all episodes have in common: restore it from a copy."
        assert (code, said["error"]) == (2, f"{document} {why}")


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (None, "is no demo store, which is what repair mends"),
        ("{", "zarr.json is not JSON"),
        ("{}", "zarr v3 group. It says"),
    ],
)
def test_what_is_no_store_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], document: str | None, sentence: str
) -> None:
    if document is not None:
        (tmp_path / "zarr.json").write_text(document)
    code, said, told = run(capsys, "data", "repair", tmp_path)
    assert (code, sentence in said["error"], told.count("\n")) == (2, True, 1)
