"""`robot-pt data` on videos, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import robot_pt_data
from robot_pt import cli
from tests.data.video.ego4d_files import Ego4d
from tests.data.video.video_files import Clip, number_of, write_video


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    assert cli.main([*map(str, arguments), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_index_inspect_and_cache_of_an_ego4d_folder(
    ego4d: Ego4d, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = tmp_path / "reading.toml"
    mapping.write_text('annotations = "fho"\nrate_hz = 10\n')
    indexed = run(capsys, "data", "index", ego4d.root, "--mapping", mapping)
    assert (indexed["dataset"], indexed["episodes"], indexed["skipped"]) == ("ego4d", 4, [])
    inspected = run(capsys, "data", "inspect", ego4d.root, "--mapping", mapping)
    assert inspected["control_hz"] == 10
    assert isinstance(inspected["video"], dict)
    assert inspected["video"]["captioned"] == 4
    out = tmp_path / "cache"
    cached = run(
        capsys, "data", "cache", ego4d.root, "--out", out, "--mapping", mapping, "--size", 48, "--encoding", "jpeg"
    )
    assert cached["frames"] == indexed["steps"] == 70
    source = robot_pt_data.open(out)
    assert source.images(np.array([0, 69]), "primary").shape == (2, 48, 48, 3)
    assert source.episodes.instruction == ["C picks a knife", "C cuts the bread"] * 2


def test_damage_is_named_at_the_end_or_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "films" / "good.mp4", Clip(frames=30))
    (tmp_path / "films" / "torn.mp4").write_bytes(b"\0" * 100)
    assert cli.main(["data", "index", str(tmp_path / "films")]) == 2
    assert "torn.mp4 is no readable video" in " ".join(capsys.readouterr().err.split())
    indexed = run(capsys, "data", "index", tmp_path / "films", "--skip-corrupt")
    assert indexed["episodes"] == 1
    assert isinstance(indexed["skipped"], list)
    assert len(indexed["skipped"]) == 1


def test_videos_are_no_robot_data_to_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_video(tmp_path / "film.mp4", Clip(frames=60))
    assert cli.main(["data", "export", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "have no actions (videos)" in " ".join(capsys.readouterr().err.split())
    assert number_of(robot_pt_data.open(path).images(np.array([3]), "primary")[0]) == 18
