"""The command line: help that teaches, a frozen flag list, one-sentence errors, JSON on the last line."""

import dataclasses
import json
import subprocess
import sys
import warnings

import pytest
import torch

from robot_pt import cli
from robot_pt.errors import TrainingInterrupted, UserError
from robot_pt.recipes.progress import bar, warnings_as_lines

FLAGS = {
    "data index": {"path", "mapping", "skip_corrupt"},
    "data inspect": {"path", "mapping", "skip_corrupt", "labels"},
    "data export": {"path", "out", "format", "name", "split", "mapping", "action_source", "skip_corrupt", "labels"},
    "data cache": {"path", "out", "size", "encoding", "split", "mapping", "action_source", "skip_corrupt", "labels"},
    "data upload": {"path", "to", "every_s"},
    "data repair": {"path", "out"},
    "collect": {"task", "episodes", "out", "format", "quality", "camera", "image_size", "workers", "seed", "list", "scene"},
    "pretrain": {
        "data", "out", "algorithm", "objective", "domain", "encoder", "encoder_weights", "freeze_encoder", "steps", "batch_size", "image_size", "camera",
        "encoder_norm", "pooling", "rewards", "discount", "critic_values", "language", "captions", "options", "route", "bc_warm_start", "assume_success", "target", "demos", "mixing_ratio", "checkpoint_every", "bf16",
        "seed", "resume", "mapping", "action_source", "skip_corrupt", "labels", "mixed_versions",
    },
    "finetune": {
        "from_", "target", "data", "out", "algorithm", "freeze_encoder", "demos", "mixing_ratio", "steps", "checkpoint_every",
        "assume_success", "seed", "resume", "mapping", "action_source", "skip_corrupt", "labels", "mixed_versions",
    },
    "online": {
        "from_", "task", "out", "data", "target", "follow", "algorithm", "freeze_encoder", "options", "episodes", "actors", "utd", "warm_up", "alternation", "ahead",
        "offline_share", "target_share", "intervention_share", "help_after", "credit_help", "batch_size", "noise", "bound_share", "max_change", "judge", "updates",
        "hours", "publish_every", "checkpoint_every", "assume_success", "ray", "seed", "resume", "actor", "rollback", "release", "mapping",
        "action_source", "skip_corrupt", "labels", "mixed_versions",
    },
    "reward train": {
        "data", "camera", "final_steps", "early_share", "threshold", "precision", "out", "encoder", "freeze", "image_size", "steps",
        "batch_size", "learning_rate", "held_out", "needed", "window", "seed", "mapping", "action_source", "skip_corrupt", "labels",
    },
    "reward check": {
        "data", "camera", "final_steps", "early_share", "threshold", "precision", "run_", "out", "mapping", "action_source",
        "skip_corrupt", "labels",
    },
    "reward label": {"store", "by", "csv", "success", "failure", "threshold", "rewards", "base"},
    "probe": {
        "runs", "data", "out", "camera", "other_camera", "controls", "permuted", "seed", "mapping", "action_source", "skip_corrupt", "labels",
    },
    "compare": {
        "objectives", "out", "runs", "protocol", "seeds", "demos", "online", "captions", "permuted", "workers", "quick", "table",
    },
    "evaluate": {"runs", "task", "scene", "known_as", "episodes", "seed", "out", "workers", "videos"},
    "launch": {"file", "arguments", "show_args", "print"},
    "bench": {"what", "quick", "minutes", "table"},
    "demo": {"out", "seed", "minutes"},
}  # fmt: skip


def verbs() -> dict[str, type]:
    flat: dict[str, type] = {}
    for name, verb in cli.VERBS.items():
        flat |= {f"{name} {inner}": v for inner, v in verb.items()} if isinstance(verb, dict) else {name: verb}
    return flat


def flags(verb: type) -> set[str]:
    """Names of a verb's flags; the options of reading data stand beside its own."""
    names = {f.name for f in dataclasses.fields(verb) if f.init} - {"json"}
    readings = [f.default_factory for f in dataclasses.fields(verb) if f.name == "reading"]
    return names - {"reading"} | {f.name for reading in readings for f in dataclasses.fields(reading)}


def test_the_flag_list_changes_only_on_purpose() -> None:
    """A new flag is a promise: add it here in the same commit as its reason."""
    assert {name: flags(verb) for name, verb in verbs().items()} == FLAGS


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
    for flag in FLAGS[name] - {"path", "runs", "run_", "store", "what", "file", "arguments", "objectives"}:
        assert "--" + flag.rstrip("_").replace("_", "-") in shown


def test_unknown_verbs_are_refused() -> None:
    assert cli.main(["pretrian"]) == 2


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


def test_ctrl_c_while_modules_are_read_ends_without_a_word() -> None:
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tyro': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from robot_pt.cli import main\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_help_is_quick_because_it_imports_neither_torch_nor_tensorflow() -> None:
    code = "import sys, robot_pt.cli; print(sorted({'torch', 'tensorflow', 'mujoco', 'zarr'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "given no verb; give one of data, collect"),
        (["pretrian"], "'pretrian' is no verb"),
        (["data"], "give one of index, inspect, export, cache"),
        (["data", "idnex"], "'idnex' is no verb of `robot-pt data`"),
        (["data", "index"], "PATH"),
        (["collect", "--episodes", "x"], "--episodes"),
        (["collect", "--episode", "3"], "--episode"),
        (["collect", "--quality", "bad"], "--quality is 'bad'; choose one of clean, "),
        (["collect", "--scene", "three"], "--scene is 'three'; give a whole number; run: robot-pt collect --help"),
        (["evaluate", "x", "--task", "lift", "--episodes", "1.5"], "--episodes is '1.5'; give a whole number"),
        (["demo", "--minutes", "few"], "--minutes is 'few'; give a number"),
        (["collect", "--quality", "claen"], "--quality is 'claen' (did you mean clean?); choose"),
        (
            ["pretrain", "--objective", "x"],
            "choose one of atc, autoregressive_bc, bc, bet, cql, curl, decision_transformer, d",
        ),
        (["pretrain", "--data", "a"], "--out"),
        (
            ["pretrain", "--data", "a", "--out", "x", "--data", "b"],
            "--data is given 2 times; give all its values behind one",
        ),
        (
            ["pretrain", "--data=a", "--out", "x", "--options", "alpha=1", "--options", "layers=2"],
            "--options is given 2 times",
        ),
        (["reward", "train", "--data", "a", "--data", "b", "--out", "x"], "run: robot-pt reward train --help"),
    ],
)
def test_mistakes_in_the_arguments_give_one_sentence_and_json(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    as_json = ["--json"] if arguments[1:] else []
    assert cli.main([*arguments, *as_json]) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert "--help" in shown.err
    assert shown.err.count("\n") == 1
    assert not set(shown.err) & set("\u2502\u256d\u2500")  # no frame is left
    assert "---" not in shown.err  # nor the rules that stand for it where the terminal is plain ASCII
    assert "For full helptext" not in shown.err
    if as_json:
        assert "robot-pt: " + json.loads(shown.out)["error"] + "\n" == shown.err


class Raises:
    """A verb that ends as told."""

    json = True

    def __init__(self, error: BaseException):
        self.error = error

    def run(self) -> dict[str, object]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (TrainingInterrupted("stopped; continue with --resume."), 130, "--resume"),
        (UserError("no such thing."), 2, "no such thing"),
        (OSError(28, "No space left on device"), 2, "No space left on device; check"),
        (PermissionError(13, "Permission denied", "/a"), 2, "Permission denied: /a; check"),
        (MemoryError(), 2, "not enough memory"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            2,
            "--batch-size, --image-size or --encoder",
        ),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate"), 2, "--batch-size"),
    ],
)
def test_every_end_has_its_code_and_one_sentence(
    error: BaseException, code: int, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "parse", lambda arguments: Raises(error))
    assert cli.main(["demo", "--json"]) == code
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert shown.err.count("\n") == 1
    assert sentence in json.loads(shown.out)["error"]


def test_a_tensor_that_no_machine_holds_is_one_sentence(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Greedy(Raises):
        def run(self) -> dict[str, object]:
            return {"tensor": torch.empty(1 << 60)}

    monkeypatch.setattr(cli, "parse", lambda arguments: Greedy(KeyError()))
    assert cli.main(["demo"]) == 2
    assert "smaller --batch-size" in capsys.readouterr().err


def test_a_mistake_of_our_own_keeps_its_traceback(monkeypatch) -> None:
    monkeypatch.setattr(cli, "parse", lambda arguments: Raises(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        cli.main(["demo"])


def test_a_reader_that_leaves_early_is_no_mistake() -> None:
    code = "import sys; from robot_pt import cli; cli._show = lambda *a: (_ for _ in ()).throw(BrokenPipeError()); "
    code += "cli._run = lambda verb: {}; sys.exit(cli.main(['demo']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_warnings_of_libraries_are_one_line_without_a_file_name(capsys: pytest.CaptureFixture[str]) -> None:
    long = "2 damaged records of [bridge] are left out, " + "the first: " * 20
    with warnings_as_lines():
        warnings.warn(long, UserWarning, stacklevel=1)
    assert capsys.readouterr().err == f"warning: {long.strip()}\n"


def test_a_bar_that_never_moved_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("open [/odd] name", "record") as advance:
        advance(0, 3)
    assert capsys.readouterr().err.strip() == ""
    with bar("open [/odd] name", "record") as advance:
        advance(3, 3)
    assert "open [/odd] name" in capsys.readouterr().err


def test_under_torchrun_only_the_first_process_prints_the_result(
    monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank, lines in (("1", 0), ("0", 1)):
        monkeypatch.setenv("RANK", rank)
        assert cli.main(["collect", "--list", "--json"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == lines
