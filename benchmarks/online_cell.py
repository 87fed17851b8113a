"""One cell of benchmarks/online.py: an algorithm from a seed, offline and then online, with its curve."""

from __future__ import annotations

import time
from ast import literal_eval
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import Any

import numpy as np
from online_critic import Shape
from online_learners import Learner, Ours, Rates, Robot, make, standardising
from online_task import (
    Act,
    Problem,
    Steps,
    arrives,
    batches,
    let_go,
    offline_data,
    play_episode,
    success_rate,
    towards_pits,
)  # fmt: skip

from robot_pt.errors import UserError
from robot_pt.machine import versions
from robot_pt.normalize import Bounds
from robot_pt.schema import Float, Int
from robot_pt_sim.point_maze import PointMaze, find_maze

FIRST_ONLINE_SEED = 500_000
"""Starts of online episodes: above the data's, below the evaluation's."""
SCHEMA_VERSION = 3
TAIL = 3
"""Evaluations whose mean is the success before and after."""
WATCHED = {"q_data": "critic/q_data", "return": "critic/return_to_go", "bound_rate": "critic/bound_rate"}
Curve = list[list[float]]
"""Rows of updates or steps, success by drawn actions, success by the central action."""
Logged = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    offline_updates: int = 1_250
    online_steps: int = 2_000
    """Control steps of the maze."""
    evaluate_every: int = 125
    """Updates offline, steps online."""
    settled: int = 8
    """Last offline evaluations, whose lowest shows how far success wobbles while nothing but training goes on."""
    explore: float = 0.0
    """Probability that a step online takes an action drawn evenly from all there are instead of the policy's, as d3rlpy's ConstantEpsilonGreedy;
    judging draws the policy's alone."""
    explore_for: int = 1
    """Steps that such an action is held, as in temporally extended epsilon-greedy (arXiv 2006.01782)."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every cell of one table has in common."""

    problem: Problem = field(default_factory=Problem)
    schedule: Schedule = field(default_factory=Schedule)
    rates: Rates = field(default_factory=Rates)

    def settings(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self.problem), **asdict(self.schedule), **self.rates.settings()}


HASTY = Rates(
    conservative_weight=1.0, backup="plain", scaled_log_std=False, actor_rate=1e-3, updates_per_step=2.0, offline_share=0.25
)  # fmt: skip
"""Of jobs where a bad end is one step away: many updates, of little old data."""
TASKS = {
    "detours": Task(),
    "pits": Task(
        problem=Problem(maze="maze-pits", reward_shift=0.0),
        schedule=Schedule(offline_updates=750, online_steps=1_000, settled=4),
        rates=Rates(conservative_weight=10.0, backup="plain", scaled_log_std=False),
    ),
    "deep-pits": Task(
        problem=Problem(
            maze="maze-ledges", copies=4, anywhere=False, reward_scale=0.3, reward_shift=-0.3, fall_reward=-5.0
        ),
        schedule=Schedule(offline_updates=1_500, online_steps=600, settled=4),
        rates=HASTY,
    ),
    "drops": Task(
        problem=Problem(
            maze="maze-pits",
            copies=4,
            grip=0.2,
            anywhere=False,
            gamma=0.99,
            reward_scale=0.1,
            reward_shift=-0.1,
            fall_reward=-3.4,
        ),
        schedule=Schedule(offline_updates=1_500, online_steps=900, evaluate_every=150, settled=4),
        rates=HASTY,
    ),
}
TASKS["explored-drops"] = Task(
    problem=replace(TASKS["drops"].problem, copies=1, grip=0.5),
    schedule=Schedule(offline_updates=1_500, online_steps=600, evaluate_every=50, explore=0.1),
    rates=replace(HASTY, conservative_weight=5.0, online_weight=1.0),
)
TASKS["shelves"] = Task(
    problem=replace(TASKS["drops"].problem, maze="maze-shelves", copies=2, grip=0.0, fall_reward=-4.9),
    schedule=Schedule(offline_updates=2_500, online_steps=1_500, evaluate_every=100, explore=0.1, explore_for=5),
    rates=replace(
        HASTY,
        conservative_weight=5.0,
        tau=0.01,
        actor_average=0.02,
        actor_rate=3e-4,
        critic_rate=3e-4,
        updates_per_step=1.0,
        offline_share=0.5,
        played_first=300,
    ),
)
TASKS["local-shelves"] = Task(
    problem=replace(TASKS["shelves"].problem, copies=1),
    schedule=replace(TASKS["shelves"].schedule, offline_updates=4_000),
    rates=replace(TASKS["shelves"].rates, critic="table", critic_rate=0.03, tau=0.02),
)
TASKS["local-drops"] = Task(
    problem=replace(TASKS["local-shelves"].problem, maze="maze-pits", grip=0.5, fall_reward=-2.9),
    schedule=Schedule(offline_updates=1_000, online_steps=1_500, evaluate_every=100, explore=0.1),
    rates=replace(
        TASKS["local-shelves"].rates,
        table_apart=True,
        table_start=-10.0,
        search_boxes=6,
        critic_rate=0.05,
        actor_rate=1e-3,
        actor_average=0.0,
    ),
)
"""detours: four starts, a step costs, and nothing ends but at the goal. pits: an episode may end without success, and nothing costs, as
where a cup is dropped: ending is worth 0, more than a policy whose values lie below 0 expects of going on. deep-pits: a fall on every
side of every way, worth -5.3 where the data reach -3 and never ending is worth -10, so that returns lie below where Q begins; eight
action numbers for the conservative term to press. drops: what is carried can be let go at every step, which ends the episode, worth -3.5 where
the data reach -1. explored-drops: every tenth step of the job is drawn evenly, so that letting go is tried at once and often. shelves: a fall
on one side of every way, worth -5; explored actions are held for five steps, a third of all; slow targets, which keep CQL's Q at -8. local-shelves: the same
with a table as the critic, two action numbers, which are all that the table reads, and training until CQL's Q is as low.
local-drops: a table again, letting go as in drops, and a policy that searches all actions instead of climbing from its own samples; the
knots of its two heads lie half a step apart, for a search finds the knot that overshoots."""


load_data = cache(offline_data)  # every cell of a table has the same


def run_cell(algorithm: str, seed: int, task: Task) -> dict[str, Any]:
    """JSON values; of the `summary` that by drawn actions, `central` that by the central action; `values` what is `judged`, before and at
    each point of the job."""
    begun, problem, schedule, rates = time.process_time(), task.problem, task.schedule, task.rates
    offline = load_data(problem)
    learner = make(algorithm, rates, robot_of(task, offline), seed, problem.gamma)
    before, scale = learn_offline(learner, offline, task, seed)
    learner = learner.go_online()
    held = [judged(learner, offline, Steps(problem), problem)]
    curve, online, scale_online = learn_on_the_job(learner, offline, task, seed, held)
    return {
        "benchmark": "online", "schema_version": SCHEMA_VERSION, "algorithm": algorithm, "seed": seed,
        "settings": task.settings(), "plan": asdict(learner.plan), "offline_curve": before, "online_curve": curve,
        **summary(before, curve, schedule.settled), "online_episodes": online.episodes, "online_successes": online.successes,
        "online_falls": online.falls, "central": summary(before, curve, schedule.settled, 2), "values": held,
        "data": {"episodes": offline.episodes, "successes": offline.successes, "steps": len(offline)},
        "scale_offline": watched(scale), "scale_online": watched(scale_online),
        "cpu_s": round(time.process_time() - begun, 1), "versions": versions(),
    }  # fmt: skip


def robot_of(task: Task, offline: Steps) -> Robot:
    problem, rates = task.problem, task.rates
    shape = find_maze(problem.maze).free.shape
    table = Shape(*shape, *rates.table_knots, rates.table_apart) if rates.critic == "table" else None
    seen = standardising(offline.columns["proprio"], rates.input_scale)
    return Robot(problem.spec, problem.bounds, seen, table, rates.table_start)


def rated(learner: Learner, problem: Problem) -> list[float]:
    """Success by drawn and by central actions."""
    return [success_rate(act, problem) for act in (learner.explore, learner.act)]


def summary(offline: Curve, online: Curve, settled: int, column: int = 1) -> dict[str, float]:
    """Of one column of the curves: success before and after (means of `TAIL` evaluations), the lowest point online, and what that is to be held against.

    wobble: how far below `before` the last `settled` offline evaluations reach. regret: mean of 1 - success online.
    """
    rates, ahead = [row[column] for row in online], [row[column] for row in offline]
    before = float(np.mean(ahead[-TAIL:]))
    return {
        "before": before,
        "wobble": before - min(ahead[-settled:]),
        "lowest": min(rates),
        "after": float(np.mean(rates[-TAIL:])),
        "regret": float(np.mean([1 - r for r in rates])),
    }


def watched(logged: Sequence[Logged]) -> dict[str, float]:
    """Mean over the last quarter of what was logged: Q of the data's actions, their true return, share of bounded samples."""
    last = logged[-max(1, len(logged) // 4) :]
    found = {name: [row[key] for row in last if key in row] for name, key in WATCHED.items()}
    return {name: float(f"{np.mean(values):.4g}") for name, values in found.items() if values}


def judged(learner: Learner, offline: Steps, online: Steps, problem: Problem) -> dict[str, float]:
    """Mean Q at the data's states of the data's actions, the policy's and steps towards the nearest pit, with a grip that of letting go and
    the share of states where the policy lets go (`lets_go`); and of the job's falls what `at_falls` tells. Empty for who has no critic.
    """
    if not isinstance(learner, Ours) or not hasattr(learner.agent, "critic"):
        return {}
    data = offline.columns
    asked = {
        "data": data["action"],
        "policy": learner.act(data["proprio"]),
        "pit": towards_pits(problem, data["proprio"]),
    }
    if problem.grip:
        asked["let_go"] = let_go(problem, data["action"])
    found = {name: learner.values(data["proprio"], action) for name, action in asked.items()}
    if problem.grip:
        found["lets_go"] = problem.sent(asked["policy"])[1].astype(np.float32)
    if online.falls:
        found |= at_falls(learner, online, problem)
    return {name: float(f"{value.mean():.4g}") for name, value in found.items()}


def at_falls(learner: Ours, online: Steps, problem: Problem) -> dict[str, Float]:
    """In the last step of each of the job's falls: Q of what was done (`fall`) and of what the policy would do now (`instead`), whether the
    policy would reach the goal from there (`spared`), and where it would, whether Q of falling is more all the same (`misled`). The same
    where the action that ended in it was first taken, if it was held (`fall_begun`, ...)."""
    columns = online.columns
    ended = np.flatnonzero(
        (columns["discount"] == 0) & (columns["reward"] != np.float32(problem.reward_scale + problem.reward_shift))
    )
    found = _compared(learner, columns, ended, problem)
    found |= {
        f"{name}_begun": value for name, value in _compared(learner, columns, begun(columns, ended), problem).items()
    }
    return found


def _compared(learner: Ours, columns: dict[str, Any], rows: Int, problem: Problem) -> dict[str, Float]:
    state, done = columns["proprio"][rows], columns["action"][rows]
    instead = learner.act(state)
    q_done, q_instead = learner.values(state, done), learner.values(state, instead)
    spared = arrives(learner.act, problem, state)
    found = {"fall": q_done, "instead": q_instead, "spared": spared.astype(np.float32)}
    if spared.any():
        found["misled"] = (q_done > q_instead)[spared].astype(np.float32)
    return found


def begun(columns: dict[str, Any], rows: Int) -> Int:
    """Where the action that each row holds was first held in one go, in the same episode: the row itself unless it was explored."""
    held = (columns["action"][1:] == columns["action"][:-1]).all(1)
    held &= (columns["proprio"][1:] == columns["next_proprio"][:-1]).all(1)
    first = np.concatenate([[True], ~held])
    found: Int = np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))[rows]
    return found


def changed(task: Task, words: Sequence[str]) -> Task:
    """A task with fields of its problem, schedule or rates set anew, given as NAME=VALUE. Raises UserError for what there is not, and for a value of
    another kind than the field's."""
    for word in words:
        name, _, text = word.partition("=")
        parts = [
            part for part in ("problem", "schedule", "rates") if name in {f.name for f in fields(getattr(task, part))}
        ]
        if not parts:
            raise UserError(f"there is no field {name!r} in a task's problem, schedule or rates.")
        try:
            value = literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        before = getattr(getattr(task, parts[0]), name)
        if None not in (before, value) and _kind(value) is not _kind(before):
            raise UserError(f"{name} is {text!r}; give a value like {before!r}.")
        task = replace(task, **{parts[0]: replace(getattr(task, parts[0]), **{name: value})})  # type: ignore[arg-type]
    return task


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def exploring(act: Act, bounds: Bounds, probability: float, rng: np.random.Generator, *, steps: int = 1) -> Act:
    """Who acts like `act`, but each row with `probability` (N, A) evenly within the bounds [m], held for `steps`; `act` itself, and nothing
    drawn, with 0. Rows keep their places from call to call."""
    if not probability:
        return act
    held: list[Any] = [None, None]

    def mixed(proprio_NP: Float) -> Float:
        action_NA = act(proprio_NP)
        drawn_NA = rng.uniform(bounds.low, bounds.high, action_NA.shape).astype(np.float32)
        begins_N = rng.random(len(action_NA)) < probability
        left_N, held_NA = held if held[0] is not None else (np.zeros(len(action_NA), np.int64), drawn_NA)
        begins_N &= left_N == 0
        held_NA = np.where(begins_N[:, None], drawn_NA, held_NA)
        left_N = np.where(begins_N, steps, left_N)
        exploring_N = left_N > 0
        held[:] = np.maximum(left_N - 1, 0), held_NA
        return np.where(exploring_N[:, None], held_NA, action_NA)

    return mixed


def learn_offline(learner: Learner, offline: Steps, task: Task, seed: int) -> tuple[Curve, list[Logged]]:
    problem, schedule = task.problem, task.schedule
    curve: Curve = [[0, *rated(learner, problem)]]
    logged: list[Logged] = []
    if not learner.pretrains:
        return curve, logged
    feed = batches(offline, Steps(problem), 1.0, task.rates.batch_size, seed)
    for step in range(schedule.offline_updates):
        _log(logged, learner.update(next(feed), step))
        if (step + 1) % schedule.evaluate_every == 0 or step + 1 == schedule.offline_updates:
            curve.append([step + 1, *rated(learner, problem)])
    return curve, logged


def learn_on_the_job(
    learner: Learner, offline: Steps, task: Task, seed: int, held: list[Logged]
) -> tuple[Curve, Steps, list[Logged]]:
    """Trajectory-wise: an episode, then as many updates as it had steps times the ratio of the plan. Adds to `held` what is `judged` of each point."""
    problem, schedule = task.problem, task.schedule
    plan, online, simulator = learner.plan, Steps(problem), PointMaze(find_maze(problem.maze))
    feed = batches(offline, online, plan.offline_share, plan.batch_size, seed + 1_000_003)
    act = exploring(
        learner.explore, problem.bounds, schedule.explore, np.random.default_rng([seed, 3]), steps=schedule.explore_for
    )
    curve: Curve = []
    logged: list[Logged] = []
    taken, owed, step = 0, 0.0, schedule.offline_updates
    while taken < schedule.online_steps:
        start = FIRST_ONLINE_SEED + 10_000 * seed + online.episodes
        episode, given = play_episode(simulator, act, start, problem)
        online.append(episode, given)
        evaluated, taken = taken // schedule.evaluate_every, taken + len(episode)
        owed += len(episode) * plan.updates_per_step if taken > plan.warm_up_steps else 0
        while owed >= 1:
            _log(logged, learner.update(next(feed), step))
            step, owed = step + 1, owed - 1
        if taken // schedule.evaluate_every > evaluated:
            curve.append([taken, *rated(learner, problem)])
            held.append(judged(learner, offline, online, problem))
    return curve, online, logged


def _log(logged: list[Logged], values: Logged) -> None:
    if values:
        logged.append(values)
