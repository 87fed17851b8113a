"""The steps that features are probed at, and the truth there.

Shapes: N rows of a source's columns, n steps probed, m pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError, UserError
from robot_pt.schema import OBJECT_POSITIONS, EpisodeTable, Float, Int
from robot_pt.sources import EpisodeSource, leaf

MOST_STEPS = 4000
PAIRS, GAPS = 8, (3, 16)
"""Pairs of frames drawn from every episode for temporal order, and how many steps lie between them."""
FOLDS = 4


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is regressed."""

    name: str
    values: NDArray[np.float64]  # (n, K)
    known: NDArray[np.bool_]  # (n,)
    unit: str
    factor: float = 1.0
    """Of an error in `values` to one in `unit`."""


@dataclass(frozen=True, kw_only=True)
class ProbeData:
    """Steps in order of their episodes; features are looked up by `rows`."""

    rows: Int  # (n,) of the source's columns
    episode: Int  # (n,)
    task: Int  # (n,)
    targets: tuple[Target, ...]
    pairs: Int  # (m, 2) rows, earlier and later
    pair_episode: Int  # (m,)
    notes: tuple[str, ...] = field(default=())
    """What the data lacks, in words."""

    @property
    def episodes(self) -> int:
        return len(np.unique(self.episode))


def probe_data(source: EpisodeSource, *, most: int = MOST_STEPS, seed: int = 0) -> ProbeData:
    """Every step, or `most` of them spread evenly over each episode, and what is known there.

    Raises UserError for fewer than two episodes a fold, which leaves nothing to hold out.
    """
    table = source.episodes
    chosen = np.flatnonzero(table.length > 0)
    if len(chosen) < 2 * FOLDS:
        raise UserError(f"probes hold whole episodes out and need at least {2 * FOLDS}; the data has {len(chosen)}.")
    share = min(1.0, most / max(table.steps, 1))
    at = [np.unique(np.linspace(0, n - 1, max(2, round(share * n))).astype(np.int64)) for n in table.length[chosen]]
    episode = np.repeat(chosen, [len(a) for a in at])
    step = np.concatenate(at)
    rows = table.start[episode] + step
    names = sorted(set(table.task))
    task = np.array([names.index(t) for t in table.task])[episode]
    object_values, known = _objects(source, episode, step)
    targets, notes = _proprio_targets(source, rows), []
    if known.any():
        targets.insert(0, Target(name="object", values=object_values, known=known, unit="mm", factor=1000.0))
    else:
        notes.append("the data does not say where objects are: their positions are not probed")
    pairs, pair_episode = _pairs(table, chosen, np.random.default_rng(seed))
    return ProbeData(
        rows=rows,
        episode=episode,
        task=task,
        targets=tuple(targets),
        pairs=pairs,
        pair_episode=pair_episode,
        notes=tuple(notes),
    )


def _proprio_targets(source: EpisodeSource, rows: Int) -> list[Target]:
    """Tool position and gripper opening, where the proprio names them."""
    names, out = list(source.spec.proprio_names), []
    proprio = source.proprio[rows].astype(np.float64)
    everywhere = np.ones(len(rows), bool)
    if {"x", "y", "z"} <= set(names):
        values = proprio[:, [names.index(axis) for axis in "xyz"]]
        out.append(Target(name="tool", values=values, known=everywhere, unit="mm", factor=1000.0))
    if "gripper" in names:
        opening = proprio[:, [names.index("gripper")]]
        out.append(Target(name="gripper", values=opening, known=everywhere, unit="of the opening"))
    return out


def _objects(source: EpisodeSource, episode: Int, step: Int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """((n, 3) position of the task's main object [m], whether it is known)."""
    values, known = np.zeros((len(step), 3)), np.zeros(len(step), bool)
    for e in np.unique(episode):
        mine = episode == e
        path = object_path(source, int(e))
        if path is not None:
            values[mine], known[mine] = path[step[mine]], True
    return values, known


def object_path(source: EpisodeSource, e: int) -> Float | None:
    """(T, 3) positions of the main object of episode `e` [m], None where the data does not say.

    Raises DataError where what it says has another length than the episode, or is not finite.
    """
    inner, row = leaf(source, int(source.episodes.start[e]))
    recorded = getattr(inner, "recorded", None)
    paths = recorded(row)["metadata"].get(OBJECT_POSITIONS, {}) if recorded is not None else {}
    if not paths:
        return None
    length = int(source.episodes.length[e])
    name, found = next(iter(paths.items()))
    try:
        path = np.array(found, np.float32)
    except (TypeError, ValueError):
        path = np.zeros(0, np.float32)
    if path.shape != (length, 3) or not np.isfinite(path).all():
        raise DataError(
            f"the positions of {name!r} recorded with episode {e} have shape {path.shape}, it has {length} steps; drop the episode."
        )
    return path


def _pairs(table: EpisodeTable, chosen: Int, rng: np.random.Generator) -> tuple[Int, Int]:
    """((m, 2) rows, earlier and later, (m,) episode), a few of each episode that is long enough."""
    rows, owner = [], []
    for e in chosen:
        length = int(table.length[e])
        if length <= GAPS[0]:
            continue
        gap = rng.integers(GAPS[0], min(GAPS[1], length - 1) + 1, PAIRS)
        first = rng.integers(0, length - gap)
        rows.append(table.start[e] + np.stack([first, first + gap], axis=1))
        owner += [int(e)] * PAIRS
    return (np.concatenate(rows) if rows else np.zeros((0, 2), np.int64)), np.array(owner, np.int64)


def folds_of(episode_n: Int, seed: int = 0) -> Int:
    """(n,) fold 0..FOLDS-1 of each row; an episode lies in one fold."""
    names, place = np.unique(episode_n, return_inverse=True)
    fold: Int = (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[place]
    return fold


def judges_of(episode_n: Int, seed: int = 0) -> NDArray[np.bool_]:
    """(n,) True for the rows of a quarter of the episodes, at least one and not all: they choose the penalty."""
    names, place = np.unique(episode_n, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    chosen: NDArray[np.bool_] = (order < max(1, len(names) // 4))[place]
    return chosen
