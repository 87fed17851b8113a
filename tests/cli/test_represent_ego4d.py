"""`pretrain --objective` on a folder laid out as Ego4D: what needs no actions learns from it, and PTR starts from each result."""

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


def test_they_are_those_that_are_named_where_another_objective_refuses_video() -> None:
    assert VIDEO == ["curl", "mae", "atc", "siammae", "r3m", "vip", "icvf"]
