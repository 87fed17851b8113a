"""All objectives against random features, on two cores: what the small encoder holds after a short pretraining on simulated data.

    python benchmarks/compare.py                        pretrain and probe every objective, seeds 0 to 2; what is there is not run again
    python benchmarks/compare.py --table                the tables from what is there; nothing is trained
    python benchmarks/compare.py --cells 60             then cells of the protocol for about so many minutes; they go on where they stopped
    python benchmarks/compare.py --cells 0 --plot FILE  the table of cells, and their picture
    python benchmarks/compare.py --cells 60 --online 30 cells with so many episodes of RL after imitation, in a folder of their own
    ... --record                                        with what compare.json holds of earlier folders, which is not run again; new ones are added

Pretraining data is that of the protocol; probing data are episodes of six tasks from other starts, through two cameras. An encoder
takes half a minute (ATC) to 9 minutes (SiamMAE, Decision Transformer) of a core to train and 7 s to probe, a cell of the protocol 15 s,
60 s with RL, one from scratch five minutes. Several processes may share a folder and a record: each is at cells of its own, and waits for an encoder
that another one trains.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import compare_record
import numpy as np
import torch
from numpy.typing import NDArray

from robot_pt.comparison import Protocol, read_protocol
from robot_pt.comparison.protocol import Outcome
from robot_pt.comparison.scores import CONTROLS, FROM_SCRATCH, PERMUTED, RANDOM_ACTIONS, RANDOM_FROZEN
from robot_pt.errors import TrainingInterrupted, UserError
from robot_pt.features import Kind
from robot_pt.intervals import Interval
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.probes import MEASURES, Measure, probe_data
from robot_pt.recipes import compare, compare_data
from robot_pt.recipes.collect import collect
from robot_pt.recipes.compare_cells import Bench
from robot_pt.recipes.objectives import Objective
from robot_pt.recipes.origins import Origin
from robot_pt.recipes.probe import Found, Probed, Probing, charts
from robot_pt.recipes.turns import alone
from robot_pt.report import Report, write_report
from robot_pt.safe_files import replace_json
from robot_pt.sources import Concat, EpisodeSource
from robot_pt.store import DemoStore, is_demo_store

RESULTS = Path("runs/compare")
METHODS: tuple[str, ...] = get_args(Objective)
PRETRAIN_STEPS, HEAD_UPDATES, DEMOS = 500, 1000, (50,)
"""What two cores can do in place of the protocol's 3000 and 2000 updates, and of 10 demonstrations, from which nobody learns a task."""
PROBE_TASKS = ("lift-red", "lift-blue", "lift-purple", "lift", "door", "stack")
PROBE_SEED, PROBE_EPISODES = 200_000, 10
"""Starts of probing episodes, apart from all data that is trained on; how many of each task."""
CAMERAS = ("primary", "secondary")
CONTROL_SEEDS = 3
"""Random encoders at least: what they scatter by is what everything else is held against."""
SHARED = ("data", "encoders", "features")
"""What cells with RL after imitation have in common with those without."""
FORETELLING = ("object R2", "object error", "order", "retrieval")
SHOWN = ("object R2", "object error", "gripper R2", "tool R2", "order", "retrieval", "rank", "dormant")


def probing_data(protocol: Protocol, out: Path) -> EpisodeSource:
    """Mixed episodes of known and new colours, and of two other scenes."""
    parts: list[EpisodeSource] = []
    for number, task in enumerate(PROBE_TASKS):
        store = out / "data" / f"probing-{task}"
        with alone(store, f"probing data of {task}"):
            have = len(DemoStore(store)) if is_demo_store(store) else 0
            if have < PROBE_EPISODES:
                collect(
                    task, PROBE_EPISODES - have, store, quality="mixed", strength=compare_data.NOISE, image_size=protocol.image_size,
                    seed=PROBE_SEED + 1000 * number + have, cameras=CAMERAS,
                )  # fmt: skip
        parts.append(DemoStore(store).source())
    return Concat(parts)


def origin(protocol: Protocol, out: Path, method: str, seed: int, material: EpisodeSource) -> Origin:
    size = (protocol.image_size, protocol.image_size)
    if method == RANDOM_FROZEN:
        return Origin("random", EncoderConfig(name=protocol.encoder), protocol.camera, size, seed=seed)
    if method == PERMUTED:
        return origin(protocol, out, "idm", seed, material).spoilt(seed)
    return Origin.of(compare_data.pretrained(protocol, out, method, seed, material))


def run_probes(
    protocol: Protocol, out: Path, methods: Sequence[str], seeds: int, *, train: bool
) -> dict[str, list[Found]]:
    """Method -> what was found, by seed. A method that cannot be trained is left out, with its reason; without `train`, one that is not."""
    source, material = probing_data(protocol, out), compare_data.pretraining_data(protocol, out)
    probing = Probing(source, probe_data(source), out / "probes", other=CAMERAS[1])
    found: dict[str, list[Found]] = {}
    for seed in range(max(seeds, CONTROL_SEEDS)):
        for method in methods if seed < seeds else [RANDOM_FROZEN]:
            began, encoder = time.process_time(), out / "encoders" / f"{'idm' if method == PERMUTED else method}-{seed}"
            if not train and method != RANDOM_FROZEN and not compare_data.finished(encoder, protocol.pretrain_steps):
                continue
            try:
                found.setdefault(method, []).append(probing(origin(protocol, out, method, seed, material)))
            except TrainingInterrupted:
                raise
            except UserError as error:
                print(f"{method} seed {seed} is left out: {error}", flush=True)
                continue
            best = found[method][-1]["map"].get("object R2")
            print(
                f"{method} seed {seed}: object R2 {best.value if best else 0:.3f}; {time.process_time() - began:.0f} s of a core",
                flush=True,
            )
    return {method: values for method, values in found.items() if values}


def over_seeds(name: str, measures: Sequence[Measure]) -> Measure:
    """Mean over seeds; the interval draws seeds, then episodes of each."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(measures), (2000, len(measures)))
    at = rng.random((2000, len(measures)))
    resampled = [np.asarray(m.resampled) for m in measures]
    values = [
        float(np.mean([resampled[s][int(u * len(resampled[s]))] for s, u in zip(row, where, strict=True)]))
        for row, where in zip(drawn, at, strict=True)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return Measure(
        name=name, value=float(np.mean([m.value for m in measures])), interval=Interval(float(low), float(high))
    )


def joined(found: dict[str, list[Found]]) -> list[Probed]:
    """One line per method, controls last."""
    out = []
    for method, seeds in sorted(found.items(), key=lambda item: item[0] in (RANDOM_FROZEN, PERMUTED)):
        kinds: list[Kind] = [k for k in ("map", "encoder") if all(k in f for f in seeds)]  # type: ignore[misc]
        measures = {
            k: {n: over_seeds(n, [f[k][n] for f in seeds]) for n in MEASURES if all(n in f[k] for f in seeds)}
            for k in kinds
        }
        out.append(Probed(name=method, control=method in (RANDOM_FROZEN, PERMUTED), found=measures))
    return out


def table(probed: Sequence[Probed], seeds: dict[str, int], kind: Kind = "map") -> str:
    shown = [n for n in SHOWN if any(n in p.found.get(kind, {}) for p in probed)]
    lines = ["| | seeds | " + " | ".join(MEASURES[n].title for n in shown) + " |", "|---" * (len(shown) + 2) + "|"]
    for p in probed:
        cells = [p.found[kind].get(n) for n in shown] if kind in p.found else [None] * len(shown)
        lines.append(f"| {p.name} | {seeds[p.name]} | " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines)


def _cell(m: Measure | None) -> str:
    return "–" if m is None else f"{m.value:.3g} ({m.interval.low:.3g} to {m.interval.high:.3g})"


def run_cells(
    protocol: Protocol, out: Path, methods: Sequence[str], tasks: Sequence[str], seeds: int, minutes: float
) -> dict[str, Any]:
    """Cells of the protocol until the time is over, those from scratch last, which take longest; each is whole or not there."""
    plan = [cell for cell in compare.cells_of(protocol, methods, seeds, permuted=False) if cell.task in tasks]
    if protocol.online_episodes:  # the ends of the scale are there already, without RL
        plan = [cell for cell in plan if cell.method not in (FROM_SCRATCH, RANDOM_ACTIONS)]
    plan.sort(key=lambda cell: (cell.method == FROM_SCRATCH, cell.seed))
    ends = time.monotonic() + 60 * minutes
    with closing(Bench(protocol, out, {}, methods, workers=1)) as bench:
        for cell in plan:
            if time.monotonic() >= ends:
                break
            compare._run([cell], bench)
    return compare.report(out, protocol, methods)


def beside(out: Path, protocol: Protocol, what: str = "online") -> Path:
    """The folder of cells with RL after imitation, beside those without, on the same data, encoders and features."""
    folder = out / f"{what}-{protocol.online_episodes}"
    compare._keep(folder, protocol)
    for name in SHARED:
        (out / name).mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            (folder / name).symlink_to(Path("..") / name)
    return folder


def by_task(found: Sequence[Outcome], methods: Sequence[str], tasks: Sequence[str], *, online: bool = False) -> str:
    """Rate [%] (interval; successes by seed), and the probability that a run lies above one on random features, task by task.

    `online`: after RL, of the cells that have it. Both draw seeds anew, and rates from what each count leaves open (Jeffreys): one seed speaks of its encoder alone.
    """
    rng, draws = np.random.default_rng(0), 100_000
    counts: dict[tuple[str, str, int], tuple[int, int]] = {}
    for o in found:
        good = o.online_successes if online else o.successes
        if good is not None and o.cell.demos in DEMOS:
            counts[o.cell.method, o.cell.task, o.cell.seed] = good, o.episodes

    def drawn(method: str, task: str, seeds: int) -> tuple[list[tuple[int, int]], NDArray[np.float64]]:
        """Counts by seed; (draws, seeds) rates, `seeds` 0 meaning as many as there are."""
        known = [count for (m, t, _), count in sorted(counts.items()) if (m, t) == (method, task)]
        if not known:
            return [], np.zeros((0, 1))
        good, all_ = np.array(known)[rng.integers(0, len(known), (draws, seeds or len(known)))].transpose(2, 0, 1)
        return known, rng.beta(good + 0.5, all_ - good + 0.5)

    def said(method: str, task: str) -> str:
        known, rates = drawn(method, task, 0)
        if not known:
            return "not run | "
        low, high = 100 * np.quantile(rates.mean(axis=1), [0.025, 0.975])
        mean = 100 * np.mean([good / episodes for good, episodes in known])
        _, one = drawn(method, task, 1)
        above, random = "", drawn(RANDOM_FROZEN, task, 1)[1]
        if method != RANDOM_FROZEN and len(random):
            above = f"{(one > random).mean():.2f}"
        return f"{mean:.0f} ({low:.0f} to {high:.0f}; {', '.join(str(good) for good, _ in known)}) | {above}"

    lines = ["| | " + " | ".join(f"{task} | better" for task in tasks) + " |", "|---" * (2 * len(tasks) + 1) + "|"]
    lines += [f"| {m} | " + " | ".join(said(m, task) for task in tasks) + " |" for m in (RANDOM_FROZEN, *methods)]
    return "\n".join(lines)


def gained(found: Sequence[Outcome], tasks: Sequence[str]) -> str:
    """What RL adds to imitation [% of episodes] (interval; successes before and after, of episodes), task by task, and the rank
    correlation of both over runs, random features' among them.

    Draws cells anew, and both rates of each from what its counts leave open (Jeffreys).
    """
    rng, draws = np.random.default_rng(0), 20_000

    def counts(random: Sequence[bool], task: str) -> NDArray[np.int64]:
        """(cells, 3): successes before, after, episodes."""
        known = [
            (o.successes, o.online_successes, o.episodes)
            for o in sorted(found, key=lambda o: o.cell)
            if o.cell.task == task and (o.cell.method == RANDOM_FROZEN) in random and o.online_successes is not None
        ]
        return np.array(known, np.int64).reshape(-1, 3)

    def said(random: bool, task: str) -> str:
        cells = counts([random], task)
        if not len(cells):
            return "not run"
        before, after, episodes = cells[rng.integers(0, len(cells), (draws, len(cells)))].transpose(2, 0, 1)
        rates = [rng.beta(good + 0.5, episodes - good + 0.5).mean(axis=1) for good in (before, after)]
        low, high = 100 * np.quantile(rates[1] - rates[0], [0.025, 0.975])
        before, after, episodes = cells.sum(axis=0)
        return (
            f"{100 * (after - before) / episodes:+.0f} ({low:+.0f} to {high:+.0f}; {before} and {after} of {episodes})"
        )

    def alike(task: str) -> str:
        before, after, _ = counts([True, False], task).T
        return f"{compare_record.rank_correlation(before, after):.2f} | " if len(before) > 2 else "– | "

    lines = ["| | " + " | ".join(tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(said(random, task) for task in tasks) + " |"
        for name, random in ((RANDOM_FROZEN, True), ("objectives", False))
    ]
    return "\n".join([*lines, "| rank correlation | " + "".join(map(alike, tasks)).rstrip()])


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Score and interval of every method that has run, a panel per distance that three methods have, random features as the line."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    known = [row for row in rows if row["score"] is not None and not row["online"]]
    distances = [d for d, n in Counter(row["distance"] for row in known).items() if n > 2]
    methods = list(dict.fromkeys(row["method"] for row in known if row["distance"] in distances))
    figure, panels = pyplot.subplots(1, len(distances), figsize=(4 * len(distances) + 1, 0.3 * len(methods) + 1), sharex=True, sharey=True, squeeze=False)  # fmt: skip
    for axes, distance in zip(panels[0], distances, strict=True):
        for row in (row for row in known if row["distance"] == distance):
            y, colour = methods.index(row["method"]), "grey" if row["method"] in CONTROLS else "tab:blue"
            axes.plot(row["interval"], [y, y], color=colour, linewidth=3, alpha=0.4)
            axes.plot([row["score"]], [y], "o", color=colour)
            if row["method"] == RANDOM_FROZEN:
                axes.axvline(row["score"], color="grey", linestyle="--", linewidth=1)
        axes.set_title(distance)
        axes.set_xlabel("score (IQM), 95 % interval")
    panels[0][0].set_yticks(range(len(methods)), methods)
    panels[0][0].set_ylim(len(methods) - 0.5, -0.5)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default="", help=f"comma-separated, of {', '.join(METHODS)}; default all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--steps", type=int, default=PRETRAIN_STEPS, help="updates of pretraining")
    parser.add_argument(
        "--cells", type=float, help="minutes for cells of the protocol; 0 draws the table of what is there"
    )
    parser.add_argument("--online", type=int, default=0, help="with --cells: episodes of RL after imitation")
    parser.add_argument("--tasks", default="", help="comma-separated: cells of these tasks alone; default all")
    parser.add_argument("--plot", type=Path, help="with --cells: draw the scores into this .svg")
    parser.add_argument("--table", action="store_true", help="train nothing")
    kept = compare_record.RECORD
    parser.add_argument(
        "--record", type=Path, nargs="?", const=kept, help="cells and probes kept there count; add to them"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one seed, a few updates, into a folder of its own: does it run?"
    )
    return parser.parse_args()


def cells_of_protocol(
    options: argparse.Namespace, protocol: Protocol, out: Path, methods: list[str], seeds: int
) -> None:
    """Run what there is time for, print the tables and draw."""
    tasks = options.tasks.split(",") if options.tasks else list(protocol.tasks)
    if unknown := sorted(set(tasks) - set(protocol.tasks)):
        raise SystemExit(f"the protocol has no task {unknown[0]!r}; choose from {', '.join(protocol.tasks)}.")
    if options.online:
        protocol = replace(protocol, online_episodes=options.online)
        out = beside(out, protocol)
    if options.record:
        compare_record.exchange_cells(options.record, out, protocol, lay=True)
    result = run_cells(protocol, out, methods, tasks, seeds, options.cells)
    if options.record:
        compare_record.exchange_cells(options.record, out, protocol, lay=False)
    print(result.pop("text"))
    cells = compare.outcomes(out)
    begun = [task for task in protocol.tasks if any(o.cell.task == task for o in cells)]
    print(by_task(cells, methods, begun))
    if options.online:
        print(f"after {options.online} episodes of RL:\n{by_task(cells, methods, begun, online=True)}")
        print(gained(cells, begun))
    if options.record:
        record = compare_record.read_record(options.record, protocol)
        groups = ([t for t in begun if t.startswith("lift")], ["door-anywhere"])
        print(compare_record.foretold(record, FORETELLING, groups))
    if options.plot:
        plot(result["rows"], options.plot)
    print(json.dumps({"benchmark": "compare", **result}))


def probes_of_encoders(
    options: argparse.Namespace, protocol: Protocol, out: Path, methods: list[str], seeds: int
) -> None:
    """Train what is missing, probe, print the tables and write the report."""
    every = [RANDOM_FROZEN, *methods, *([PERMUTED] if "idm" in methods else [])]
    found = run_probes(protocol, out, every, seeds, train=not options.table)
    probed, counts = joined(found), {method: len(values) for method, values in found.items()}
    print(table(probed, counts))
    print(table([p for p in probed if "encoder" in p.found], counts, "encoder"))
    write_report(out / "probes.html", Report(title="Probes of all objectives", measured=charts(probed)))
    document = {
        p.name: {k: {n: [m.value, *m.interval] for n, m in ms.items()} for k, ms in p.found.items()} for p in probed
    }
    if options.record:
        compare_record.add_probes(options.record, protocol, counts, document)
    replace_json(out / "probes.json", {"protocol": protocol.to_json(), "seeds": counts, "probes": document})
    print(json.dumps({"benchmark": "compare", "seeds": counts, "probes": document}))


def main() -> None:
    options = asked()
    torch.set_num_threads(1)
    methods = options.methods.split(",") if options.methods else list(METHODS)
    if unknown := sorted(set(methods) - set(METHODS)):
        raise SystemExit(f"there is no method {unknown[0]!r}; choose from {', '.join(METHODS)}.")
    protocol = replace(read_protocol(), pretrain_steps=options.steps, head_updates=HEAD_UPDATES, demos=DEMOS)
    protocol = protocol.quick() if options.quick else protocol
    out, seeds = (options.out / "quick", 1) if options.quick else (options.out, options.seeds)
    work = probes_of_encoders if options.cells is None else cells_of_protocol
    try:
        if not options.table:
            compare._keep(out, protocol)
        work(options, protocol, out, methods, seeds)
    except UserError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
