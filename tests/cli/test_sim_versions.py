"""Data of two versions of a simulator through the verbs: refused together, told of where a policy goes from one to the other."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")

import robot_pt_data
from robot_pt import checkpoint, cli
from robot_pt.errors import MismatchError
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import sim_versions
from robot_pt.safe_files import read_json
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore
from robot_pt.tasks import TaskTable
from robot_pt_sim.kitchen.tasks import find_kitchen
from robot_pt_sim.kitchen.twin import TWIN_VERSION, kitchen_spec

CARROT = "kitchen/put-carrot-on-plate"
SPEC = kitchen_spec(find_kitchen(CARROT), (), (64, 64))
OLD = TWIN_VERSION - 1
STEPS = 5


def store(path: Path, version: int | None, spec: Spec = SPEC) -> Path:
    """Four episodes as the kitchens of that version record them; None as a robot does."""
    rng, last = np.random.default_rng(0), np.arange(STEPS) == STEPS - 1
    demos = DemoStore.create(path, spec, exist_ok=True)
    for _ in range(4):
        demos.append(
            Episode(
                spec=spec, images={camera: np.zeros((STEPS, *size, 3), np.uint8) for camera, size in spec.cameras.items()},
                proprio=rng.normal(0, 0.1, (STEPS, len(spec.proprio_names))).astype(np.float32),
                actions=rng.uniform(0, 0.03, (STEPS, 7)).astype(np.float32), rewards=last.astype(np.float32), terminated=last,
                truncated=np.zeros(STEPS, bool), instruction=CARROT, task=CARROT, success=True,
                dataset="robot" if version is None else "kitchen",
                metadata={} if version is None else {"controller": {"twin": version}},
            )
        )  # fmt: skip
    return path


@dataclass
class Said:
    code: int
    result: dict[str, Any]
    err: str


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]):
        self._capsys = capsys

    def __call__(self, *words: object) -> Said:
        code = cli.main([*map(str, words), "--json"])
        shown = self._capsys.readouterr()
        assert "Traceback" not in shown.err
        return Said(code, json.loads(shown.out.splitlines()[-1]), " ".join(shown.err.split()))


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


TINY = ("--algorithm", "bc", "--camera", "none", "--steps", "1", "--batch-size", "8")


def test_one_training_takes_one_version(tmp_path: Path, shell: Shell) -> None:
    old, new, robot = (
        store(tmp_path / "old", OLD),
        store(tmp_path / "new", TWIN_VERSION),
        store(tmp_path / "robot", None),
    )
    said = shell("pretrain", "--data", old, new, "--out", tmp_path / "run", *TINY)
    assert said.code == 2
    assert said.result["error"] == (
        f"{old} was recorded in version {OLD} of the kitchens and {new} in version {TWIN_VERSION}, where the same actions end elsewhere; "
        "record one of them again, or train on both with --mixed-versions."
    )
    assert not (tmp_path / "run").exists()
    said = shell("pretrain", "--data", old, "--target", new, "--demos", "2", "--out", tmp_path / "run", *TINY)
    assert said.code == 2
    assert (
        f"the target {new} was recorded in version {TWIN_VERSION} of the kitchens and the pretraining data"
        in said.result["error"]
    )
    said = shell("pretrain", "--data", old, new, "--mixed-versions", "--out", tmp_path / "mixed", *TINY)
    assert said.code == 0
    assert "BOTH ARE TRAINED ON" in said.err
    said = shell("pretrain", "--data", robot, new, "--out", tmp_path / "real", *TINY)
    assert said.code == 0
    assert "version" not in said.err


def test_a_store_that_holds_two_is_refused_by_itself(tmp_path: Path, shell: Shell) -> None:
    both = store(store(tmp_path / "both", OLD), TWIN_VERSION)
    said = shell("pretrain", "--data", both, "--out", tmp_path / "run", *TINY)
    assert said.code == 2
    assert shell("data", "inspect", both).result["simulators"] == {"kitchen": [str(OLD), str(TWIN_VERSION)]}
    robot = shell("data", "inspect", store(tmp_path / "robot", None))
    assert "simulators" not in robot.result
    assert (
        f"{both} was recorded in version {OLD} of the kitchens and {both} in version {TWIN_VERSION}"
        in said.result["error"]
    )


def test_an_encoder_is_trained_on_one_version_too(tmp_path: Path, shell: Shell) -> None:
    """Its actions mean one thing; here both stores are refused before anything looks for a camera."""
    old, new = store(tmp_path / "old", OLD), store(tmp_path / "new", TWIN_VERSION)
    said = shell("pretrain", "--objective", "idm", "--data", old, new, "--out", tmp_path / "run")
    assert said.code == 2
    assert f"in version {OLD} of the kitchens" in said.result["error"]


def test_caches_tell_it_on(tmp_path: Path, shell: Shell) -> None:
    old, new = store(tmp_path / "old", OLD), store(tmp_path / "new", TWIN_VERSION)
    cache = tmp_path / "cache"
    assert shell("data", "cache", old, "--out", cache, "--size", "8").code == 0
    said = shell("pretrain", "--data", cache, new, "--out", tmp_path / "run", *TINY)
    assert said.code == 2
    assert f"{cache} was recorded in version {OLD} of the kitchens and {new} in version" in said.result["error"]


def test_exports_tell_it_on(tmp_path: Path, shell: Shell) -> None:
    pytest.importorskip("tensorflow_datasets", reason="writing RLDS needs the extra rlds")
    seen = kitchen_spec(find_kitchen(CARROT), ("primary",), (16, 16))
    old, new = store(tmp_path / "old", OLD, seen), store(tmp_path / "new", TWIN_VERSION, seen)
    exported = Path(shell("data", "export", old, "--out", tmp_path / "rlds", "--format", "rlds").result["out"])
    again = Path(shell("data", "export", exported, "--out", tmp_path / "again", "--format", "rlds").result["out"])
    for copy in (exported, again):
        said = shell("pretrain", "--data", copy, new, "--out", tmp_path / "run", *TINY)
        assert said.code == 2, copy
        assert f"{copy} was recorded in version {OLD} of the kitchens and {new} in version" in said.result["error"]
        assert shell("data", "inspect", copy).result["simulators"] == {"kitchen": [str(OLD)]}
    (again / "robot_pt.json").write_text("[]")
    assert robot_pt_data.open(again).simulators == {}  # type: ignore[attr-defined]


def test_finetuning_across_versions_is_told_and_evaluating_too(tmp_path: Path, shell: Shell) -> None:
    old, new = store(tmp_path / "old", OLD), store(tmp_path / "new", TWIN_VERSION)
    run, further = tmp_path / "run", tmp_path / "further"
    assert shell("pretrain", "--data", old, "--out", run, *TINY).code == 0
    record = PolicyRecord.from_json(read_json(checkpoint.resolve(run) / "policy.json"))
    assert sim_versions.of_record(record) == {"kitchen": {str(OLD)}}
    common = ("--from", run, "--target", new, "--demos", "2", "--steps", "1", "--out", further)
    said = shell("finetune", *common, "--data", old)
    assert said.code == 2
    assert "train on both with --mixed-versions" in said.result["error"]
    said = shell("finetune", *common, "--data", new)
    assert said.code == 0
    assert (
        f"what the run learned from was recorded in version {OLD} of the kitchens and the target data in version"
        in said.err
    )
    play = ("--task", CARROT, "--episodes", "1", "--workers", "1", "--no-videos")
    said = shell("evaluate", run, *play, "--out", tmp_path / "alone")
    assert said.code == 0
    assert (
        f"was trained on data of version {OLD} of the kitchens and is tried in version {TWIN_VERSION}, WHERE THE SAME"
        in said.err
    )
    told = said.result["evaluations"][0]["settings"]
    both = {"kitchens": str(TWIN_VERSION), "kitchens of the training": str(OLD)}
    assert both.items() <= told.items()
    assert json.loads((tmp_path / "alone" / "run.jsonl").read_text().splitlines()[0])["settings"] == told
    said = shell("evaluate", further, *play, "--out", tmp_path / "alone")
    assert said.code == 0
    assert "WHERE THE SAME" not in said.err
    assert "kitchens of the training" not in said.result["evaluations"][0]["settings"]
    (log,) = [path for path in (tmp_path / "alone").glob("*.jsonl") if "further" in path.name]
    header = json.loads(log.read_text().splitlines()[0])
    assert header["settings"]["kitchens"] == str(TWIN_VERSION)
    log.write_text(log.read_text().replace(f'"kitchens": "{TWIN_VERSION}"', f'"kitchens": "{OLD}"'))
    said = shell("evaluate", further, *play, "--out", tmp_path / "alone")
    assert said.code == 2
    assert f"'kitchens': '{OLD}'" in said.result["error"]
    said = shell("evaluate", run, further, *play, "--out", tmp_path / "both")
    assert said.code == 2
    assert f"{run} with version {OLD} and {further} with version {TWIN_VERSION} of the kitchens" in said.result["error"]
    assert "evaluate each alone" in said.result["error"]
    assert not (tmp_path / "both").exists()


def test_an_unversioned_run_is_comparable_with_any(tmp_path: Path, shell: Shell) -> None:
    run = tmp_path / "run"
    assert shell("pretrain", "--data", store(tmp_path / "robot", None), "--out", run, *TINY).code == 0
    record = PolicyRecord.from_json(read_json(checkpoint.resolve(run) / "policy.json"))
    now = replace(record, data=[{"name": "kitchen", "simulators": {"kitchen": [str(TWIN_VERSION)]}}])
    sim_versions.require_comparable(CARROT, {"real": record, "new": now})
    sim_versions.require_comparable("maze-u", {"real": record, "new": now})
    old = replace(record, data=[{"name": "kitchen", "simulators": {"kitchen": [str(OLD)]}}])
    sim_versions.require_comparable("lift-red", {"old": old, "new": now})
    with pytest.raises(MismatchError, match="evaluate each alone"):
        sim_versions.require_comparable(CARROT, {"old": old, "new": now})
    assert sim_versions.kept_with(CARROT, record) == {"kitchens": str(TWIN_VERSION)}
    assert sim_versions.kept_with("maze-u", old) == {}


def test_both_versions_of_robosuite_are_kept_where_they_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim_versions, "of_task", lambda task: {"robosuite": frozenset(["1.5.2"])})
    record = PolicyRecord.of(
        agent="bc", network={"cameras": [], "image_size": [0, 0]}, spec=SPEC, tasks=TaskTable.of([CARROT])
    )
    for trained, kept in (("1.5.2", {}), ("1.4.1", {"robosuite": "1.5.2", "robosuite of the training": "1.4.1"})):
        there = replace(record, data=[{"name": "demos", "simulators": {"robosuite": [trained]}}])
        assert sim_versions.kept_with("lift-red", there) == kept


def test_online_learning_goes_on_in_one_version(tmp_path: Path, shell: Shell) -> None:
    """Offline data, the actors' own stores and a followed store of another version than the actors play."""
    old, new = store(tmp_path / "old", OLD), store(tmp_path / "new", TWIN_VERSION)
    run, out = tmp_path / "run", tmp_path / "online"
    assert shell("pretrain", "--data", new, "--out", run, *TINY, "--algorithm", "iql").code == 0
    common = ("online", "--from", run, "--task", CARROT, "--actors", "1", "--episodes", "1", "--out", out)
    for also in (("--data", old), ("--data", new, "--follow", old), ("--follow", old)):
        said = shell(*common, *also)
        assert said.code == 2
        assert "of the kitchens and" in said.result["error"]
        assert f"in version {OLD}" in said.result["error"]
        assert not (out / "config.json").exists()
    from robot_pt.online.actor import store_of

    store(store_of(out, 0), OLD)
    said = shell(*common)
    assert said.code == 2
    assert f"of the kitchens and {CARROT} here in version {TWIN_VERSION}" in said.result["error"]


def test_collect_appends_to_a_store_of_its_own_version_of_robosuite(tmp_path: Path, shell: Shell) -> None:
    pytest.importorskip("robosuite")
    from robot_pt_sim.simulators import spec_of

    spec = spec_of("lift-red", (), (64, 64))
    demos, last = DemoStore.create(tmp_path / "demos", spec), np.array([False, True])
    demos.append(
        Episode(
            spec=spec, images={}, proprio=np.zeros((2, len(spec.proprio_names)), np.float32), actions=np.zeros((2, 7), np.float32),
            rewards=np.zeros(2, np.float32), terminated=last, truncated=np.zeros(2, bool), task="lift-red", success=True,
            dataset="robosuite", metadata={"seed": 0, "versions": {"robosuite": "1.4.0"}},
        )
    )  # fmt: skip
    words = ("collect", "--task", "lift-red", "--seed", "5", "--episodes", "1", "--camera", "none")
    said = shell(*words, "--out", demos.path)
    assert said.code == 2
    assert said.result["error"] == (
        f"{demos.path} was recorded in version 1.4.0 of robosuite and this is version 1.5.2, where the same actions end elsewhere; name "
        "another --out."
    )
