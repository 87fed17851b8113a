"""pretrain and finetune as a user types them, on a small store: what a RUN holds, resuming, and every refusal in one sentence."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from robot_pt import checkpoint, cli
from robot_pt.policy import Policy
from robot_pt.schema import Episode, Observation, Spec
from robot_pt.store import DemoStore

SPEC = Spec(cameras={"primary": (32, 32)}, embodiment="panda")
SHARED = Path(__file__).parents[3] / "shared" / "data" / "bridge_dataset" / "1.0.0"


def store(
    path: Path, task: str, episodes: int, success: bool | None = True, spec: Spec = SPEC, scale: float = 1.0
) -> Path:
    rng = np.random.default_rng(len(task))
    demos = DemoStore.create(path, spec)
    for _ in range(episodes):
        steps = 6
        frames = rng.integers(0, 255, (steps, *spec.cameras["primary"], 3), np.uint8)
        last = np.arange(steps) == steps - 1
        demos.append(
            Episode(
                spec=spec, images={"primary": frames}, proprio=rng.normal(0, 0.1, (steps, 7)).astype(np.float32),
                actions=(scale * rng.uniform(0, 0.05, (steps, 7))).astype(np.float32), rewards=(last & bool(success)).astype(np.float32),
                terminated=last & bool(success), truncated=last & (not success), instruction=task.replace("-", " "), task=task,
                success=success,
            )
        )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    return {"source": store(folder / "source", "lift-red", 6), "target": store(folder / "target", "lift-blue", 5)}


def run(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict, str]:
    code = cli.main([*map(str, arguments), "--json"])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, json.loads(shown.out.strip().splitlines()[-1]), " ".join(shown.err.split())


@pytest.fixture(scope="module")
def pretrained(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "p"
    arguments = [
        "pretrain",
        "--data",
        str(data["source"]),
        "--out",
        str(out),
        "--encoder",
        "small",
        "--steps",
        "4",
        "--batch-size",
        "8",
    ]
    assert cli.main(arguments) == 0
    return out


def test_a_run_holds_what_the_readme_says(pretrained: Path) -> None:
    for name in ("latest", "config.json", "metrics.jsonl", "report.html"):
        assert (pretrained / name).exists(), name
    settings = json.loads((pretrained / "config.json").read_text())["settings"]
    assert settings["ptr"]["alpha"] == 10.0
    assert settings["gamma"] == 0.96
    assert settings["reward"]["scale"] == 11.0
    assert settings["task_slots"] == 1 + 16
    assert settings["ptr"]["actor_loss"] == "max_q"
    assert "<html" in (pretrained / "report.html").read_text()


def test_finetuning_fills_a_spare_slot_selects_and_acts(pretrained, data, tmp_path, capsys) -> None:
    out = tmp_path / "f"
    code, result, said = run(
        "finetune", "--from", pretrained, "--target", data["target"], "--data", data["source"], "--out", out, "--steps", 4,
        "--demos", 3, capsys=capsys,
    )  # fmt: skip
    assert code == 0
    assert result["target_tasks"] == ["lift-blue"]
    assert result["selected"] in {4 + i for i in range(1, 5)}
    assert (out / "selected").exists()
    assert (out / "selection.json").exists()
    assert "3 demonstrations to train on, 2 held out" in said
    policy = Policy.load(out, SPEC)
    assert policy.task_names == ("lift-red", "lift-blue")
    policy.reset("lift-blue")
    action = policy.act([Observation({"primary": np.zeros((32, 32, 3), np.uint8)}, np.zeros(7, np.float32))])
    assert action.shape == (1, 7)


def test_demos_that_judge_are_not_trained_on_when_the_target_is_also_data(pretrained, data, tmp_path, capsys) -> None:
    code, _, _ = run(
        "finetune", "--from", pretrained, "--target", data["source"], "--data", data["source"], "--out", tmp_path / "f", "--steps", 1,
        "--demos", 2, capsys=capsys,
    )  # fmt: skip
    assert code == 0
    trained = json.loads((tmp_path / "f" / "latest" / "policy.json").read_text())["data"]
    assert [row["episodes"] for row in trained] == [
        1,
        2,
    ]  # 6 less 4 judges, one of the 2 left held out by the 90/10 split


def test_the_record_knows_how_long_the_steps_of_all_its_data_are(pretrained, data, tmp_path, capsys) -> None:
    (row,) = Policy.load(pretrained).record.data
    actions = DemoStore(data["source"]).source().actions
    longest = float(np.linalg.norm(actions[:, :3], axis=1).max())
    assert row["step_lengths"]["m"][-1] <= longest + 1e-6  # a tenth is held out
    assert len(row["step_lengths"]["m"]) == len(row["step_lengths"]["rad"]) == 1001
    arguments = ["--target", data["target"], "--data", data["source"], "--demos", 3, "--steps", 2]
    run("finetune", "--from", pretrained, *arguments, "--out", tmp_path / "f", capsys=capsys)
    rows = Policy.load(tmp_path / "f").record.data
    assert len(rows) == 2
    assert rows[1]["name"].startswith("target: ")
    assert all("step_lengths" in row for row in rows)
    assert "step_lengths" not in (tmp_path / "f" / "report.html").read_text()


def test_bc_trains_on_the_same_parts(data, tmp_path, capsys) -> None:
    out = tmp_path / "bc"
    code, result, _ = run(
        "pretrain", "--data", data["source"], "--out", out, "--algorithm", "bc", "--encoder", "small", "--steps", 3,
        "--batch-size", 8, capsys=capsys,
    )  # fmt: skip
    assert code == 0
    assert "actor/mse" in result["metrics"]
    assert Policy.load(out).record.agent == "bc"


def test_resuming_continues_to_the_same_numbers(data, tmp_path, capsys) -> None:
    common = ["pretrain", "--data", data["source"], "--encoder", "small", "--batch-size", 8, "--checkpoint-every", 2]
    run(*common, "--steps", 4, "--out", tmp_path / "whole", capsys=capsys)
    run(*common, "--steps", 2, "--out", tmp_path / "parts", capsys=capsys)
    code, _, _ = run(*common, "--steps", 4, "--out", tmp_path / "parts", "--resume", capsys=capsys)
    assert code == 0
    whole, parts = Policy.load(tmp_path / "whole"), Policy.load(tmp_path / "parts")
    assert whole.version == parts.version  # a hash of every weight
    for steps in (4, 3):  # a run that is there already does nothing, and says where it is
        code, told, said = run(*common, "--steps", steps, "--out", tmp_path / "parts", "--resume", capsys=capsys)
        assert code == 0
        assert told["steps"] == 4
        assert f"is at update 4 and {steps} were asked for: nothing is left to do" in " ".join(said.split())
    assert Policy.load(tmp_path / "parts").version == whole.version


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"replay": None}, "its state has no replay"),
        ({"loop": [1]}, "its state has no loop"),
        ({"loop": {"metric_names": ["a"], "window": [[1.0, 2.0]]}}, "no names with a row of numbers each"),
        ({"loop": {"metric_names": "ab", "window": []}}, "no names with a row of numbers each"),
        ({"loop": {"metric_names": ["a"], "window": [["x"]]}}, "no names with a row of numbers each"),
        ({"replay": {}}, "the run was recorded with seed = None"),
    ],
)
def test_a_damaged_trainer_file_is_one_sentence(pretrained, data, tmp_path, capsys, change, sentence) -> None:
    shutil.copytree(pretrained, tmp_path / "p", symlinks=True)
    newest = checkpoint.folder_of(tmp_path / "p", checkpoint.steps(tmp_path / "p")[-1]) / "trainer.json"
    document = json.loads(newest.read_text())
    del document["state_sha256"]  # as by a version that did not write it
    document["state"] |= change
    newest.write_text(json.dumps(document))
    arguments = [
        "--data",
        data["source"],
        "--encoder",
        "small",
        "--steps",
        8,
        "--batch-size",
        8,
        "--checkpoint-every",
        2,
    ]
    code, result, _ = run("pretrain", *arguments, "--out", tmp_path / "p", "--resume", capsys=capsys)
    assert code == 2
    assert sentence in result["error"]


def test_an_existing_run_is_not_overwritten(pretrained, data, capsys) -> None:
    code, result, _ = run(
        "pretrain", "--data", data["source"], "--out", pretrained, "--steps", 4, "--encoder", "small", capsys=capsys
    )
    assert code == 2
    assert "--resume" in result["error"]


def test_resuming_with_other_settings_is_refused(pretrained, data, capsys) -> None:
    code, result, _ = run(
        "pretrain", "--data", data["source"], "--out", pretrained, "--steps", 8, "--encoder", "small", "--batch-size", 16,
        "--resume", capsys=capsys,
    )  # fmt: skip
    assert code == 2
    assert "batch_size" in result["error"]


def test_an_encoder_is_taken_from_a_run(pretrained, data, tmp_path, capsys) -> None:
    code, _, _ = run(
        "pretrain", "--data", data["source"], "--out", tmp_path / "again", "--encoder", pretrained, "--steps", 0,
        "--batch-size", 8, capsys=capsys,
    )  # fmt: skip
    assert code in (0, 2)
    code, _, _ = run(
        "pretrain", "--data", data["source"], "--out", tmp_path / "again1", "--encoder", pretrained, "--steps", 1,
        "--batch-size", 8, capsys=capsys,
    )  # fmt: skip
    assert code == 0


def test_unlabelled_data_is_said_loudly_and_assumed_on_request(tmp_path, capsys) -> None:
    demos = store(tmp_path / "unlabelled", "lift-green", 3, success=None)
    common = ["pretrain", "--data", demos, "--encoder", "small", "--steps", 1, "--batch-size", 4]
    _, _, said = run(*common, "--out", tmp_path / "a", capsys=capsys)
    assert "NO POSITIVE REWARD" in said
    _, _, said = run(*common, "--out", tmp_path / "b", "--assume-success", capsys=capsys)
    assert "TREATED AS SUCCESSFUL" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--camera", "wrist"], "choose one with --camera"),
        (["--encoder", "resnet99"], "choose one of small"),
        (["--encoder", "no/such/run"], "no folder of a run"),
        (["--image-size", -1], "--image-size is -1"),
        (["--batch-size", 0], "batch"),
    ],
)
def test_wrong_arguments_get_one_sentence(data, tmp_path, capsys, arguments, sentence) -> None:
    code, result, _ = run(
        "pretrain", "--data", data["source"], "--out", tmp_path / "x", "--steps", 1, *arguments, capsys=capsys
    )
    assert code == 2
    assert sentence in result["error"]
    assert "\n" not in result["error"]


def test_finetuning_from_no_run_and_on_another_robot(pretrained, data, tmp_path, capsys) -> None:
    common = ["--data", data["source"], "--out", tmp_path / "f", "--steps", 1]
    code, result, _ = run("finetune", "--from", tmp_path, "--target", data["target"], *common, capsys=capsys)
    assert code == 2
    assert "is no run" in result["error"]
    spec = Spec(cameras={"wrist": (32, 32)}, embodiment="panda")
    odd = DemoStore.create(tmp_path / "odd", spec)
    for _ in range(3):
        odd.append(
            Episode(
                spec=spec, images={"wrist": np.zeros((3, 32, 32, 3), np.uint8)}, proprio=np.zeros((3, 7), np.float32),
                actions=np.zeros((3, 7), np.float32), rewards=np.zeros(3, np.float32), terminated=np.zeros(3, bool),
                truncated=np.array([False, False, True]), task="odd", success=True,
            )
        )  # fmt: skip
    code, result, _ = run("finetune", "--from", pretrained, "--target", tmp_path / "odd", *common, capsys=capsys)
    assert code == 2
    assert "primary" in result["error"]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the BridgeData cut at {SHARED}")
def test_the_real_bridge_data_pretrains_and_finetunes(tmp_path, capsys) -> None:
    code, _, said = run(
        "pretrain",
        "--data",
        SHARED,
        "--encoder",
        "small",
        "--steps",
        2,
        "--batch-size",
        8,
        "--out",
        tmp_path / "b",
        capsys=capsys,
    )
    assert code == 0
    assert "NO POSITIVE REWARD" in said
    code, result, _ = run(
        "finetune", "--from", tmp_path / "b", "--target", SHARED, "--data", SHARED, "--steps", 2, "--out", tmp_path / "f", capsys=capsys,
    )  # fmt: skip
    assert code == 0
    assert Path(result["checkpoint"]).is_dir()


def test_the_policy_is_recorded_for_the_robot_it_was_finetuned_on(pretrained, data, tmp_path, capsys) -> None:
    arm = dataclasses.replace(SPEC, embodiment="my_arm", control_hz=10.0, action_source="achieved")
    target = store(tmp_path / "target", "lift-green", 3, spec=arm)
    code, result, said = run(
        "finetune", "--from", pretrained, "--target", target, "--data", data["source"], "--out", tmp_path / "f", "--steps", 1,
        capsys=capsys,
    )  # fmt: skip
    assert code == 0, result
    assert "trained with action_source 'commanded', the target data has 'achieved'" in said
    assert "trained with control_hz 5.0, the target data has 10.0" in said
    policy = Policy.load(tmp_path / "f", arm)
    assert (policy.spec.embodiment, policy.spec.control_hz) == ("my_arm", 10.0)


def test_data_of_two_rates_is_told_of(data, tmp_path, capsys) -> None:
    faster = store(tmp_path / "faster", "lift-red", 3, spec=dataclasses.replace(SPEC, control_hz=10.0))
    code, result, said = run(
        "pretrain", "--data", data["source"], faster, "--out", tmp_path / "p", "--encoder", "small", "--batch-size", 8, "--steps", 1,
        capsys=capsys,
    )  # fmt: skip
    assert code == 0, result
    assert f"differs in control_hz: 5 Hz in {data['source']}, 10 Hz in {faster}." in said
    assert "action_source:" not in said


def test_finetuning_refuses_data_whose_state_means_something_else(pretrained, tmp_path, capsys) -> None:
    joints = dataclasses.replace(SPEC, proprio_names=tuple(f"joint_{i}" for i in range(7)))
    both = store(tmp_path / "joints", "lift-red", 3, spec=joints)
    code, result, _ = run(
        "finetune",
        "--from",
        pretrained,
        "--target",
        both,
        "--data",
        both,
        "--out",
        tmp_path / "f",
        "--steps",
        1,
        capsys=capsys,
    )
    assert code == 2
    assert "proprio_names differ" in result["error"]


def test_a_checkpoint_whose_judgement_was_lost_to_a_kill_is_judged_on_resume(
    pretrained, data, tmp_path, capsys
) -> None:
    out = tmp_path / "f"
    arguments = ("finetune", "--from", pretrained, "--target", data["target"], "--data", data["source"], "--out", out)
    assert run(*arguments, "--steps", 2, "--checkpoint-every", 1, capsys=capsys)[0] == 0
    whole = json.loads((out / "selection.json").read_text())
    partial = {**whole, "scores": [s for s in whole["scores"] if s["step"] != 6]}
    (out / "selection.json").write_text(json.dumps(partial))
    assert run(*arguments, "--steps", 2, "--checkpoint-every", 1, "--resume", capsys=capsys)[0] == 0
    assert json.loads((out / "selection.json").read_text()) == whole
    assert [s["step"] for s in whole["scores"]] == [5, 6]


def test_finetuning_does_not_resume_the_pretraining_itself(pretrained, data, capsys) -> None:
    before = (pretrained / "config.json").read_bytes()
    code, result, _ = run(
        "finetune", "--from", pretrained, "--target", data["target"], "--data", data["source"], "--out", pretrained, "--resume",
        capsys=capsys,
    )  # fmt: skip
    assert code == 2
    assert "holds a run of pretrain, this is one of finetune" in result["error"]
    assert (pretrained / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "sentence"), [(("--steps", 0), "--steps is 0"), (("--seed", -1), "--seed is -1")]
)
def test_amounts_that_make_no_run_are_refused(pretrained, data, tmp_path, capsys, arguments, sentence) -> None:
    inputs = ("--data", data["source"], "--out", tmp_path / "r", *arguments)
    for verb in (("pretrain",), ("finetune", "--from", pretrained, "--target", data["target"])):
        code, result, _ = run(*verb, *inputs, capsys=capsys)
        assert code == 2
        assert sentence in result["error"]


def test_actions_beyond_the_bounds_are_said_loudly(pretrained, data, tmp_path, capsys) -> None:
    fast = store(tmp_path / "fast", "lift-red", 3, scale=4.0)
    loud = "the action bounds [-0.05, 0.05] (bridge) and are CLIPPED"
    for verb in (
        ("pretrain", "--data", fast),
        ("finetune", "--from", pretrained, "--target", fast, "--data", data["source"]),
    ):
        code, _, said = run(*verb, "--out", tmp_path / verb[0], "--steps", 1, capsys=capsys)
        assert code == 0
        assert loud in said
    _, _, said = run("pretrain", "--data", data["source"], "--out", tmp_path / "slow", "--steps", 1, capsys=capsys)
    assert "CLIPPED" not in said


@pytest.fixture
def started(data, tmp_path, capsys) -> Path:
    """A run of its own with checkpoints 2, 4 and 6."""
    out = tmp_path / "start"
    arguments = ("--data", data["source"], "--out", out, "--encoder", "small", "--batch-size", 8)
    assert run("pretrain", *arguments, "--steps", 6, "--checkpoint-every", 2, capsys=capsys)[0] == 0
    return out


def test_finetuning_starts_from_what_the_run_stands_for_and_says_so(started, data, tmp_path, capsys) -> None:
    inputs = ("--target", data["target"], "--data", data["source"], "--steps", 1)
    code, result, said = run("finetune", "--from", started, *inputs, "--out", tmp_path / "f", capsys=capsys)
    assert (code, result["from_step"]) == (0, 6)
    assert f"starting from update 6 of {started}." in said
    checkpoint.select(started, 4)
    code, result, _ = run("finetune", "--from", started, *inputs, "--out", tmp_path / "g", capsys=capsys)
    assert (code, result["from_step"]) == (0, 4)
    assert checkpoint.steps(tmp_path / "g") == [5]
    (checkpoint.folder_of(started, 4) / "trainer.json").unlink()
    code, result, said = run("finetune", "--from", started, *inputs, "--out", tmp_path / "h", capsys=capsys)
    assert (code, result["from_step"]) == (0, 6)
    assert "stands for step_00000004, whose optimiser state is gone; starting from step_00000006" in said


def test_a_resumed_finetuning_has_the_start_it_had(started, pretrained, data, tmp_path, capsys) -> None:
    out = tmp_path / "f"
    inputs = ("--target", data["target"], "--data", data["source"], "--out", out, "--checkpoint-every", 1)
    assert run("finetune", "--from", started, *inputs, "--steps", 2, capsys=capsys)[0] == 0
    origin = json.loads((out / "config.json").read_text())["origin"]
    assert (origin["run"], origin["step"]) == (str(started), 6)
    assert origin["version"] == Policy.load(checkpoint.folder_of(started, 6)).version
    more = ("--data", data["source"], "--out", started, "--encoder", "small", "--batch-size", 8, "--steps", 8)
    assert run("pretrain", *more, "--resume", capsys=capsys)[0] == 0  # the start goes on by itself
    code, result, _ = run("finetune", "--from", started, *inputs, "--steps", 4, "--resume", capsys=capsys)
    assert (code, result["from_step"]) == (0, 6)
    assert checkpoint.steps(out)[-1] == 6 + 4
    others = {pretrained: f"which {pretrained} does not hold", store(tmp_path / "s", "lift-red", 2): "is no run"}
    for other, sentence in others.items():
        code, result, _ = run("finetune", "--from", other, *inputs, "--steps", 5, "--resume", capsys=capsys)
        assert code == 2
        assert sentence in result["error"]
    shutil.rmtree(checkpoint.folder_of(started, 6))
    code, result, _ = run("finetune", "--from", started, *inputs, "--steps", 5, "--resume", capsys=capsys)
    assert code == 2
    assert f"was started from update 6 of {started}, which {started} does not hold" in result["error"]
