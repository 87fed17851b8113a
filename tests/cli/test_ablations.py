"""The ablations of PTR from the command line: what each changes in the run, that finetuning keeps it, and where none is meant."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt import checkpoint, cli
from robot_pt.policy import Policy
from robot_pt.recipes import runs
from robot_pt.rewards import RewardLabel
from robot_pt.safe_tensors import read_tensors
from robot_pt.schema import Episode, Observation, Spec
from robot_pt.store import DemoStore

SPEC = Spec(cameras={"primary": (16, 16)}, embodiment="panda")
STEPS = 6


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, last = np.random.default_rng(0), np.arange(STEPS) == STEPS - 1
    store = DemoStore.create(tmp_path_factory.mktemp("demos") / "lift", SPEC)
    for _ in range(4):
        store.append(
            Episode(
                spec=SPEC, images={"primary": rng.integers(0, 255, (STEPS, 16, 16, 3), np.uint8)},
                proprio=rng.random((STEPS, 7)).astype(np.float32), actions=rng.uniform(0, 0.03, (STEPS, 7)).astype(np.float32),
                rewards=last.astype(np.float32), terminated=last, truncated=np.zeros(STEPS, bool), instruction="lift",
                task="lift", success=True,
            )
        )  # fmt: skip
    return store.path


def pretrain(demos: Path, out: Path, *words: str, algorithm: str = "ptr") -> int:
    encoder = () if "--encoder" in words or "none" in words else ("--encoder", "small")
    tiny = (*encoder, "--steps", "2", "--batch-size", "8", "--checkpoint-every", "2")
    return cli.main(
        ["pretrain", "--data", str(demos), "--out", str(out), "--algorithm", algorithm, *tiny, *words, "--json"]
    )


def finetune(demos: Path, start: Path, out: Path) -> int:
    words = ("--from", str(start), "--target", str(demos), "--data", str(demos), "--steps", "1", "--demos", "2")
    return cli.main(["finetune", *words, "--out", str(out), "--json"])


def test_every_ablation_shapes_the_run_and_finetuning_keeps_it(demos: Path, tmp_path: Path) -> None:
    words = (
        "--encoder-norm", "batch", "--pooling", "average", "--rewards", "0", "1", "--options", "refeed_actions=false", "alpha=2.5",
    )  # fmt: skip
    run, further = tmp_path / "run", tmp_path / "further"
    assert pretrain(demos, run, *words) == 0
    assert finetune(demos, run, further) == 0
    for where in (run, further):
        settings, _ = runs.read_settings(where)
        assert (settings.encoder.norm, settings.encoder.pooling) == ("batch", "average")
        assert (settings.ptr.refeed_actions, settings.ptr.alpha) == (False, 2.5)
        assert settings.reward == RewardLabel(scale=1, shift=0)


def test_as_published_where_nothing_is_said(demos: Path, tmp_path: Path) -> None:
    assert pretrain(demos, tmp_path / "run") == 0
    settings, _ = runs.read_settings(tmp_path / "run")
    assert (settings.encoder.norm, settings.encoder.pooling) == ("group", "spatial_embeddings")
    assert (settings.ptr.refeed_actions, settings.ptr.alpha) == (True, 10.0)
    assert settings.reward == RewardLabel()


def test_running_statistics_are_saved_and_the_policy_acts_by_them(demos: Path, tmp_path: Path) -> None:
    """The action for a frame is that of the network in evaluation, whatever else there is; training mode would give another."""
    run = tmp_path / "run"
    assert pretrain(demos, run, "--encoder-norm", "batch") == 0
    policy = Policy.load(run, SPEC)
    actor = policy._actor
    name, mean = next((n, b) for n, b in actor.named_buffers() if n.endswith("running_mean"))
    assert mean.abs().max() > 0
    folder = checkpoint.resolve(run)
    saved = read_tensors(
        folder / "weights.safetensors", json.loads((folder / "policy.json").read_text())["weights_sha256"]
    )
    torch.testing.assert_close(saved[name], mean)
    rng = np.random.default_rng(1)
    frames, proprio = rng.integers(0, 255, (3, 16, 16, 3), np.uint8), rng.random((3, 7)).astype(np.float32)
    policy.reset("lift")
    alone = np.concatenate([policy.act([Observation({"primary": f}, p)]) for f, p in zip(frames, proprio, strict=True)])
    arguments = (
        {"primary": torch.from_numpy(frames)},
        torch.from_numpy(proprio),
        torch.zeros(3, dtype=torch.int64),
        torch.zeros(3, 0),
    )
    with torch.no_grad():
        together = actor.normalizer.decode(actor(*arguments).mode())
        torch.testing.assert_close(torch.from_numpy(alone), together.float(), atol=1e-5, rtol=1e-4)
        before = mean.clone()
        tied = actor.train()(*arguments).mode()
    assert not torch.allclose(mean, before)  # training looks at, and moves, the statistics
    assert not torch.allclose(actor.normalizer.decode(tied), together, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "algorithm", "told"),
    [
        (("--rewards", "0", "1"), "bc", "--rewards is what a critic learns from and bc has none"),
        (("--rewards", "1", "1"), "ptr", "rewards are 1 of a step and 1 of success"),
        (("--encoder", "vit_tiny", "--encoder-norm", "batch"), "ptr", "vit_tiny has a normalisation of its own"),
        (("--camera", "none", "--pooling", "average"), "bc", "--pooling is about images"),
        (("--encoder", "RUN", "--pooling", "average"), "ptr", "is a run and brings its own layers"),
        (("--options", "refeed_actions=maybe"), "ptr", "give true or false"),
    ],
)
def test_where_an_ablation_means_nothing_it_is_refused(
    demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], algorithm: str, told: str
) -> None:
    (tmp_path / "an-encoder").mkdir()
    given = [str(tmp_path / "an-encoder") if word == "RUN" else word for word in words]
    assert pretrain(demos, tmp_path / "run", *given, algorithm=algorithm) == 2
    assert told in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert not (tmp_path / "run").exists()


def test_an_encoder_by_an_objective_has_none(demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--data",
        str(demos),
        "--out",
        str(tmp_path / "run"),
        "--objective",
        "curl",
        "--pooling",
        "average",
        "--json",
    ]
    assert cli.main(["pretrain", *words]) == 2
    assert "--pooling shapes a policy" in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
