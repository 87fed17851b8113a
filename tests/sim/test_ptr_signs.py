"""benchmarks/ptr_signs.py: what goes along with success between rows is told apart from what does between a row's seeds."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ptr_signs


def cell(method: str, seed: int, at_grasp: float, successes: int, task: str = "kitchen/a@5") -> dict[str, object]:
    return {
        "version": "state", "method": method, "task": task, "seed": seed, "successes": successes, "episodes": 50, "selected": 20,
        "critic": {"at_grasp": at_grasp, "elsewhere": at_grasp, "rise": at_grasp, "steps_at_grasp": 20},
        "checkpoints": [{"step": 10, "action_error": 9.0}, {"step": 20, "action_error": 1 - at_grasp}],
    }  # fmt: skip


OPPOSED = [
    cell("ptr", 0, 0.5, 1), cell("ptr", 1, 0.75, 5), cell("ptr", 2, 1.0, 9),
    cell("ptr-fast", 0, 0.0, 20), cell("ptr-fast", 1, 0.25, 24), cell("ptr-fast", 2, 0.5, 28),
]  # fmt: skip
"""Within a row the more accurate critic succeeds more often; the row of the less accurate ones succeeds more often."""


def test_rows_and_seeds_are_told_apart() -> None:
    cells = ptr_signs.signed([*OPPOSED, {**cell("bc", 0, 0.0, 9), "critic": None}, cell("level-ratio-0", 0, 0.5, 9)])
    assert len(cells) == 6, "neither a clone nor an ablation"
    assert ptr_signs.between_rows(cells, "at_grasp") == pytest.approx(-1)
    found, count = ptr_signs.between_seeds(cells, "at_grasp")
    assert found == pytest.approx(1)
    assert count == 6
    assert ptr_signs.between_seeds(cells, "action_error")[0] == pytest.approx(-1)


def test_a_cell_alone_in_its_row_and_target_says_nothing_between_seeds() -> None:
    alone = cell("ptr", 0, 0.1, 50, "kitchen/b@6")
    cells = ptr_signs.signed([*OPPOSED, alone])
    assert ptr_signs.between_seeds(cells, "at_grasp") == ptr_signs.between_seeds(cells[:-1], "at_grasp")


def test_rows_are_compared_on_the_targets_that_all_have() -> None:
    easy = [cell("ptr", seed, 0.5, 50, "kitchen/open-door@5") for seed in range(3)]
    cells = ptr_signs.signed([*OPPOSED, *easy])
    assert ptr_signs.comparable(cells) == ptr_signs.signed(OPPOSED)
    assert ptr_signs.between_seeds(cells, "at_grasp")[1] == 9, "seeds are compared on every target"


def test_rows_pool_steps_and_episodes_the_most_successful_first() -> None:
    first, second = ptr_signs.rows(ptr_signs.signed(OPPOSED))
    assert first.startswith(
        "| PTR, advantage-weighted, state | 25 (16 to 37) of 60 | 25 | 0.25 | 0.750 | 48 (40 to 56), 3 |"
    )
    assert second.startswith("| PTR, held near the data, state | 75 (63 to 84) of 60 |")


def test_kept_cells_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept.json").write_text(json.dumps(OPPOSED))
    monkeypatch.setattr(sys, "argv", ["ptr_signs.py", str(tmp_path / "kept.json")])
    ptr_signs.main()
    said = capsys.readouterr().out
    assert "| at_grasp | -1.00 (" in said
    assert ", 6 cells |" in said
