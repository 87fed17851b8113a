"""benchmarks/ablations.py: each ablation changes what it says and nothing else; cells by name; the table from results on disk."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from robot_pt.errors import UserError
from robot_pt.rewards import RewardLabel

PATH = Path(__file__).parents[2] / "benchmarks" / "ablations.py"


@pytest.fixture(scope="module")
def ablations():
    spec = importlib.util.spec_from_file_location("ablations_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def flat(values, prefix=""):
    out = {}
    for name, value in values.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return out


CHANGES = {
    "published": {},
    "batch-norm": {"encoder.norm": "batch"},
    "average": {"encoder.pooling": "average"},
    "softmax": {"encoder.pooling": "spatial_softmax"},
    "one-feed": {"ptr.refeed_actions": False},
    "rewards-0-1": {
        "reward.scale": 1.0, "reward.shift": 0.0, "ptr.advantage_temperature": 8 / 11, "ptr.conservative_floor": -8 / 11,
    },
    "resnet18": {"encoder.name": "resnet18"},
    "resnet34": {"encoder.name": "resnet34"},
    "resnet50": {"encoder.name": "resnet50"},
    "alpha-0": {"ptr.alpha": 0.0},
    "alpha-10": {"ptr.alpha": 10.0},
    "ratio-0": {},
    "ratio-50": {},
    "ratio-90": {},
}  # fmt: skip


def test_each_changes_what_it_says_and_nothing_else(ablations):
    base = flat(ablations.settings_of(ablations.ABLATIONS["published"], 7, 3).to_json())
    assert base["reward.scale"] == RewardLabel().scale
    assert (base["seed"], base["ptr.bc_warm_start_steps"]) == (3, 7)
    found = {}
    for name, change in ablations.ABLATIONS.items():
        values = flat(ablations.settings_of(change, 7, 3).to_json())
        found[name] = {k: v for k, v in values.items() if v != base[k]}
    assert found == CHANGES
    ratios = {name: change.ratio for name, change in ablations.ABLATIONS.items() if change.ratio != ablations.RATIO}
    assert ratios == {"ratio-0": 0.0, "ratio-50": 0.5, "ratio-90": 0.9}


def test_cells_by_name(ablations):
    assert ablations.cells_of("average:2,ratio-0:0", range(3)) == [("average", 2), ("ratio-0", 0)]
    every = ablations.cells_of("", range(2))
    assert len(every) == len(set(every)) == 2 * len(ablations.ABLATIONS)
    for wrong in ("avrage:0", "average", "average:x"):
        with pytest.raises(UserError, match="is no NAME:SEED"):
            ablations.cells_of(wrong, range(1))


def test_the_table_tells_runs_of_other_lengths_and_gaps(ablations, tmp_path):
    def write(name, seed, successes, updates):
        folder = tmp_path / "cells" / f"{name}-{seed}"
        folder.mkdir(parents=True)
        result = {"ablation": name, "seed": seed, "successes": successes, "episodes": 50, "updates": updates}
        (folder / "result.json").write_text(json.dumps(result))

    whole = list(ablations.UPDATES)
    for seed, (ours, base) in enumerate(((40, 20), (45, 25))):
        write("average", seed, ours, whole)
        write("published", seed, base, whole)
    write("softmax", 0, 50, [2, 1])
    rows = {line.split(" | ")[0].strip("| "): line for line in ablations.table(tmp_path).splitlines()[2:]}
    assert len(rows) == len(ablations.ABLATIONS)
    average, softmax = (rows[ablations.ABLATIONS[name].title] for name in ("average", "softmax"))
    assert "| 2 | 85 (77 to 91) | 40 of 50, 45 of 50 | 1.00 |" in average
    assert "not run (`--cells softmax:0`)" in softmax
    assert "45 (36 to 55)" in rows[ablations.ABLATIONS["published"].title]


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("ablations", ["--cells", "nope:0"], "--cells nope:0 is no NAME:SEED"),
        ("selection", ["nowhere", "--task", "maze-u"], "nowhere has no selection.json"),
    ],
)
def test_a_mistake_is_a_sentence(script: str, words: list[str], said: str) -> None:
    path = Path(__file__).parents[2] / "benchmarks" / f"{script}.py"
    done = subprocess.run([sys.executable, path, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(said)
