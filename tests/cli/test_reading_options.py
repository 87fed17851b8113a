"""--mapping, --action-source and --encoder-weights: data nobody knows through every verb that reads data."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import robot_pt_data
from robot_pt import cli
from robot_pt.errors import DataError, UserError
from robot_pt.policy import Policy
from robot_pt.recipes.datasets import Reading
from robot_pt.recipes.encoders import choose
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore

SPEC = Spec(cameras={"primary": (32, 32)}, embodiment="panda")
STEPS = 6


def store(path: Path, task: str, episodes: int = 4) -> Path:
    rng = np.random.default_rng(len(task))
    demos = DemoStore.create(path, SPEC)
    for _ in range(episodes):
        last = np.arange(STEPS) == STEPS - 1
        proprio = np.concatenate([rng.normal(0, 0.01, (STEPS, 6)), rng.random((STEPS, 1))], 1).astype(np.float32)
        demos.append(
            Episode(
                spec=SPEC, images={"primary": rng.integers(0, 255, (STEPS, 32, 32, 3), np.uint8)}, proprio=proprio,
                actions=rng.uniform(0, 0.03, (STEPS, 7)).astype(np.float32), rewards=last.astype(np.float32), terminated=last,
                truncated=np.zeros(STEPS, bool), instruction=task, task=task, success=True,
            )
        )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """stores "source" and "target", and "unknown", an RLDS copy of the target that says nothing of its columns, with "mapping"."""
    pytest.importorskip("tensorflow", reason="writing TFDS data sets needs TensorFlow (extra rlds)")
    from robot_pt_data.export import export

    folder = tmp_path_factory.mktemp("places")
    out = {name: store(folder / name, task) for name, task in (("source", "lift"), ("target", "push"))}
    written = export(robot_pt_data.open(out["target"]), folder / "written", name="nobody_knows")
    (place,) = (p.parent for p in [written, *written.rglob("dataset_info.json")] if p.name == "dataset_info.json")
    out["unknown"] = folder / "nobody_knows" / "1.0.0"
    shutil.copytree(place, out["unknown"])
    (beside,) = out["unknown"].glob("robot_pt_mapping.*")
    out["mapping"] = beside.rename(folder / f"mine{beside.suffix}")
    return out


def run(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    code = cli.main([*map(str, arguments), "--json"])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, json.loads(shown.out.strip().splitlines()[-1])


SHORT = ["--encoder", "small", "--steps", 2, "--batch-size", 4]


def test_a_store_without_episodes_is_inspected_and_every_other_verb_says_so(tmp_path, capsys) -> None:
    empty = DemoStore.create(tmp_path / "empty", SPEC).path
    code, result = run("data", "inspect", empty, capsys=capsys)
    assert code == 0
    assert (result["episodes"], result["steps"], result["cameras"]) == (0, 0, {"primary": [32, 32]})
    assert (result["splits"]["all"]["episode_length"], result["action"], result["checks"]) == (None, {}, {})
    for words in (["pretrain", "--data", empty, *SHORT], ["data", "export", empty], ["data", "cache", empty]):
        code, result = run(*words, "--out", tmp_path / "out", capsys=capsys)
        assert code == 2
        assert result["error"] == f"{empty} holds no episode yet; record some, or name another folder."
    assert not (tmp_path / "out").exists()


def test_unknown_data_is_refused_with_the_flag_that_helps_and_then_trains(places, tmp_path, capsys) -> None:
    arguments = ["pretrain", "--data", places["unknown"], *SHORT, "--out", tmp_path / "p"]
    code, result = run(*arguments, capsys=capsys)
    assert code == 2
    assert "--mapping" in result["error"]
    code, _ = run(*arguments, "--mapping", places["mapping"], capsys=capsys)
    assert code == 0
    assert Policy.load(tmp_path / "p").spec.embodiment == "panda"
    written = json.loads((tmp_path / "p" / "config.json").read_text())["arguments"]
    assert (written["mapping"], written["action_source"]) == (str(places["mapping"]), None)


def test_of_several_data_sets_the_mapping_is_for_those_that_need_one(places, tmp_path, capsys) -> None:
    code, result = run(
        "pretrain", "--data", places["source"], places["unknown"], "--mapping", places["mapping"], *SHORT, "--out",
        tmp_path / "p", capsys=capsys,
    )  # fmt: skip
    assert (code, result.get("tasks")) == (0, 2), result
    code, result = run(
        "finetune", "--from", tmp_path / "p", "--target", places["unknown"], "--data", places["source"], "--mapping",
        places["mapping"], "--steps", 2, "--demos", 2, "--out", tmp_path / "f", capsys=capsys,
    )  # fmt: skip
    assert (code, result.get("target_tasks")) == (0, ["push"]), result
    code, result = run(
        "pretrain", "--data", places["source"], places["target"], "--mapping", places["mapping"], *SHORT, "--out",
        tmp_path / "q", capsys=capsys,
    )  # fmt: skip
    assert code == 2
    assert "is for none of" in result["error"]
    assert not (tmp_path / "q").exists()


def test_a_mapping_for_the_only_data_set_is_its_own_also_where_it_has_one(places) -> None:
    with pytest.raises(UserError, match="is for none of"):
        Reading(mapping=places["mapping"]).of([places["source"], places["target"]])
    for paths in ([places["source"]], [places["source"], places["source"]]):
        assert Reading(mapping=places["mapping"]).of(paths).mapped is None
    assert Reading().of([places["source"], places["unknown"]]) == Reading()
    assert list(Reading(mapping=Path("m")).of([places["source"], places["unknown"]]).mapped) == [places["unknown"]]


def test_what_describes_itself(places, tmp_path) -> None:
    assert robot_pt_data.describes_itself(places["source"])
    assert not robot_pt_data.describes_itself(places["unknown"])
    copy = tmp_path / "nobody_knows" / "1.0.0"
    shutil.copytree(places["unknown"], copy)
    shutil.copy(places["mapping"], copy / f"robot_pt_mapping{places['mapping'].suffix}")
    assert robot_pt_data.describes_itself(copy)
    info = json.loads((copy / "dataset_info.json").read_text())
    (copy / f"robot_pt_mapping{places['mapping'].suffix}").unlink()
    (copy / "dataset_info.json").write_text(json.dumps({**info, "name": "bridge_dataset"}))
    assert robot_pt_data.describes_itself(copy)
    with pytest.raises(DataError, match="does not exist"):
        robot_pt_data.describes_itself(tmp_path / "absent")
    (tmp_path / "bags" / "one").mkdir(parents=True)
    (tmp_path / "bags" / "one" / "metadata.yaml").write_text("")
    assert not robot_pt_data.describes_itself(tmp_path / "bags")


def test_achieved_actions_are_learned_exported_and_cached_on_request(places, tmp_path, capsys) -> None:
    wanted = ["--mapping", places["mapping"], "--action-source", "achieved"]
    known = robot_pt_data.open(places["unknown"], mapping=places["mapping"], action_source="achieved")
    rows = np.concatenate([np.arange(s, s + STEPS - 1) for s in known.episodes.start])
    code, _ = run("pretrain", "--data", places["unknown"], *wanted, *SHORT, "--out", tmp_path / "p", capsys=capsys)
    assert code == 0
    assert Policy.load(tmp_path / "p").spec.action_source == "achieved"
    assert (
        run("data", "cache", places["unknown"], *wanted, "--out", tmp_path / "c", "--size", 16, capsys=capsys)[0] == 0
    )
    assert run("data", "export", places["unknown"], *wanted, "--out", tmp_path / "e", capsys=capsys)[0] == 0
    for copy in ("c", "e"):
        source = robot_pt_data.open(tmp_path / copy)
        assert source.spec.action_source == "achieved"
        np.testing.assert_array_equal(source.actions, known.actions[rows])
    code, result = run(
        "data", "export", tmp_path / "c", "--action-source", "commanded", "--out", tmp_path / "n", capsys=capsys
    )
    assert code == 2
    assert "is a decoded cache of achieved actions, commanded ones were asked for" in result["error"]
    code, result = run("pretrain", "--data", places["source"], "--action-source", "achieved", *SHORT, "--out", tmp_path / "n", capsys=capsys)  # fmt: skip
    assert code == 2
    assert "takes no mapping or action source" in result["error"]


@pytest.mark.parametrize("kind", ["decoded", "demo_store"])
def test_an_action_source_that_does_not_exist_is_refused_of_every_kind(places, tmp_path, kind) -> None:
    path = places["source"]
    if kind == "decoded":
        robot_pt_data.cache(robot_pt_data.open(path), tmp_path / "c", (8, 8))
        path = tmp_path / "c"
    with pytest.raises(DataError, match="action_source is 'wished'"):
        robot_pt_data.open(path, action_source="wished")
    assert robot_pt_data.open(path, action_source="commanded").spec.action_source == "commanded"


def test_encoder_weights_are_for_timm_only(places, tmp_path, capsys) -> None:
    arguments = ["pretrain", "--data", places["source"], *SHORT]
    code, result = run(*arguments, "--out", tmp_path / "p", "--encoder-weights", "w.safetensors", capsys=capsys)
    assert code == 2
    assert "encoder small takes no weights file" in result["error"]
    assert run(*arguments, "--out", tmp_path / "p", capsys=capsys)[0] == 0
    with pytest.raises(UserError, match="is a run and brings its own weights; leave --encoder-weights"):
        choose(str(tmp_path / "p"), Path("w.safetensors"))


def test_encoder_weights_reach_the_encoder_as_a_whole_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config, start = choose("timm:resnet18", Path("w.safetensors"))
    assert (config.weights, start) == (str(tmp_path / "w.safetensors"), None)
    assert choose("timm:resnet18")[0].weights == ""


def test_timm_weights_are_in_the_policy_and_needed_only_once(places, tmp_path, capsys) -> None:
    timm = pytest.importorskip("timm", reason="timm needs torchvision, which has no CPU build on PyPI")
    from robot_pt.safe_tensors import write_tensors

    model = timm.create_model("resnet10t", pretrained=False)
    write_tensors(tmp_path / "w.safetensors", model.state_dict())
    arguments = ["pretrain", "--data", places["source"], "--encoder", "timm:resnet10t", "--steps", 1, "--batch-size", 2]
    code, result = run(
        *arguments, "--encoder-weights", tmp_path / "w.safetensors", "--out", tmp_path / "p", capsys=capsys
    )
    assert code == 0, result
    first = model.state_dict()["conv1.0.weight"]
    ours = next(v for k, v in Policy.load(tmp_path / "p")._actor.state_dict().items() if k.endswith("conv1.0.weight"))
    assert float((ours - first).abs().max()) < 1e-3  # one update of Adam at 1e-4
    (tmp_path / "w.safetensors").unlink()
    code, result = run(
        "finetune", "--from", tmp_path / "p", "--target", places["target"], "--data", places["source"], "--steps", 1,
        "--demos", 2, "--out", tmp_path / "f", capsys=capsys,
    )  # fmt: skip
    assert code == 0, result
    assert torch.isfinite(ours).all()


def test_bf16_is_a_setting_of_the_run(places, tmp_path, capsys) -> None:
    arguments = ["pretrain", "--data", places["source"], *SHORT, "--out", tmp_path / "p", "--bf16"]
    assert run(*arguments, capsys=capsys)[0] == 0
    settings = json.loads((tmp_path / "p" / "config.json").read_text())["settings"]
    assert (settings["ptr"]["bf16"], settings["bc"]["bf16"]) == (True, True)
