"""`pretrain --objective` on a folder laid out as Ego4D: what needs no actions learns from it, and PTR starts from each result."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robot_pt.policy import Policy
from robot_pt.recipes.objectives import ACTING, OBJECTIVES, without_actions
from robot_pt.safe_files import read_json
from tests.cli.test_represent import SHORT, starts
from tests.cli.test_runs import run, store

VIDEO = without_actions()


@pytest.fixture(scope="module")
def ego4d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("av", reason="writing videos takes PyAV: the extra [video]")
    from tests.data.video.ego4d_files import write_ego4d

    return write_ego4d(tmp_path_factory.mktemp("ego4d") / "ego4d_data").root


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("data") / "robot", "lift-red", 6)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "r3m" else pytest.mark.slow) for name in VIDEO]
)
def test_narrated_video_makes_an_encoder_that_ptr_starts_from(name, ego4d, robot, tmp_path, capsys) -> None:
    code, result, said = run(
        "pretrain", "--objective", name, "--data", ego4d, "--out", tmp_path / "r", *SHORT, "--image-size", 32, capsys=capsys
    )  # fmt: skip
    assert code == 0, result
    assert "captions and the data has NONE" not in said, "R3M reads the narrations"
    assert np.isfinite(result["metrics"]["objective/loss"])
    assert read_json(tmp_path / "r" / "latest" / "encoder.json")["data"][0]["episodes"] > 4, "a clip per narration"
    code, told, _ = starts(tmp_path / "r", robot, tmp_path / "ptr", capsys=capsys)
    assert code == 0, told
    assert Policy.load(tmp_path / "ptr").record.network["encoder"]["name"] == "small"


@pytest.mark.parametrize("name", sorted({*OBJECTIVES, *ACTING} - {*VIDEO}))
def test_what_learns_from_actions_says_so_and_names_those_that_do_not(name, ego4d, tmp_path, capsys) -> None:
    code, result, _ = run(
        "pretrain", "--objective", name, "--data", ego4d, "--out", tmp_path / "r", *SHORT, "--image-size", 32, capsys=capsys
    )  # fmt: skip
    assert code == 2
    assert "actions, which" in result["error"]
    assert "one of curl, mae, atc, siammae, r3m, vip, icvf" in result["error"]
    assert not (tmp_path / "r").exists()


def test_damage_is_gone_around_by_choice_and_told_at_the_end(ego4d, tmp_path, capsys) -> None:
    """A file that is cut off, one that is not there, and pictures that turn out damaged while they are trained on."""
    from tests.data.video.ego4d_files import ORDINARY, write_ego4d
    from tests.data.video.test_damage import damage_after
    from tests.data.video.video_files import cut_off

    data = write_ego4d(tmp_path / "data", videos=4, kinds=("narrations",), clip=replace(ORDINARY, crf=5))
    cut, absent, spoiled, _ = (data.file(video) for video in data.videos)
    cut_off(cut, 0.5)
    absent.unlink()
    learn = ["pretrain", "--objective", "atc", "--data", data.root, "--out", tmp_path / "r", *SHORT, "--image-size", 32]
    code, result, _ = run(*learn, capsys=capsys)
    assert code == 2
    assert f"{cut.name} is no readable video" in result["error"]
    assert f"names {absent.stem}, of which no file is there" in result["error"]
    assert run("data", "index", data.root, "--skip-corrupt", capsys=capsys)[0] == 0
    times = spoiled.stat().st_mtime_ns
    for share in np.arange(0.1, 0.95, 0.1):
        damage_after(spoiled, share)
    os.utime(spoiled, ns=(times, times))  # as if the disk had done it
    code, result, said = run(*learn, "--steps", 3, "--skip-corrupt", capsys=capsys)
    assert code == 0, result
    assert f"{spoiled.name} (at " in said
    told = " ".join(result["left_out"])
    assert all(path.stem in told for path in (cut, absent, spoiled))
    page = (tmp_path / "r" / "report.html").read_text()
    assert all(path.stem in page for path in (cut, absent, spoiled))


def test_they_are_those_that_are_named_where_another_objective_refuses_video() -> None:
    assert VIDEO == ["curl", "mae", "atc", "siammae", "r3m", "vip", "icvf"]
