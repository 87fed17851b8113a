"""One cell of benchmarks/online.py: an algorithm from a seed, offline and then online, with its curve."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from online_learners import Learner, make, standardising
from online_task import Problem, Steps, batches, play_data, play_episode, success_rate

from robot_pt.machine import versions
from robot_pt_sim.point_maze import PointMaze, find_maze

FIRST_ONLINE_SEED = 500_000
"""Starts of online episodes: above the data's, below the evaluation's."""
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Schedule:
    offline_updates: int = 3_000
    online_steps: int = 4_000
    """Control steps of the maze."""
    evaluate_every: int = 500
    """Updates offline, steps online."""


def settings_of(problem: Problem, schedule: Schedule) -> dict[str, Any]:
    return {**asdict(problem), **asdict(schedule)}


def run_cell(algorithm: str, seed: int, problem: Problem, schedule: Schedule) -> dict[str, Any]:
    """JSON values; the curves are lists of [updates or steps, success rate]."""
    begun = time.process_time()
    offline = play_data(problem)
    learner = make(algorithm, standardising(offline.columns["proprio"]), seed)
    metrics: list[dict[str, float]] = []
    before = _offline(learner, offline, problem, schedule, seed, metrics)
    learner = learner.go_online()
    curve, online = _online(learner, offline, problem, schedule, seed, before[-1][1], metrics)
    return {
        "benchmark": "online", "schema_version": SCHEMA_VERSION, "algorithm": algorithm, "seed": seed,
        "settings": settings_of(problem, schedule), "plan": asdict(learner.plan), "offline_curve": before, "online_curve": curve,
        **summary(before[-1][1], curve), "online_episodes": online.episodes, "online_successes": online.successes,
        "data": {"episodes": offline.episodes, "successes": offline.successes, "steps": len(offline)}, "metrics": metrics,
        "cpu_s": round(time.process_time() - begun, 1), "versions": versions(),
    }  # fmt: skip


def summary(before: float, curve: list[list[float]]) -> dict[str, float]:
    """Success before, lowest point after the switch, success after (mean of the last three), regret = mean of 1 - success online."""
    rates = [rate for _, rate in curve]
    return {
        "before": before,
        "lowest": min(rates),
        "after": float(np.mean(rates[-3:])),
        "regret": float(np.mean([1 - r for r in rates])),
    }


def _offline(
    learner: Learner, offline: Steps, problem: Problem, schedule: Schedule, seed: int, metrics: list[dict[str, float]]
) -> list[list[float]]:
    curve = [[0, success_rate(learner.act, problem)]]
    if not learner.pretrains:
        return curve
    feed = batches(offline, Steps(problem), 1.0, problem.batch_size, seed)
    for step in range(schedule.offline_updates):
        _log(metrics, step, learner.update(next(feed), step))
        if (step + 1) % schedule.evaluate_every == 0 or step + 1 == schedule.offline_updates:
            curve.append([step + 1, success_rate(learner.act, problem)])
    return curve


def _online(
    learner: Learner, offline: Steps, problem: Problem, schedule: Schedule, seed: int, before: float,
    metrics: list[dict[str, float]],
) -> tuple[list[list[float]], Steps]:  # fmt: skip
    """Trajectory-wise: an episode, then as many updates as it had steps times the ratio of the plan."""
    plan, online, simulator = learner.plan, Steps(problem), PointMaze(find_maze(problem.maze))
    feed = batches(offline, online, plan.offline_share, plan.batch_size, seed + 1_000_003)
    curve, taken, owed = [[0, before]], 0, 0.0
    step = schedule.offline_updates
    while taken < schedule.online_steps:
        episode = play_episode(simulator, learner.explore, FIRST_ONLINE_SEED + 10_000 * seed + online.episodes)
        online.append(episode)
        taken += len(episode)
        owed += len(episode) * plan.updates_per_step if taken > plan.warm_up_steps else 0
        while owed >= 1:
            _log(metrics, step, learner.update(next(feed), step))
            step, owed = step + 1, owed - 1
        if taken // schedule.evaluate_every > curve[-1][0] // schedule.evaluate_every:
            curve.append([taken, success_rate(learner.act, problem)])
    return curve, online


def _log(metrics: list[dict[str, float]], step: int, values: dict[str, float]) -> None:
    if values:
        metrics.append({"step": step, **{name: float(f"{value:.4g}") for name, value in values.items()}})
