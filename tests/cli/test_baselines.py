"""PTR's table of baselines as a user types it: joint and target-only training, frozen features, imitation weighted by a critic."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt import checkpoint, cli
from robot_pt.policy import Policy
from robot_pt.recipes.runs import read_settings
from robot_pt.safe_tensors import read_tensors
from robot_pt.schema import Observation
from tests.cli.test_runs import SPEC, run, store

SMALL = ("--encoder", "small", "--steps", 3, "--batch-size", 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    return {"source": store(folder / "source", "lift-red", 6), "target": store(folder / "target", "lift-blue", 5)}


@pytest.fixture(scope="module")
def ptr(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "p"
    assert cli.main([*map(str, ["pretrain", "--data", data["source"], "--out", out, *SMALL])]) == 0
    return out


def weights(run_folder: Path, part: str) -> dict[str, torch.Tensor]:
    """Of the newest checkpoint's agent."""
    folder = checkpoint.folder_of(run_folder, checkpoint.steps(run_folder)[-1])
    tensors = read_tensors(
        folder / "trainer.safetensors", json.loads((folder / "trainer.json").read_text())["trainer_sha256"]
    )
    return {n: v for n, v in tensors.items() if n.startswith(f"agent.{part}")}


def acts(policy: Policy, task: str) -> np.ndarray:
    policy.reset(task)
    return policy.act([Observation({"primary": np.zeros((32, 32, 3), np.uint8)}, np.zeros(7, np.float32))])


@pytest.mark.parametrize("algorithm", ["ptr", "bc", "autoregressive_bc", "bet"])
def test_joint_training_mixes_the_target_in_from_the_start_and_selects(algorithm, data, tmp_path, capsys) -> None:
    out = tmp_path / "joint"
    words = [
        "pretrain",
        "--data",
        data["source"],
        "--target",
        data["target"],
        "--demos",
        3,
        "--algorithm",
        algorithm,
        *SMALL,
    ]
    code, result, said = run(*words, "--out", out, capsys=capsys)
    assert code == 0, said
    assert "3 demonstrations to train on, 2 held out" in said
    assert result["selected"] in (1, 2, 3)
    assert (out / "selected").exists()
    rows = Policy.load(out).record.data
    assert [row["episodes"] for row in rows] == [5, 3]
    assert rows[1]["name"].startswith("target: ")
    policy = Policy.load(out, SPEC)
    assert policy.task_names == ("lift-blue", "lift-red")
    assert acts(policy, "lift-blue").shape == (1, 7)


def test_target_alone_is_a_mixing_ratio_of_nothing(data, tmp_path, capsys, monkeypatch) -> None:
    from robot_pt.replay import Replay

    seen = set()
    gather = Replay.__next__
    monkeypatch.setattr(Replay, "__next__", lambda self: (batch := gather(self), seen.update(batch.source.tolist()))[0])
    words = [
        "pretrain",
        "--data",
        data["target"],
        "--target",
        data["target"],
        "--demos",
        3,
        "--algorithm",
        "bc",
        *SMALL,
    ]
    code, _, said = run(*words, "--mixing-ratio", 0, "--out", tmp_path / "t", capsys=capsys)
    assert code == 0, said
    assert seen == {1}, "samples of the second source alone"
    assert Policy.load(tmp_path / "t").task_names == ("lift-blue",)


def test_joint_training_resumes_to_the_same_numbers(data, tmp_path, capsys) -> None:
    words = [
        "pretrain",
        "--data",
        data["source"],
        "--target",
        data["target"],
        "--demos",
        3,
        "--algorithm",
        "bc",
        "--encoder",
        "small",
    ]
    words += ["--batch-size", 8, "--checkpoint-every", 2]
    run(*words, "--steps", 4, "--out", tmp_path / "whole", capsys=capsys)
    run(*words, "--steps", 2, "--out", tmp_path / "parts", capsys=capsys)
    code, _, _ = run(*words, "--steps", 4, "--out", tmp_path / "parts", "--resume", capsys=capsys)
    assert code == 0
    whole, parts = (json.loads((tmp_path / name / "selection.json").read_text()) for name in ("whole", "parts"))
    assert whole["scores"] == parts["scores"]


@pytest.mark.parametrize(("words", "sentence"), [
    (["--mixing-ratio", "1"], "--mixing-ratio is 1"), (["--demos", "0"], "--demos is 0"),
])  # fmt: skip
def test_a_senseless_mixture_is_one_sentence(words, sentence, data, tmp_path, capsys) -> None:
    arguments = [
        "pretrain",
        "--data",
        data["source"],
        "--target",
        data["target"],
        *SMALL,
        "--out",
        tmp_path / "x",
        *words,
    ]
    code, result, _ = run(*arguments, capsys=capsys)
    assert code == 2
    assert sentence in result["error"]


def test_frozen_features_stay_those_of_the_run_they_come_from(ptr, data, tmp_path, capsys) -> None:
    words = ["--data", data["source"], "--algorithm", "bc", "--steps", 3, "--batch-size", 8, "--encoder", ptr]
    code, _, said = run("pretrain", *words, "--freeze-encoder", "--out", tmp_path / "bc", capsys=capsys)
    assert code == 0, said
    theirs = {n.split("encoder.", 1)[1]: v for n, v in weights(ptr, "actor.encoder").items()}
    ours = {n.split("encoder.", 1)[1]: v for n, v in weights(tmp_path / "bc", "actor.encoder").items()}
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[n], ours[n]) for n in theirs)
    free = tmp_path / "free"
    run("pretrain", *words, "--out", free, capsys=capsys)
    assert any(not torch.equal(v, theirs[n.split("encoder.", 1)[1]]) for n, v in weights(free, "actor.encoder").items())
    finetuned = tmp_path / "f"
    code, _, said = run(
        "finetune", "--from", free, "--target", data["target"], "--data", data["source"], "--demos", 3, "--steps", 2, "--out", finetuned,
        "--freeze-encoder", capsys=capsys,
    )  # fmt: skip
    assert code == 0, said
    start = {n: v for n, v in weights(free, "actor").items() if ".encoder." in n}
    after = weights(finetuned, "actor")
    assert all(torch.equal(v, after[n]) for n, v in start.items())
    assert any(not torch.equal(v, weights(free, "actor")[n]) for n, v in after.items())
    assert read_settings(finetuned)[0].frozen == "encoder"


def test_a_fresh_actor_imitates_by_the_critic_of_a_run(ptr, data, tmp_path, capsys) -> None:
    out = tmp_path / "awbc"
    words = [
        "finetune",
        "--from",
        ptr,
        "--target",
        data["target"],
        "--data",
        data["source"],
        "--demos",
        3,
        "--out",
        out,
    ]
    code, result, said = run(*words, "--algorithm", "awbc", "--steps", 2, capsys=capsys)
    assert code == 0, said
    assert "actor/weight" in result["metrics"]
    critic = weights(ptr, "critic.")
    assert critic
    assert all(torch.equal(v, weights(out, "critic.")[n]) for n, v in critic.items())
    assert not torch.equal(
        weights(out, "actor.body")["agent.actor.body.0.weight"], weights(ptr, "actor.body")["agent.actor.body.0.weight"]
    )
    code, result, said = run(*words, "--algorithm", "awbc", "--steps", 3, "--resume", capsys=capsys)
    assert code == 0, said
    assert Policy.load(out).record.agent == "awbc"
    code, _, said = run(
        "finetune", "--from", out, "--target", data["target"], "--data", data["source"], "--demos", 3, "--steps", 1, "--out",
        tmp_path / "on", capsys=capsys,
    )  # fmt: skip
    assert code == 0, said


def test_imitation_has_no_critic_to_weigh_by(data, tmp_path, capsys) -> None:
    run("pretrain", "--data", data["source"], "--out", tmp_path / "bc", "--algorithm", "bc", *SMALL, capsys=capsys)
    words = [
        "finetune",
        "--from",
        tmp_path / "bc",
        "--target",
        data["target"],
        "--data",
        data["source"],
        "--out",
        tmp_path / "x",
    ]
    code, result, _ = run(*words, "--algorithm", "awbc", capsys=capsys)
    assert code == 2
    assert "has no critic to weigh" in result["error"]


def test_of_an_objective_that_trained_the_backbone_the_rest_is_learned(data, tmp_path, capsys) -> None:
    words = [
        "--objective",
        "mae",
        "--data",
        data["source"],
        "--encoder",
        "vit_tiny",
        "--steps",
        2,
        "--batch-size",
        4,
        "--image-size",
        32,
    ]
    code, _, said = run("pretrain", *words, "--out", tmp_path / "mae", capsys=capsys)
    assert code == 0, said
    words = [
        "--data",
        data["source"],
        "--algorithm",
        "bc",
        "--steps",
        2,
        "--batch-size",
        8,
        "--encoder",
        tmp_path / "mae",
    ]
    code, _, said = run(
        "pretrain", *words, "--freeze-encoder", "--out", tmp_path / "bc", "--checkpoint-every", 1, capsys=capsys
    )
    assert code == 0, said
    assert read_settings(tmp_path / "bc")[0].frozen == "backbone"
    first, last = (
        read_tensors(f / "weights.safetensors", json.loads((f / "policy.json").read_text())["weights_sha256"])
        for f in (checkpoint.folder_of(tmp_path / "bc", step) for step in (1, 2))
    )
    encoder = [n for n in first if n.startswith("encoder.")]
    assert {torch.equal(first[n], last[n]) for n in encoder if ".backbone." in n} == {True}
    assert not all(torch.equal(first[n], last[n]) for n in encoder if ".bottleneck." in n)


def test_freezing_random_weights_is_said_aloud(data, tmp_path, capsys) -> None:
    words = ["--data", data["source"], "--algorithm", "bc", "--freeze-encoder", *SMALL, "--out", tmp_path / "x"]
    code, _, said = run("pretrain", *words, capsys=capsys)
    assert code == 0, said
    assert "keeps the random weights that small starts with" in said


def returns_seen(out: Path) -> np.ndarray:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return np.array([row["critic/return_to_go"] for row in rows if "critic/return_to_go" in row])


def test_cog_is_told_of_no_success_but_those_of_the_target(data, tmp_path, capsys) -> None:
    """All episodes succeed: a return is 10 less a few steps, or that of never succeeding, -1 / (1 - 0.96)."""
    common = (
        "--target",
        data["target"],
        "--demos",
        3,
        "--camera",
        "none",
        "--steps",
        6,
        "--batch-size",
        8,
        "--mixing-ratio",
        0.5,
    )
    seen = {}
    for algorithm in ("cql", "cog"):
        out = tmp_path / algorithm
        words = ("pretrain", "--algorithm", algorithm, "--data", data["source"], "--out", out, *common)
        assert run(*words, capsys=capsys)[0] == 0
        seen[algorithm] = returns_seen(out)
    assert len(seen["cog"]) > 0
    assert (seen["cql"] > 3).all()
    np.testing.assert_allclose(seen["cog"], (seen["cql"] - 25) / 2, atol=3)
    words = ("pretrain", "--algorithm", "cog", "--data", data["target"], "--out", tmp_path / "both", *common)
    code, result, _ = run(*words, capsys=capsys)
    assert code == 2
    assert "give it as the --target alone" in result["error"]
    words = (
        "finetune",
        "--from",
        tmp_path / "cog",
        "--data",
        data["target"],
        "--target",
        data["target"],
        "--demos",
        3,
        "--steps",
        1,
    )
    code, result, _ = run(*words, "--out", tmp_path / "f", capsys=capsys)
    assert code == 2
    assert "give it as the --target alone" in result["error"]
