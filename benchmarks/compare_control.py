"""What of RL's gain in compare.py is more updates: its cells again, with as many, where nothing of the episodes is learned from.

    python benchmarks/compare_control.py --methods random-frozen,atc --tasks lift-purple --seeds 3   cells that are not there yet, then tables
    python benchmarks/compare_control.py --cells 0                                                   the tables of what compare.json holds

Each cell imitates, then plays as many episodes as RL did and makes an update per step of them, every batch from the demonstrations alone. It takes the
encoders of compare.py --online in the same --out, and 60 s of a core (a cube) or 110 s (the door). Its cells are in compare.json too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from unittest import mock

import compare as script
import compare_record
import torch

from robot_pt.comparison import Protocol, read_protocol
from robot_pt.comparison.protocol import Cell, Outcome
from robot_pt.comparison.scores import RANDOM_FROZEN
from robot_pt.errors import UserError
from robot_pt.online.replay import OnlineReplay
from robot_pt.recipes import compare, heads
from robot_pt.recipes.compare_cells import Bench
from robot_pt.schema import Episode

ONLINE = 30


class Deaf(OnlineReplay):
    """Learns nothing of what comes, so that the demonstrations fill every batch."""

    def append(self, episode: Episode, folder: Path) -> int:
        return len(self.columns(episode)["row"])


def run(protocol: Protocol, out: Path, cells: Sequence[Cell], minutes: float) -> None:
    """What is not there yet of `cells`, until the time is over."""
    ends = time.monotonic() + 60 * minutes
    with (
        mock.patch.object(heads, "OnlineReplay", Deaf),
        closing(Bench(protocol, out, {}, sorted({c.method for c in cells}), workers=1)) as bench,
    ):
        for cell in cells:
            if time.monotonic() >= ends:
                break
            compare._run([cell], bench)


def beyond(control: Sequence[Outcome], improved: Sequence[Outcome]) -> list[Outcome]:
    """Of the cells that both have: successes after the control as those before, those after RL as those after."""
    after = {o.cell: o.online_successes for o in improved}
    return [
        replace(o, successes=o.online_successes, online_successes=after[o.cell])
        for o in control
        if o.online_successes is not None and after.get(o.cell) is not None
    ]


def said(control: Sequence[Outcome], improved: Sequence[Outcome], tasks: Sequence[str]) -> str:
    """Successes by cell after imitation, after the control and after RL; what updates add, and what RL adds to those."""
    after = {o.cell: o.online_successes for o in improved}
    lines = ["| | task | seed | imitation | as many updates | RL |", "|---" * 6 + "|"]
    for o in sorted(control, key=lambda o: (o.cell.task, o.cell.method != RANDOM_FROZEN, o.cell)):
        lines.append(
            f"| {o.cell.method} | {o.cell.task} | {o.cell.seed} | {o.successes} | {o.online_successes} | {after.get(o.cell, 'not run')} |"
        )
    updates, episodes = script.gained(control, tasks), script.gained(beyond(control, improved), tasks)
    return "\n".join([*lines, "updates alone add:", updates, "RL adds to that:", episodes])


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default=f"{RANDOM_FROZEN},atc", help="comma-separated")
    parser.add_argument("--tasks", default="lift-purple", help="comma-separated")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--cells", type=float, default=60, help="minutes for cells; 0 draws the tables of what is there"
    )
    parser.add_argument("--online", type=int, default=ONLINE, help="episodes")
    parser.add_argument("--steps", type=int, default=script.PRETRAIN_STEPS, help="updates of pretraining")
    parser.add_argument("--out", type=Path, default=script.RESULTS)
    parser.add_argument("--record", type=Path, default=compare_record.RECORD)
    return parser.parse_args()


def main() -> None:
    options = asked()
    torch.set_num_threads(1)
    plain = replace(read_protocol(), pretrain_steps=options.steps, head_updates=script.HEAD_UPDATES, demos=script.DEMOS)
    protocol, key = replace(plain, online_episodes=options.online), f"{options.online}-control"
    tasks, methods = options.tasks.split(","), options.methods.split(",")
    if unknown := sorted(set(methods) - {*script.METHODS, RANDOM_FROZEN}) + sorted(set(tasks) - set(protocol.tasks)):
        raise SystemExit(f"there is no {unknown[0]!r} here; see --help of compare.py for methods and tasks.")
    try:
        compare._keep(options.out, plain)
        out = script.beside(options.out, protocol, "control")
        compare_record.exchange_cells(options.record, out, protocol, lay=True, key=key)
        demos = max(protocol.demos)
        cells = [Cell(m, task, demos, seed) for seed in range(options.seeds) for task in tasks for m in methods]
        run(protocol, out, cells, options.cells)
        compare_record.exchange_cells(options.record, out, protocol, lay=False, key=key)
        record = compare_record.read_record(options.record, protocol)
        improved = compare_record.recorded(record, str(options.online))
        control = compare_record.recorded(record, key)
        print(said(control, improved, [t for t in protocol.tasks if any(o.cell.task == t for o in control)]))
    except UserError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
