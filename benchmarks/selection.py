"""How much does a rule of checkpoint selection lose? Every checkpoint of finetuned runs plays the same starts; rules are judged by it.

    python benchmarks/selection.py runs/demo/ptr-finetune --task lift-purple --episodes 50 --out runs/selection
    python benchmarks/selection.py --table --out runs/selection          the table from what is there

RUN: of `robot-pt finetune`, or of `pretrain` with --target; it needs its selection.json, which holds what rules look at. Each checkpoint's
episodes are kept as they end: the same command goes on. The rules stand in `robot_pt.regret`, which says what the two losses mean.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robot_pt import checkpoint
from robot_pt.errors import DataError, UserError
from robot_pt.evaluate import PolicyFactory, load
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes.evaluate import play, policy_factory
from robot_pt.regret import RULES, Trials, regret
from robot_pt.safe_files import read_json, replace_json
from robot_pt.selection import Score, read_scores

ASKED = "asked.json"


def judge(run: Path, task: str, episodes: int, folder: Path, workers: int, view: str = "") -> None:
    """Play every checkpoint of `run` that has scores, a cell of `view` of benchmarks/ptr.py as that has it; logs in `folder`."""
    scores = read_scores(run)
    if not scores:
        raise DataError(f"{run} has no selection.json; give a run of robot-pt finetune.")
    folder.mkdir(parents=True, exist_ok=True)
    kept = [s for s in scores if s.step in checkpoint.steps(run)]
    asked = {"run": str(run), "task": task, "episodes": episodes, "scores": [s._asdict() for s in kept]}
    replace_json(folder / ASKED, asked)
    for score in kept:
        at = checkpoint.folder_of(run, score.step)
        document = read_json(at / "policy.json")
        play(
            acting(at, task, view), task, PolicyRecord.from_json(document), name=f"step-{score.step:08d}", episodes=episodes,
            seed=1, folder=folder, workers=workers, videos=False, settings={"checkpoint": document["version"]},
        )  # fmt: skip


def acting(folder: Path, task: str, view: str) -> PolicyFactory:
    """The checkpoint in `folder`."""
    if not view:
        return policy_factory(folder, task)
    from ptr_data import VIEWS  # needs the kitchens' simulator

    return VIEWS[view][1](folder)


def trials(folder: Path) -> Trials | None:
    """What lies in `folder`; None while it is not complete."""
    asked = read_json(folder / ASKED)
    logs = [folder / f"step-{s['step']:08d}.jsonl" for s in asked["scores"]]
    if not all(log.is_file() and log.read_bytes().count(b"\n") == asked["episodes"] + 1 for log in logs):
        return None
    success = np.array([[r.success for r in load(log).results] for log in logs])
    return Trials([Score(**s) for s in asked["scores"]], success)


def table(out: Path) -> str:
    """Markdown: the rates of every run's checkpoints, then what each rule loses."""
    found = {folder.name: trials(folder) for folder in sorted(p.parent for p in out.glob(f"*/{ASKED}"))}
    done = {name: of for name, of in found.items() if of is not None}
    lines = ["| run | successes by checkpoint, earliest first | rule takes |", "|---|---|---|"]
    first = next(iter(RULES.values()))
    for name, of in done.items():
        steps = [s.step for s in of.scores]
        taken = steps.index(next(iter(first(of.scores)))) + 1
        lines.append(
            f"| {name} | {', '.join(str(int(n)) for n in of.success_CN.sum(1))} of {of.success_CN.shape[1]} | number {taken} |"
        )
    lines += [
        "",
        "| rule | success | loses, oracle on the same episodes | loses, oracle on others |",
        "|---|---|---|---|",
    ]
    if done:
        for name, rule in RULES.items():
            r = regret(list(done.values()), rule)
            low, high = r.interval
            lines.append(
                f"| {name} | {100 * r.rate:.0f} | {100 * r.seen:.0f} | {100 * r.fresh:.0f} ({100 * low:.0f} to {100 * high:.0f}) |"
            )
    lines += [f"\nnot complete: {name}" for name, of in found.items() if of is None]
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--task", default="")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/selection"))
    parser.add_argument(
        "--view",
        choices=("aimed", "motion"),
        default="",
        help="--version of the cells of benchmarks/ptr.py that RUN are",
    )
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args(words)
    if not given.table:
        for run in given.runs:
            name = "-".join(run.resolve().parts[-2:])
            judge(run, given.task, given.episodes, given.out / name, given.workers, given.view)
    print(table(given.out))
    print(json.dumps({"episodes": given.episodes, "seed": 1}))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
