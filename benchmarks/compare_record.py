"""The counts and probes that the tables of objectives.md hold, in `benchmarks/compare.json`, so that tables and plot outlive the cells' folder.

{"protocol": what was compared, without RL,
 "cells": {"0": cells without RL, "30": those with 30 episodes of it, ..., "30-control":
           those of compare_control.py, as out/cells/*.json holds them, without seconds},
 "probes": {method: {"seeds": n, "map": {measure: [value, low, high]}, "encoder": ...}}}
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.comparison import Protocol
from robot_pt.comparison.protocol import Outcome
from robot_pt.comparison.scores import CONTROLS
from robot_pt.errors import MismatchError
from robot_pt.recipes import compare
from robot_pt.safe_files import read_json, replace_json, replace_text
from robot_pt.selection import ranks

RECORD = Path(__file__).with_name("compare.json")


def read_record(path: Path, protocol: Protocol) -> dict[str, Any]:
    """The record, an empty one where there is none. Raises MismatchError where it is of another protocol."""
    mine = replace(protocol, online_episodes=0).to_json()
    if not path.is_file():
        return {"protocol": mine, "cells": {}, "probes": {}}
    record: dict[str, Any] = read_json(path)
    if record["protocol"] != mine:
        name = next(k for k in mine if record["protocol"].get(k) != mine[k])
        raise MismatchError(
            f"{path} is of {name} = {record['protocol'].get(name)}, this is {mine[name]}; name another --record."
        )
    return record


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """A cell and a method's probes to a line, so that a change shows which."""
    groups = [
        f'  "{online}": [\n' + ",\n".join(f"   {json.dumps(c)}" for c in cells) + "\n  ]"
        for online, cells in sorted(record["cells"].items(), key=lambda item: (int(item[0].partition("-")[0]), item[0]))
    ]
    probes = [f"  {json.dumps(m)}: {json.dumps(found)}" for m, found in sorted(record["probes"].items())]
    text = f' "protocol": {json.dumps(record["protocol"])},\n "cells": {{\n' + ",\n".join(groups) + "\n },\n"
    replace_text(path, "{\n" + text + ' "probes": {\n' + ",\n".join(probes) + "\n }\n}\n")


def recorded(record: Mapping[str, Any], key: str) -> list[Outcome]:
    """The cells under `key`, none where there is no such."""
    return [Outcome.from_json({**c, "seconds": {}}, "the record") for c in record["cells"].get(key, [])]


def exchange_cells(path: Path, out: Path, protocol: Protocol, *, lay: bool, key: str = "") -> None:
    """Lay the recorded cells into `out`, where they count as run (`lay`), or add to the record those of `out`; `out`'s own win.

    key: of "cells" in the record; by default the protocol's episodes of RL.
    """
    key = key or str(protocol.online_episodes)
    with _alone(path):
        record = read_record(path, protocol)
        kept = {o.cell: o for o in recorded(record, key)}
        if lay:
            for cell, outcome in kept.items():
                place = out / "cells" / cell.file
                if not place.is_file():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    replace_json(place, outcome.to_json())
            return
        kept |= {o.cell: o for o in compare.outcomes(out)}
        plain = [kept[cell].to_json() for cell in sorted(kept)]
        record["cells"][key] = [{k: v for k, v in c.items() if k != "seconds"} for c in plain]
        write_record(path, record)


def add_probes(path: Path, protocol: Protocol, seeds: Mapping[str, int], probes: Mapping[str, Any]) -> None:
    """Probes of methods that the record has not from as many seeds. probes: method -> kind -> measure -> [value, low, high]."""
    with _alone(path):
        record = read_record(path, protocol)
        for method, found in probes.items():
            if seeds[method] > record["probes"].get(method, {"seeds": 0})["seeds"]:
                rounded = {
                    kind: {n: [float(f"{v:.4g}") for v in values] for n, values in of.items()}
                    for kind, of in found.items()
                }
                record["probes"][method] = {"seeds": seeds[method], **rounded}
        write_record(path, record)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Between reading and writing a record no other process does: its folder is locked, which leaves no file beside it."""
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def foretold(record: Mapping[str, Any], measures: Sequence[str], tasks: Sequence[Sequence[str]]) -> str:
    """Rank correlation, over objectives, of each probe of the backbone with the mean success in each group of tasks, before RL."""
    rates: dict[tuple[str, str], list[float]] = {}
    for c in record["cells"].get("0", []):
        rates.setdefault((c["cell"]["method"], c["cell"]["task"]), []).append(c["successes"] / c["episodes"])
    lines = ["| | " + " | ".join(f"{', '.join(group)} | objectives" for group in tasks) + " |"]
    lines.append("|---" * (2 * len(tasks) + 1) + "|")
    for measure in measures:
        said = []
        for group in tasks:
            both = [
                (found["map"][measure][0], float(np.mean([np.mean(rates[method, task]) for task in group])))
                for method, found in record["probes"].items()
                if method not in CONTROLS and measure in found["map"] and all((method, task) in rates for task in group)
            ]
            said.append(f"{rank_correlation(*zip(*both, strict=True)):.2f} | {len(both)}" if len(both) > 2 else "– | 0")
        lines.append(f"| {measure} | {' | '.join(said)} |")
    return "\n".join(lines)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's, ties sharing their mean rank; nan where one is the same everywhere."""
    return float(np.corrcoef(ranks(np.asarray(a)), ranks(np.asarray(b)))[0, 1])
