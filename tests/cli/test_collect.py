"""`robot-pt collect` into a store: no start twice, and a disk that fills up midway."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from robot_pt import cli
from robot_pt.schema import Episode
from robot_pt.store import DemoStore
from robot_pt_sim.panda import panda_spec


def recorded(seed: int, task: str = "lift-red") -> Episode:
    spec = panda_spec(("primary",), (64, 64))
    last = np.array([False, True])
    return Episode(
        spec=spec, images={"primary": np.zeros((2, 64, 64, 3), np.uint8)}, proprio=np.zeros((2, 7), np.float32),
        actions=np.zeros((2, 7), np.float32), rewards=np.zeros(2, np.float32), terminated=last, truncated=~last & last, task=task,
        success=True, metadata={"seed": seed},
    )  # fmt: skip


def test_starts_that_are_there_are_not_recorded_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = DemoStore.create(tmp_path / "demos", recorded(0).spec)
    for seed in (3, 4, 5):
        store.append(recorded(seed))
    store.append(recorded(9, "lift-blue"))
    for seed, episodes in (("0", "4"), ("5", "1"), ("4", "9")):
        arguments = ["collect", "--task", "lift-red", "--out", str(store.path), "--seed", seed, "--episodes", episodes]
        assert cli.main([*arguments, "--json"]) == 2
        error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
        assert "holds lift-red from seed" in error
        assert "go on with --seed 6" in error
    assert len(store) == 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--task", "lift-red", "--image-size", "32"], "holds episodes with cameras {'primary': (64, 64)}, this one has"),
        (["--task", "lift-red", "--camera", "none"], "holds episodes with cameras"),
        (["--task", "maze-u", "--camera", "none"], "holds episodes with"),
        ([], "needs --task"),
        (["--task", "lift-red", "--image-size", "15"], "--image-size is 15; give 16 to 2048 pixels."),
        (["--task", "lift-red", "--image-size", "2049"], "--image-size is 2049; give 16 to 2048 pixels."),
    ],
)  # fmt: skip
def test_what_the_store_cannot_take_is_refused_before_anything_is_played(
    tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    def played(*_: object, **__: object) -> None:
        raise AssertionError("episodes were played that no store takes")

    monkeypatch.setattr("robot_pt_sim.collect", played)
    store = DemoStore.create(tmp_path / "demos", recorded(0).spec)
    assert cli.main(["collect", *options, "--out", str(store.path), "--seed", "7", "--json"]) == 2
    assert sentence in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert len(store) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB, room for about three episodes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"a small disk needs mount: {error}")
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
def test_a_disk_that_fills_up_while_collecting_loses_nothing_earlier(small_disk: Path) -> None:
    out = small_disk / "demos"

    def collect(*more: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "robot_pt",
            "collect",
            "--task",
            "lift-red",
            "--out",
            str(out),
            "--workers",
            "1",
            "--json",
        ]
        return subprocess.run(
            [*command, *more], capture_output=True, text=True, timeout=250, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )  # fmt: skip

    full = collect("--episodes", "12")
    assert full.returncode == 2, full.stderr[-800:]
    assert "Traceback" not in full.stderr
    error = json.loads(full.stdout.splitlines()[-1])["error"]
    assert "No space left on device; what was there before is intact" in error
    assert error.count(". ") == 0, "one sentence"
    store = DemoStore(out)
    kept = len(store)
    assert 1 <= kept < 12
    assert not list(out.glob("*.part"))
    assert store.recover(check_all=True) == ([], {})
    assert [store.read(name).metadata["seed"] for name in store.episodes] == list(range(kept))
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    more = collect("--episodes", "1", "--seed", str(kept))
    assert more.returncode == 0, more.stderr[-800:]
    assert json.loads(more.stdout.splitlines()[-1])["store_episodes"] == kept + 1
