"""Annotations that are not as the release has them: whatever stands where, a clip more or less, or an error in a sentence."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import robot_pt_data
from robot_pt.errors import UserError
from tests.data.video.ego4d_files import Ego4d

pytestmark = pytest.mark.filterwarnings("ignore:.*left out:UserWarning")

ODD: list[Any] = [
    None, True, 0, -1, 1e308, float("nan"), float("inf"), 10**30, "", "x", "\ud800", "\0", "#C", "#C C opens", "a" * 5000, [], [1], [[]],
    [None], [{}], {}, {"a": 1}, {"narrations": None}, {"narrations": [{}]},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a document."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def spoiled(document: Any, rng: random.Random) -> Any:
    """One value another, one gone, or one under another name."""
    out = copy.deepcopy(document)
    *way, last = rng.choice(list(places(out))[1:])
    inner = out
    for key in way:
        inner = inner[key]
    what = rng.random()
    if what < 0.2:
        del inner[last]
    elif what < 0.3 and isinstance(inner, dict):
        inner[rng.choice(["", "../x", "a/b"])] = inner.pop(last)
    else:
        inner[last] = rng.choice(ODD)
    return out


def kind_of(file: Path, rng: random.Random) -> str:
    named = {"narration": "narrations", "fho_main": "fho", "fho_lta": "lta", "fho_oscc": "oscc"}
    return next((k for name, k in named.items() if file.name.startswith(name)), rng.choice(["narrations", "fho"]))


def opened(root: Path, count: int, seed: int) -> tuple[int, int]:
    """(read, refused) of `count` folders with one of their files spoiled."""
    rng, read, refused = random.Random(seed), 0, 0
    files = [*sorted(root.glob("*/annotations/*.json")), root / "ego4d.json"]
    for _ in range(count):
        file = rng.choice(files)
        sound = file.read_text()
        file.write_text(json.dumps(spoiled(json.loads(sound), rng)))
        mapping = {"annotations": kind_of(file, rng), "videos": rng.choice(["auto", "clips"])}
        try:
            source = robot_pt_data.open(root, "all", mapping=mapping, skip_corrupt=rng.random() < 0.7)
            assert len(source.episodes) > 0
            read += 1
        except UserError:
            refused += 1
        file.write_text(sound)
    return read, refused


def test_odd_annotations_end_in_declared_errors_only(ego4d: Ego4d, tmp_path: Path) -> None:
    root = Path(shutil.copytree(ego4d.root, tmp_path / "data"))
    read, refused = opened(root, 60, seed=0)
    assert read > 20
    assert refused > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_many_odd_annotations_end_in_declared_errors_only(ego4d: Ego4d, tmp_path: Path, seed: int) -> None:
    assert sum(opened(Path(shutil.copytree(ego4d.root, tmp_path / "data")), 700, seed)) == 700


def test_uids_that_are_no_text(ego4d: Ego4d, tmp_path: Path) -> None:
    root = Path(shutil.copytree(ego4d.root, tmp_path / "data"))
    values = json.loads((root / "ego4d.json").read_text())
    values["clips"][0]["clip_uid"], values["clips"][1]["video_uid"] = [[]], {"a": 1}
    (root / "ego4d.json").write_text(json.dumps(values))
    assert len(robot_pt_data.open(root, "all", skip_corrupt=True).episodes) > 4
