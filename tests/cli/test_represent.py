"""`pretrain --objective` as a user types it: what its RUN holds, what starts from it, resuming, and every refusal in one sentence."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt.checkpoint import resolve, steps
from robot_pt.errors import MismatchError
from robot_pt.observers import read_metrics
from robot_pt.policy import Policy
from robot_pt.recipes import encoders
from robot_pt.recipes.algorithms import ALGORITHMS, agent_class
from robot_pt.recipes.objectives import ACTING, OBJECTIVES, objective_class
from robot_pt.recipes.represent import RepresentSettings
from robot_pt.safe_files import read_json
from robot_pt.safe_tensors import read_tensors
from robot_pt.store import DemoStore
from tests.cli.test_runs import SHARED, SPEC, run, store

SHORT = ["--encoder", "small", "--steps", 2, "--batch-size", 8]
FAST = ("curl", "mae", "spr", "bc")
EVERY = (*OBJECTIVES, *ACTING)
"""What `--objective` takes."""
ALL = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in EVERY]


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations with everything an objective may ask for."""
    return store(tmp_path_factory.mktemp("data") / "robot", "lift-red", 6)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("data") / "unlabelled", "lift-red", 3, success=None)


@pytest.fixture(scope="module")
def curl(robot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "curl"
    subprocess.run(command(robot, out, "curl"), check=True, capture_output=True, timeout=240)
    return out


def command(data: Path, out: Path, name: str, *more: object) -> list[str]:
    arguments = ["pretrain", "--objective", name, "--data", data, "--out", out, *SHORT, *more, "--json"]
    return [sys.executable, "-m", "robot_pt", *map(str, arguments)]


def starts(run_folder: Path, data: Path, out: Path, *more: object, capsys, algorithm="ptr") -> tuple[int, dict, str]:
    return run(
        "pretrain", "--algorithm", algorithm, "--encoder", run_folder, "--data", data, "--out", out, "--steps", 1, "--batch-size", 4,
        *more, capsys=capsys,
    )  # fmt: skip


def encoder_of(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of the encoder of a run, whatever it trained."""
    tensors = read_tensors(folder / "latest" / "weights.safetensors")
    prefix = "encoder.encoders.primary."
    return {
        name.removeprefix(prefix): v
        for name, v in tensors.items()
        if name.startswith((prefix, "backbone", "pool", "bottleneck"))
    }


def made(name: str, result: dict, out: Path) -> None:
    """The run is of objective `name`: of an encoder alone, or of a policy with one."""
    if name in ACTING:
        assert np.isfinite(result["metrics"]["actor/loss"])
        assert Policy.load(out).record.agent == name
    else:
        assert (result["objective"], result["trained"]) == (name, read_json(out / "latest" / "encoder.json")["trains"])
        assert np.isfinite(result["metrics"]["objective/loss"])
        page = Path(result["report"]).read_text()
        assert "What the encoder sees" in page
        assert "data:image/jpeg" in page


@pytest.mark.parametrize("name", ALL)
def test_every_objective_makes_an_encoder_that_ptr_starts_from(name, robot, tmp_path, capsys) -> None:
    code, result, _ = run(
        "pretrain", "--objective", name, "--data", robot, "--out", tmp_path / "r", *SHORT, capsys=capsys
    )
    assert code == 0, result
    made(name, result, tmp_path / "r")
    code, told, _ = starts(tmp_path / "r", robot, tmp_path / "ptr", capsys=capsys)
    assert code == 0, told
    assert Policy.load(tmp_path / "ptr").record.network["encoder"]["name"] == "small"
    assert read_json(tmp_path / "ptr" / "config.json")["origin"]["run"] == str(tmp_path / "r")


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the BridgeData cut at {SHARED}")
@pytest.mark.parametrize("name", EVERY)
def test_every_objective_learns_on_the_real_bridge_data(name, tmp_path, capsys) -> None:
    code, result, _ = run(
        "pretrain", "--objective", name, "--data", SHARED, "--out", tmp_path / "r", *SHORT, "--image-size", 64, "--assume-success",
        capsys=capsys,
    )  # fmt: skip
    assert code == 0, result
    made(name, result, tmp_path / "r")
    code, told, _ = starts(tmp_path / "r", SHARED, tmp_path / "ptr", "--assume-success", capsys=capsys)
    assert code == 0, told
    assert read_json(tmp_path / "ptr" / "config.json")["origin"]["run"] == str(tmp_path / "r")


def test_a_run_holds_what_the_readme_says(curl: Path) -> None:
    for name in ("latest", "config.json", "metrics.jsonl", "report.html"):
        assert (curl / name).exists(), name
    document = read_json(curl / "config.json")
    assert document["verb"] == "represent"
    settings = RepresentSettings.from_json(document["settings"])
    assert settings.to_json() == document["settings"]
    assert (settings.objective, settings.config.optim.total_steps) == ("curl", 2)
    record = read_json(curl / "latest" / "encoder.json")
    assert (record["camera"], record["image_size"], record["step"], record["trains"]) == (
        "primary",
        [32, 32],
        2,
        "encoder",
    )
    assert [(row["episodes"], row["steps"]) for row in record["data"]] == [(5, 30)]
    assert len(record["data"][0]["fingerprint"]) == 16
    assert not (curl / "latest" / "policy.json").exists()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_network_of_every_algorithm_starts_from_what_was_trained(algorithm, curl, robot) -> None:
    start = encoders.Start.of(curl)
    agent = agent_class(algorithm).build(
        DemoStore(robot).source().spec,
        cameras=("primary",),
        image_size=(32, 32),
        task_slots=2,
        encoder=start.config,
        seed=5,
    )
    encoders.load(agent, start)
    trained, found = encoder_of(curl), dict(agent.state_dict())
    for name, value in found.items():
        kept = next((n for n in trained if name.endswith(f"encoder.encoders.primary.{n}")), None)
        if kept is not None and not name.startswith("optimizer."):
            assert torch.equal(value, trained[kept]), name
    assert sum("encoder.encoders.primary." in name for name in found) >= len(trained)


def test_the_run_that_starts_from_an_encoder_says_so(curl, robot, tmp_path, capsys) -> None:
    assert starts(curl, robot, tmp_path / "p", capsys=capsys)[0] == 0
    origin = read_json(tmp_path / "p" / "config.json")["origin"]
    assert origin == {"run": str(curl), "step": 2, "version": read_json(curl / "latest" / "encoder.json")["version"]}


def test_a_backbone_alone_leaves_the_rest_as_it_was(robot, tmp_path, capsys) -> None:
    assert (
        run("pretrain", "--objective", "mae", "--data", robot, "--out", tmp_path / "r", *SHORT, capsys=capsys)[0] == 0
    )
    start = encoders.Start.of(tmp_path / "r")
    assert (start.trains, start.made_by, start.config.name) == ("backbone", "mae", "small")
    spec = DemoStore(robot).source().spec
    build = lambda: agent_class("ptr").build(  # noqa: E731
        spec, cameras=("primary",), image_size=(48, 48), task_slots=2, encoder=start.config, seed=5
    )
    agent, fresh = build(), build()
    encoders.load(agent, start)  # of 32 pixels, into one of 48: convolutions do not mind
    for (_, ours), (_, new) in zip(encoders._encoders(agent), encoders._encoders(fresh), strict=True):
        for name, value in ours.state_dict().items():
            from_run = start.tensors("primary")[name]
            expected = from_run if name.startswith("backbone.") else new.state_dict()[name]
            assert torch.equal(value, expected), name
    encoder, again = encoders.opened(tmp_path / "r")
    assert again == start
    assert all(torch.equal(v, start.tensors("primary")[n]) for n, v in encoder.state_dict().items())


def test_another_image_size_is_refused_where_pooling_was_trained(curl, robot, tmp_path, capsys) -> None:
    code, result, _ = starts(curl, robot, tmp_path / "p", "--image-size", 48, capsys=capsys)
    assert code == 2
    assert "was trained for cameras ('primary',) at 32x32" in result["error"]
    assert "with --image-size 32" in result["error"]


def test_an_objective_starts_from_an_objective_and_from_a_policy(curl, robot, tmp_path, capsys) -> None:
    first = starts(curl, robot, tmp_path / "bc", capsys=capsys, algorithm="bc")
    assert first[0] == 0, first
    for begin in (curl, tmp_path / "bc"):
        out = tmp_path / f"from-{begin.name}"
        code, result, _ = run(
            "pretrain", "--objective", "curl", "--encoder", begin, "--data", robot, "--out", out, "--steps", 1, "--batch-size", 8,
            "--checkpoint-every", 1, capsys=capsys,
        )  # fmt: skip
        assert code == 0, result
        trainer = read_tensors(out / "latest" / "trainer.safetensors")
        start = encoder_of(begin)
        moved = {n: (trainer[f"agent.encoder.{n}"] - v).abs().max().item() for n, v in start.items()}
        assert 0 < max(moved.values()) < 2e-2  # one step of Adam from there
        key = {n: (trainer[f"agent.key.0.{n}"] - v).abs().max().item() for n, v in start.items()}
        assert max(key.values()) < 1e-3, "the averaged copy did not start from the run"


def test_success_that_is_assumed_is_said_loudly_where_rewards_are_learned_from(unlabelled, tmp_path, capsys) -> None:
    def pretrained(name: str) -> str:
        words = ["--objective", name, "--data", unlabelled, *SHORT, "--batch-size", 4, "--assume-success"]
        code, result, said = run("pretrain", *words, "--out", tmp_path / name, capsys=capsys)
        assert code == 0, result
        return said

    assert "3 of 3 episodes of the pretraining data carry no success label and are TREATED AS SUCCESSFUL" in pretrained(
        "decision_transformer"
    )
    assert "SUCCESSFUL" not in pretrained("curl")


def test_data_of_two_rates_is_told_of_where_time_counts(robot, tmp_path, capsys) -> None:
    faster = DemoStore.create(tmp_path / "faster", dataclasses.replace(SPEC, control_hz=10.0))
    for name in DemoStore(robot).episodes:
        faster.append(dataclasses.replace(DemoStore(robot).read(name), spec=faster.spec))

    def pretrained(name: str) -> str:
        words = ["--objective", name, "--data", robot, faster.path, *SHORT, "--batch-size", 4]
        code, result, said = run("pretrain", *words, "--out", tmp_path / name, capsys=capsys)
        assert code == 0, result
        return said

    assert (
        "the data runs at 5, 10 Hz, so that a step is another time in each part; times of atc are taken at 5 Hz"
        in pretrained("atc")
    )
    assert "Hz" not in pretrained("curl")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--objective", "curl", "--algorithm", "ptr"], "give one of the two"),
        (["--objective", "curl", "--language"], "leave --language out"),
        (["--objective", "curl", "--route", "advantage_weighted"], "leave --route out"),
        (["--objective", "curl", "--bc-warm-start", 3], "leave --bc-warm-start out"),
        (["--objective", "curl", "--demos", 3], "leave --demos out"),
        (["--objective", "curl", "--mixing-ratio", 0.5], "leave --mixing-ratio out"),
        (["--algorithm", "bc", "--route", "advantage_weighted"], "--route shapes PTR's policy and bc has its own"),
        (["--objective", "scaled_ql", "--bc-warm-start", 3], "--bc-warm-start shapes PTR's policy and scaled_ql has"),
        (["--algorithm", "ptr", "--demos", 3], "--demos is about --target, which was not given; leave --demos out"),
        (["--algorithm", "ptr", "--mixing-ratio", 0], "leave --mixing-ratio out"),
        (
            ["--algorithm", "bc", "--camera", "none"],
            "--encoder is about images and --camera none learns from the state",
        ),
        (["--objective", "curl", "--camera", "wrist"], "choose one with --camera"),
        (["--objective", "curl", "--camera", "none"], "choose one with --camera"),
        (["--objective", "curl", "--batch-size", 0], "--batch-size is 0"),
        (["--objective", "curl", "--steps", 0], "--steps is 0"),
        (["--objective", "curl", "--image-size", -3], "--image-size is -3"),
        (["--objective", "mae", "--encoder", "vit_tiny", "--image-size", 31], "cannot cut a 31x31 image"),
        (["--objective", "curl", "--encoder", "no/such/run"], "no folder of a run"),
    ],
)
def test_wrong_arguments_get_one_sentence(robot, tmp_path, capsys, arguments, sentence) -> None:
    code, result, _ = run(
        "pretrain",
        "--data",
        robot,
        "--out",
        tmp_path / "x",
        "--encoder",
        "small",
        "--steps",
        1,
        *arguments,
        capsys=capsys,
    )
    assert code == 2
    assert sentence in result["error"]
    assert not (tmp_path / "x").exists()


def test_data_without_what_is_needed_is_refused_with_what_it_is_enough_for(unlabelled, tmp_path, capsys) -> None:
    def refused(data: Path, name: str) -> str:
        code, result, _ = run(
            "pretrain", "--objective", name, "--data", data, "--out", tmp_path / "x", *SHORT, capsys=capsys
        )
        assert code == 2
        assert not (tmp_path / "x").exists()
        return str(result["error"])

    told = refused(unlabelled, "decision_transformer")
    assert "decision_transformer learns from rewards or success labels that tell episodes apart" in told
    assert "choose one of curl, mae, " in told
    assert "multi_task_dt" not in told.partition("choose")[2]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("av", reason="writing videos takes PyAV: the extra [video]")
    from tests.data.video.video_files import Clip, write_video

    folder = tmp_path_factory.mktemp("films")
    for i in range(3):
        write_video(folder / f"{i}.mp4", Clip(frames=40), first=100 * i)
    return folder


def test_video_makes_an_encoder_that_goes_on_learning_on_robot_data(films, robot, tmp_path, capsys) -> None:
    """Frames of videos, without actions, alone and beside demonstrations; then a policy of the robot."""
    learn = ["pretrain", *SHORT, "--image-size", 32, "--objective"]
    code, result, said = run(*learn, "r3m", "--data", films, "--out", tmp_path / "v", capsys=capsys)
    assert code == 0, result
    assert "captions and the data has NONE" in said
    code, result, _ = run(*learn, "mae", "--data", films, robot, "--out", tmp_path / "both", capsys=capsys)
    assert code == 0, result
    assert len(read_json(tmp_path / "both" / "latest" / "encoder.json")["data"]) == 2
    for begin in ("v", "both"):
        code, told, _ = starts(tmp_path / begin, robot, tmp_path / f"ptr-{begin}", capsys=capsys)
        assert code == 0, told
        assert Policy.load(tmp_path / f"ptr-{begin}").record.image_size == (32, 32)


@pytest.mark.parametrize("given", ["DATA", "DATA and robot", "TARGET", "BESIDE"])
def test_policies_refuse_video_in_a_sentence(given, films, robot, tmp_path, capsys) -> None:
    out = ["--out", tmp_path / "p", "--steps", 1, "--encoder", "small"]
    words = {
        "DATA": ["pretrain", "--data", films, *out], "DATA and robot": ["pretrain", "--data", robot, films, *out],
        "TARGET": ["pretrain", "--algorithm", "bc", "--data", robot, "--target", films, *out],
        "BESIDE": ["pretrain", "--data", films, "--target", robot, *out],
    }[given]  # fmt: skip
    code, result, _ = run(*words, capsys=capsys)
    assert code == 2
    assert f"{films} has no actions, which a policy learns from; give robot data as" in result["error"]


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if objective_class(n).needs.actions])
def test_objectives_of_actions_refuse_video_and_name_those_it_is_enough_for(name, films, tmp_path, capsys) -> None:
    code, result, _ = run(
        "pretrain",
        "--objective",
        name,
        "--data",
        films,
        "--out",
        tmp_path / "x",
        *SHORT,
        "--image-size",
        32,
        capsys=capsys,
    )
    assert code == 2
    assert f"{name} learns from actions, which the" in result["error"]
    assert "choose one of curl, mae, atc, siammae, r3m, vip, icvf, or give other data" in result["error"]


def test_a_policy_cannot_be_loaded_or_finetuned_from_an_encoder(curl, robot, tmp_path, capsys) -> None:
    with pytest.raises(MismatchError, match="holds an image encoder, which cannot act; train a policy from it with"):
        Policy.load(curl)
    with pytest.raises(MismatchError, match="cannot act"):
        resolve(curl / "latest")
    code, result, _ = run(
        "finetune",
        "--from",
        curl,
        "--target",
        robot,
        "--data",
        robot,
        "--out",
        tmp_path / "f",
        "--steps",
        1,
        capsys=capsys,
    )
    assert code == 2
    assert "holds an image encoder and no policy" in result["error"]


def test_a_damaged_encoder_is_refused(curl, robot, tmp_path, capsys) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(curl, broken, symlinks=True)
    path = broken / "checkpoints" / "step_00000002" / "encoder.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "trains": "backbone"}))
    code, result, _ = starts(broken, robot, tmp_path / "p", capsys=capsys)
    assert code == 1 or code == 2
    assert "encoder.json was changed after it was written" in result["error"]


def test_resuming_with_other_settings_or_a_run_of_another_kind_is_refused(curl, robot, tmp_path, capsys) -> None:
    again = ["pretrain", "--data", robot, "--out", curl, "--encoder", "small", "--steps", 2]
    code, result, _ = run(*again, "--objective", "curl", "--batch-size", 4, "--resume", capsys=capsys)
    assert code == 2
    assert "batch_size = 8, now it is 4" in result["error"]
    code, result, _ = run(*again, "--objective", "curl", "--batch-size", 8, capsys=capsys)
    assert code == 2
    assert "--resume" in result["error"]
    code, result, _ = run(*again, "--algorithm", "bc", "--batch-size", 8, "--resume", capsys=capsys)
    assert code == 2
    assert "holds a run of pretrain --objective, this is one of pretrain;" in result["error"]


@pytest.mark.slow  # tests/core/test_checkpoint.py kills a run of the same loop
def test_a_run_that_is_killed_goes_on_exactly_where_it_was(robot, tmp_path) -> None:
    """kill -9 between two checkpoints; the resumed run's weights are those of one that was left alone."""
    more = ["--steps", 20, "--checkpoint-every", 2]
    killed = subprocess.Popen(
        command(robot, tmp_path / "a", "curl", *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while not (steps(tmp_path / "a") and steps(tmp_path / "a")[-1] >= 4) and time.monotonic() < until:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert 4 <= steps(tmp_path / "a")[-1] <= 20
    for name, also in (("a", ["--resume"]), ("b", [])):
        subprocess.run(
            command(robot, tmp_path / name, "curl", *more, *also), check=True, capture_output=True, timeout=240
        )
    ours, theirs = (read_tensors(tmp_path / n / "latest" / "trainer.safetensors") for n in "ab")
    learned = [name for name in theirs if name.startswith("agent.")]  # torch's global generator is drawn from by nobody
    assert all(torch.equal(ours[name], theirs[name]) for name in learned)
    assert len(learned) > 50
    last = [read_metrics(tmp_path / n / "metrics.jsonl")[-1] for n in "ab"]
    assert last[0]["objective/loss"] == last[1]["objective/loss"]


@pytest.mark.slow
def test_two_processes_make_the_encoder_of_one(robot, tmp_path) -> None:
    run_two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = [*run_two, *command(robot, tmp_path / "two", "curl")[1:]]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for words in (two, command(robot, tmp_path / "one", "curl")):
        subprocess.run(words, check=True, capture_output=True, timeout=240, env=env)
    ours, theirs = (encoder_of(tmp_path / n) for n in ("two", "one"))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-4, rtol=1e-3)


def test_several_data_sets_go_together_whatever_their_states_are_called(robot, tmp_path, capsys) -> None:
    joints = dataclasses.replace(SPEC, proprio_names=tuple(f"joint_{i}" for i in range(7)))
    other = store(tmp_path / "joints", "lift-red", 3, spec=joints)
    arguments = ["pretrain", "--data", robot, other, *SHORT, "--objective"]
    code, result, _ = run(*arguments, "curl", "--out", tmp_path / "c", capsys=capsys)
    assert code == 0, result
    assert result["episodes"] == 5 + 2
    code, result, _ = run(*arguments, "idm", "--out", tmp_path / "i", capsys=capsys)
    assert code == 2
    assert "proprio_names differ" in result["error"]
