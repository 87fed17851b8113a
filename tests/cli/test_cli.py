"""The command line: help that teaches, a frozen flag list, one-sentence errors, JSON on the last line."""

import dataclasses
import json
import subprocess
import sys

import pytest

from robot_pt import cli

FLAGS = {
    "data index": {"path", "mapping", "skip_corrupt"},
    "data inspect": {"path", "mapping", "skip_corrupt"},
    "data export": {"path", "out", "format", "name", "split"},
    "data cache": {"path", "out", "size", "split"},
    "collect": {"task", "episodes", "out", "quality", "image_size", "workers", "seed", "list"},
    "pretrain": {
        "data", "out", "algorithm", "encoder", "steps", "batch_size", "image_size", "camera", "language", "route",
        "bc_warm_start", "assume_success", "checkpoint_every", "seed", "resume", "skip_corrupt",
    },
    "finetune": {
        "from_", "target", "data", "out", "demos", "mixing_ratio", "steps", "checkpoint_every", "assume_success",
        "seed", "resume", "skip_corrupt",
    },
    "evaluate": {"runs", "task", "episodes", "seed", "out", "workers", "videos"},
    "bench": {"what", "quick"},
    "demo": {"out", "seed", "minutes"},
}  # fmt: skip


def verbs() -> dict[str, type]:
    flat: dict[str, type] = {}
    for name, verb in cli.VERBS.items():
        flat |= {f"{name} {inner}": v for inner, v in verb.items()} if isinstance(verb, dict) else {name: verb}
    return flat


def test_the_flag_list_changes_only_on_purpose() -> None:
    """A new flag is a promise: add it here in the same commit as its reason."""
    assert {name: {f.name for f in dataclasses.fields(verb)} - {"json"} for name, verb in verbs().items()} == FLAGS


def test_every_verb_has_json_and_help_for_every_flag() -> None:
    for name, verb in verbs().items():
        assert any(f.name == "json" for f in dataclasses.fields(verb)), name
        assert verb.__doc__, name
        assert not verb.__doc__.startswith(verb.__name__ + "("), f"{name} has no docstring of its own"


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_help_exits_with_0_and_names_the_flags(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main([*name.split(), "--help"])
    assert done.value.code == 0
    shown = capsys.readouterr().out
    for flag in FLAGS[name] - {"path", "runs", "what"}:
        assert "--" + flag.rstrip("_").replace("_", "-") in shown


def test_unknown_verbs_are_refused() -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["pretrian"])
    assert done.value.code == 2


def test_a_folder_that_is_no_data_set_gives_one_sentence(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("not robot data")
    assert cli.main(["data", "inspect", str(tmp_path), "--json"]) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert str(tmp_path) in shown.err
    assert json.loads(shown.out.strip().splitlines()[-1])["error"] in shown.err


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "robot_pt", "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "robot-pt data inspect" in done.stdout


def test_help_is_quick_because_it_imports_neither_torch_nor_tensorflow() -> None:
    code = "import sys, robot_pt.cli; print(sorted({'torch', 'tensorflow', 'mujoco', 'zarr'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
