"""What of a cell's critic foretells how often its policy succeeds: benchmarks/ptr_state.json and ptr_aimed.json read again, nothing trained.

    python benchmarks/ptr_signs.py                 the repository's cells; or name .json files that --kept of benchmarks/ptr.py wrote

prints the critic of every row, over its cells of the targets that all rows have, and the rank correlation of each sign with success: between
rows (of their means there), and between the seeds of one row and target, over all targets, which differ by chance alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from compare_record import rank_correlation
from ptr_cell import ABLATIONS, METHODS
from ptr_table import succeeded

from robot_pt.intervals import wilson

HERE = Path(__file__).parent
FILES = (HERE / "ptr_state.json", HERE / "ptr_aimed.json")
SIGNS = ("at_grasp", "elsewhere", "rise", "action_error")
"""Of the critic on held-out demonstrations (`ptr_critic.accuracy`), and the policy's error there, all of the selected checkpoint."""
RESAMPLES = 2000


class Signed(NamedTuple):
    """A cell that has a critic."""

    row: tuple[str, str]
    """Version and method."""
    task: str
    signs: Mapping[str, float]
    steps_at_grasp: int
    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        return self.successes / self.episodes


def signed(cells: Sequence[Mapping[str, Any]]) -> list[Signed]:
    """Without ablations, with which one row would count several times."""
    return [
        Signed(
            (c["version"], c["method"]), c["task"],
            {**{name: c["critic"][name] for name in SIGNS[:3]}, "action_error": _error(c)},
            c["critic"]["steps_at_grasp"], succeeded(c), c["episodes"],
        )
        for c in cells if c["critic"] is not None and c["method"] not in ABLATIONS
    ]  # fmt: skip


def _error(cell: Mapping[str, Any]) -> float:
    return float(next(c["action_error"] for c in cell["checkpoints"] if c["step"] == cell["selected"]))


def comparable(cells: Sequence[Signed]) -> list[Signed]:
    """Those of the targets that every row has: one target is easier than another."""
    of = [{c.task for c in row} for row in _grouped(cells, lambda c: c.row).values()]
    return [c for c in cells if c.task in set.intersection(*of)]


def rows(cells: Sequence[Signed]) -> list[str]:
    """A line of the table per row, the most successful first; Wilson's intervals [%]."""
    groups = _grouped(cells, lambda c: c.row)
    said = []
    for (version, method), of in sorted(groups.items(), key=lambda g: -float(np.mean([c.rate for c in g[1]]))):
        steps = sum(c.steps_at_grasp for c in of)
        right = round(sum(c.signs["at_grasp"] * c.steps_at_grasp for c in of))
        others = [float(np.mean([c.signs[name] for c in of])) for name in SIGNS[1:]]
        said.append(
            f"| {METHODS[method].title}, {version} | {_percent(right, steps)} of {steps} | {100 * others[0]:.0f} | {others[1]:.2f} "
            f"| {others[2]:.3f} | {_percent(sum(c.successes for c in of), sum(c.episodes for c in of))}, {len(of)} |"
        )
    return said


def _percent(count: int, of: int) -> str:
    low, high = wilson(count, of)
    return f"{100 * count / of:.0f} ({100 * low:.0f} to {100 * high:.0f})"


def between_rows(cells: Sequence[Signed], sign: str) -> float:
    """Rank correlation of a row's mean sign with its mean success."""
    groups = _grouped(cells, lambda c: c.row).values()
    return rank_correlation(
        [float(np.mean([c.signs[sign] for c in of])) for of in groups],
        [float(np.mean([c.rate for c in of])) for of in groups],
    )


def between_seeds(cells: Sequence[Signed], sign: str) -> tuple[float, int]:
    """Of what each cell lies above the mean of its row and target, and from how many cells; those alone in theirs say nothing."""
    groups = [of for of in _grouped(cells, lambda c: (c.row, c.task)).values() if len(of) > 1]
    # rounded, or what is equal would be ranked by its last bit
    above = [
        (round(c.signs[sign] - _mean(of, sign), 9), round(c.rate - float(np.mean([o.rate for o in of])), 9))
        for of in groups
        for c in of
    ]
    return rank_correlation(*zip(*above, strict=True)), len(above)


def spread(
    cells: Sequence[Signed], found: Callable[[Sequence[Signed]], float], key: Callable[[Signed], Any]
) -> tuple[float, float]:
    """95 % of `found` over resampled groups of cells, those of one `key` together: they are not independent."""
    groups, rng = list(_grouped(cells, key).values()), np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        # a group drawn twice is two groups, so its copies are told apart
        again = [
            c._replace(row=(c.row[0], f"{c.row[1]}#{n}"))
            for n, g in enumerate(rng.integers(0, len(groups), len(groups)))
            for c in groups[g]
        ]
        with np.errstate(invalid="ignore"):  # one group alone: no correlation
            drawn.append(found(again))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _mean(of: Sequence[Signed], sign: str) -> float:
    return float(np.mean([c.signs[sign] for c in of]))


def _grouped(cells: Sequence[Signed], key: Callable[[Signed], Any]) -> dict[Any, list[Signed]]:
    groups: dict[Any, list[Signed]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="*", default=FILES)
    cells = signed([c for path in parser.parse_args().files for c in json.loads(path.read_text(encoding="utf-8"))])
    same = comparable(cells)
    print("| | right at grasps | elsewhere | rise | action error | success, cells |\n|---|---|---|---|---|---|")
    print("\n".join(rows(same)))
    print("\n| sign | between rows | between seeds |\n|---|---|---|")
    for sign in SIGNS:
        rows_low, rows_high = spread(same, lambda c, s=sign: between_rows(c, s), lambda c: c.row)
        low, high = spread(cells, lambda c, s=sign: between_seeds(c, s)[0], lambda c: (c.row, c.task))
        value, count = between_seeds(cells, sign)
        print(
            f"| {sign} | {between_rows(same, sign):.2f} ({rows_low:.2f} to {rows_high:.2f}) | {value:.2f} ({low:.2f} to {high:.2f}), {count} cells |"
        )


if __name__ == "__main__":
    main()
