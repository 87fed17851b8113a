"""Success rates with intervals: seeds in, one line per finished episode out. Imports numpy only.

The core knows no simulator. Whoever has one binds policy, task and workers and hands over a function from seeds to results:

    evaluate(lambda seeds: rollouts(make_policy, "lift", seeds, workers=2), task="lift", episodes=30, log=Path("lift.jsonl"))

Every episode is appended to `log` and fsynced as it ends; the same call after Ctrl-C or a crash runs only the rest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.results import Comparison, EpisodeResult, Evaluation, check_header, collect, compare, make_header
from robot_pt.schema import Float, Observation

__all__ = [
    "ActingPolicy",
    "Comparison",
    "EpisodeResult",
    "Evaluation",
    "PolicyFactory",
    "compare",
    "episode_seeds",
    "evaluate",
    "load",
]

FIRST_SEED = 1_000_000
"""Evaluation seeds start here, demonstrations below it: no evaluated start was seen in training."""
SEEDS_PER_RUN = 10_000


class ActingPolicy(Protocol):
    """What a rollout asks of a policy; `robot_pt.policy.Policy` and the controls in `robot_pt.controls` are such."""

    @property
    def version(self) -> str:
        """Says which weights acted; goes into every episode's record."""
        ...

    def reset(self, task: str | None) -> None: ...

    def act(self, history: Sequence[Observation]) -> Float:
        """(H, A) canonical actions to play next, H >= 1; `history` ends with the newest observation."""
        ...


PolicyFactory = Callable[[], ActingPolicy]
"""Picklable; called once in every worker process."""


def episode_seeds(seed: int, episodes: int) -> list[int]:
    """Seeds of an evaluation's episodes. Two evaluations with one `seed` meet the same starts; other seeds share none.

    Raises UserError unless 1 <= episodes <= 10000 and 0 <= seed < 100000.
    """
    if not 1 <= episodes <= SEEDS_PER_RUN:
        raise UserError(f"--episodes is {episodes}; give a number from 1 to {SEEDS_PER_RUN}.")
    if not 0 <= seed < 100_000:
        raise UserError(f"--seed is {seed}; give a number from 0 to 99999.")
    first = FIRST_SEED + seed * SEEDS_PER_RUN
    return list(range(first, first + episodes))


def evaluate(
    run_rollouts: Callable[[Sequence[int]], Iterable[EpisodeResult]],
    *,
    task: str,
    episodes: int,
    seed: int = 0,
    name: str = "policy",
    settings: Mapping[str, Any] | None = None,
    log: Path | None = None,
    observe: Callable[[EpisodeResult], None] | None = None,
) -> Evaluation:
    """Run the episodes that `log` does not hold yet and return all of them.

    `run_rollouts(seeds)` yields results in any order, as they end. `observe` sees each new one (progress, clips).
    Raises UserError on impossible counts or when rollouts come back short, MismatchError when `log` belongs to another
    evaluation, DataError when it is damaged.
    """
    seeds = episode_seeds(seed, episodes)
    header = make_header(name, task, seed, settings or {})
    done = _open_log(log, header) if log is not None else {}
    left = [s for s in seeds if s not in done]
    played = iter(run_rollouts(left) if left else ())
    try:
        for result in played:
            assert result.seed in left, f"rollout of seed {result.seed} was not asked for"
            assert result.seed not in done, f"rollout of seed {result.seed} came twice"
            done[result.seed] = result
            if log is not None:
                _append(log, result.to_json())
            if observe is not None:
                observe(result)
    finally:
        close = getattr(played, "close", None)  # a generator's workers end now, not when a traceback lets go of it
        if close is not None:
            close()
    missing = [s for s in seeds if s not in done]
    if missing:
        raise UserError(
            f"{len(missing)} of {episodes} episodes of {name!r} did not finish (first: seed {missing[0]}); "
            "run the same command again: it continues where it stopped."
        )
    return collect(header, done, seeds)


def load(log: Path) -> Evaluation:
    """Read a log, finished or not. Raises DataError when it is no evaluation log, is damaged or holds no episode."""
    header, done, _ = _read_log(log)
    if not done:
        raise DataError(f"{log} holds no finished episode; run the evaluation again to fill it.")
    return collect(header, done, sorted(done))


def _open_log(log: Path, header: dict[str, Any]) -> dict[int, EpisodeResult]:
    """Episodes already in `log`; creates it, or cuts off a line torn by a crash."""
    if not log.exists() or b"\n" not in log.read_bytes():
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        _append(log, header)
        return {}
    found, done, whole = _read_log(log)
    if found != header:
        differing = sorted(k for k in header if found.get(k) != header[k])
        raise MismatchError(
            f"{log} holds another evaluation ({', '.join(f'{k}={found.get(k)!r}' for k in differing)}); give another output path "
            "or delete that file."
        )
    if whole < log.stat().st_size:
        os.truncate(log, whole)
    return done


def _read_log(log: Path) -> tuple[dict[str, Any], dict[int, EpisodeResult], int]:
    """(header, results by seed, bytes of whole lines). Only what follows the last newline may be torn."""
    try:
        raw = log.read_bytes()
    except OSError as error:
        raise DataError(f"{log} cannot be read ({error.strerror}); give the .jsonl file of an evaluation.") from error
    whole = raw.rfind(b"\n") + 1
    rows = []
    for number, line in enumerate(raw[:whole].splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(
                f"{log} line {number} is not JSON; remove that line to evaluate its episode again."
            ) from error
    check_header(rows[0] if rows else None, str(log))
    results = [EpisodeResult.from_json(r if isinstance(r, dict) else {}) for r in rows[1:]]
    return rows[0], {r.seed: r for r in results}, whole


def _append(log: Path, values: Mapping[str, Any]) -> None:
    with log.open("a") as file:
        file.write(json.dumps(values, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
