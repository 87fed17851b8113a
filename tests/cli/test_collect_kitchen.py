"""`robot-pt collect` in the toy kitchens: tasks and scenes by name, starts counted scene by scene, one version per store."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import robot_pt_data
from robot_pt import cli
from robot_pt.errors import UserError
from robot_pt.recipes import collect
from robot_pt.recipes.collect import next_seed
from robot_pt.schema import Episode
from robot_pt.store import DemoStore
from robot_pt_sim import collection
from robot_pt_sim.kitchen.layouts import LAYOUTS, Box
from robot_pt_sim.kitchen.tasks import find_kitchen
from robot_pt_sim.kitchen.twin import TWIN_VERSION, kitchen_spec
from robot_pt_sim.processes import run_jobs

CARROT = "kitchen/put-carrot-on-plate"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    status = cli.main(["collect", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_list_names_tasks_and_scenes(capsys: pytest.CaptureFixture[str]) -> None:
    status, listed = run(capsys, "--list")
    assert status == 0
    assert listed["kitchen_scenes"] == [1, 2, 3, 4, 5, 6]
    assert isinstance(listed["tasks"], list)
    assert CARROT in listed["tasks"]
    assert "lift-red" in listed["tasks"]


def test_the_list_leaves_no_task_out_for_people_either(capsys: pytest.CaptureFixture[str]) -> None:
    _, listed = run(capsys, "--list")
    assert cli.main(["collect", "--list"]) == 0
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines[: lines.index("")] == listed["tasks"]
    assert lines[-1].endswith("--scene 1, 2, 3, 4, 5, 6.")


def test_a_scene_is_given_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (("--task", f"{CARROT}@3", "--scene", "4"), "names a scene already, and --scene is 4; give one of the two"),
        (("--task", f"{CARROT}@three"), "there is no scene three; choose one of: 1, 2, 3"),
    ):
        status, result = run(capsys, *words, "--out", str(tmp_path / "demos"))
        assert status == 2
        assert said in str(result["error"])


def test_one_seed_may_be_recorded_in_every_scene_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = (
        "--task",
        CARROT,
        "--episodes",
        "1",
        "--workers",
        "1",
        "--camera",
        "none",
        "--out",
        str(tmp_path / "demos"),
    )
    for scene in ("3", "5"):
        status, result = run(capsys, *common, "--scene", scene)
        assert (status, result.get("successes")) == (0, 1), result
    status, result = run(capsys, *common, "--scene", "5")
    assert status == 2
    assert "go on with --seed 1" in str(result["error"])
    episodes = DemoStore(tmp_path / "demos").source().episodes
    assert len(episodes) == 2


def test_rlds_is_written_at_once_and_holds_what_a_store_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow_datasets", reason="writing RLDS needs the extra rlds")
    # workers draw, not this process: Mesa's software renderer and TensorFlow, which other tests load, end each other
    words = ("--task", CARROT, "--scene", "3", "--episodes", "2", "--workers", "2", "--image-size", "32")
    assert run(capsys, *words, "--out", str(tmp_path / "store"))[0] == 0
    rlds = (*words, "--format", "rlds", "--out", str(tmp_path / "rlds"))
    status, result = run(capsys, *rlds)
    assert (status, result["episodes"], result["out"]) == (0, 2, str(tmp_path / "rlds" / "1.0.0"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rlds", "store"]
    (shard,) = (tmp_path / "rlds" / "1.0.0").glob("*.tfrecord*")
    assert str(tmp_path).encode() not in shard.read_bytes()
    one, other = DemoStore(tmp_path / "store").source(), robot_pt_data.open(tmp_path / "rlds" / "1.0.0")
    np.testing.assert_array_equal(one.actions, other.actions)
    np.testing.assert_array_equal(one.images([0, 5], "primary"), other.images([0, 5], "primary"))
    assert list(other.episodes.task) == [CARROT] * 2
    status, result = run(capsys, *rlds)
    assert (status, "nothing is appended to RLDS" in str(result["error"])) == (2, True)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, UserError])
def test_what_a_stop_leaves_of_rlds_is_kept_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    pytest.importorskip("tensorflow_datasets", reason="writing RLDS needs the extra rlds")

    def stopped(*_: object, **__: object) -> None:
        raise stop("the renderer is gone." if stop is UserError else "")

    monkeypatch.setattr(collect.datasets, "export", stopped)
    words = ("--task", CARROT, "--episodes", "1", "--workers", "1", "--camera", "none", "--format", "rlds")
    status, result = run(capsys, *words, "--out", str(tmp_path / "rlds"))
    assert status == (2 if stop is UserError else 130)
    kept = tmp_path / "rlds.demos"
    assert f"robot-pt data export {kept} --out {tmp_path / 'rlds'} writes it" in str(result["error"])
    assert len(DemoStore(kept)) == 1
    status, result = run(capsys, *words, "--out", str(tmp_path / "rlds"))
    assert f"{kept} holds what a run recorded that was ended before" in str(result["error"])
    assert f"robot-pt data export {kept} --out {tmp_path / 'rlds'} writes that" in str(result["error"])


def test_without_what_writes_rlds_nothing_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "find_spec", lambda name: None)
    status, result = run(capsys, "--task", CARROT, "--format", "rlds", "--out", str(tmp_path / "rlds"))
    assert status == 2
    assert "rlds" in str(result["error"])
    assert not list(tmp_path.iterdir())


def test_a_damaged_episode_of_before_is_no_reason_to_call_a_recording_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "--task",
        CARROT,
        "--episodes",
        "1",
        "--workers",
        "1",
        "--camera",
        "none",
        "--out",
        str(tmp_path / "demos"),
    )
    assert run(capsys, *words)[0] == 0
    for chunk in (tmp_path / "demos" / "000000" / "actions").glob("c*"):
        chunk.unlink()
    status, result = run(capsys, *words, "--seed", "1")
    assert (status, result["episodes"], result["store_episodes"]) == (0, 1, 2)


def test_an_unknown_scene_makes_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = run(capsys, "--task", CARROT, "--scene", "9", "--out", str(tmp_path / "demos"))
    assert status == 2
    assert "choose one of: 1, 2, 3, 4, 5, 6" in str(result["error"])
    assert not (tmp_path / "demos").exists()


def test_a_store_of_another_version_of_the_kitchens_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = kitchen_spec(find_kitchen(CARROT), ("primary",), (64, 64))
    store = DemoStore.create(tmp_path / "demos", spec)
    last = np.array([False, True])
    store.append(
        Episode(
            spec=spec, images={"primary": np.zeros((2, 64, 64, 3), np.uint8)}, proprio=np.zeros((2, 7), np.float32),
            actions=np.zeros((2, 7), np.float32), rewards=np.zeros(2, np.float32), terminated=last, truncated=~last & last,
            task=CARROT, success=True, metadata={"seed": 0, "controller": {"twin": TWIN_VERSION + 1}},
        )
    )  # fmt: skip
    status, result = run(capsys, "--task", CARROT, "--seed", "50", "--out", str(store.path))
    assert status == 2
    assert f"version {TWIN_VERSION + 1} of the kitchens and this is version {TWIN_VERSION}" in str(result["error"])


def test_starts_out_of_reach_are_told_and_not_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scene 2 with its free part of the counter where the arm ends: beyond it, or partly. Played here, where the scene is changed."""
    monkeypatch.setattr(collection, "run_jobs", lambda *of, what, apart: run_jobs(*of, what=what))
    common = ("--task", "kitchen/put-lemon-on-plate", "--scene", "2", "--workers", "1", "--camera", "none")
    for name, nearest in (("none", 0.48), ("some", 0.22)):
        free, stove = Box((nearest, 0.56), (0.22, 0.40)), Box((0.15, 0.2), (0.3, 0.35))
        monkeypatch.setitem(LAYOUTS, 2, replace(LAYOUTS[2], free=free, stove=stove))  # type: ignore[call-overload]
        status, result = run(capsys, *common, "--episodes", "6", "--out", str(tmp_path / name))
        recorded = len(DemoStore(tmp_path / name).episodes) if name == "some" else 0
        if name == "none":
            assert status == 2
            assert not (tmp_path / name).exists()  # an empty store would hold whoever names it again to its cameras
            assert "no start of kitchen/put-lemon-on-plate@2 could be recorded; seed 0: the arm stays" in str(
                result["error"]
            )
        else:
            assert (status, recorded, result["unreachable"]) == (0, result["episodes"], 6 - recorded)
            assert 0 < recorded < 6
            store = DemoStore(tmp_path / name)
            assert next_seed(store, 0) >= recorded  # a start that was left out is not met again
            status, _ = run(
                capsys, *common, "--episodes", "4", "--seed", str(next_seed(store, 0)), "--out", str(store.path)
            )
            assert status == 0
