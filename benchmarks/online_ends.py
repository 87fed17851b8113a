"""How judged episodes of benchmarks/online.py end, at the switch and after some steps of the job: by letting go, in a pit, at the goal.

    python benchmarks/online_ends.py --algorithm cal_ql --seed 8 --steps 170
    python benchmarks/online_ends.py --task local-drops --set table_apart=False search_boxes=0 offline_updates=2500 --algorithm cql --seed 30 --steps 1500
    python benchmarks/online_ends.py --task local-drops --cell --set table_apart=False --algorithm cal_ql --seed 33 --steps 1500

One line of JSON per moment and way of acting, drawn, central or searched (the best of `BOXES` along each action number by the critic, whoever
learned), for a task with a grip; some 20 s of a core, with --cell as long as that cell.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from online_cell import TASKS, changed, learn_offline, learn_on_the_job, load_data, robot_of
from online_learners import ALGORITHMS, Learner, Ours, make, seen
from online_search import Searcher, centres
from online_task import Act, Problem, Steps, let_go

from robot_pt.evaluate import episode_seeds
from robot_pt.schema import Float
from robot_pt_sim.point_maze import MAX_STEP_M, MazeBatch, find_maze

BOXES = 6


def ends(learner: Ours, act: Act, problem: Problem, offline: Steps | None = None) -> dict[str, Any]:
    """Counts of ends, the grip's mean and deviation [half ranges], and how much more Q holding has than letting go at the states on the way.

    With the `offline` data also of where it lets go: Q of that, the share where it is more than a fall is worth, Q of the best of `BOXES` that
    holds, and the distance to the nearest place of the data (median) [m].
    """
    maze, count = find_maze(problem.maze), problem.evaluation_episodes
    batch = MazeBatch(maze, count)
    proprio = batch.reset(episode_seeds(0, count), anywhere=problem.anywhere)
    over, found = np.zeros(count, bool), {"let_go": 0, "pit": 0, "goal": 0}
    grip, gap, loosed = [], [], list[Float]()
    for _ in range(maze.horizon):
        action, live = act(proprio), ~over
        sent, dropped = problem.sent(action)
        grip.append(action.reshape(count, problem.copies, -1)[live, :, 2].mean(1))
        loose = let_go(problem, action)
        gap.append(learner.values(proprio[live], action[live]) - learner.values(proprio[live], loose[live]))
        loosed.append(np.concatenate([proprio, action], axis=1)[dropped & live])
        proprio, _, success = batch.step(sent)
        fallen = batch.fallen() & ~dropped
        for name, ended in (("let_go", dropped), ("pit", fallen), ("goal", success & ~dropped & ~fallen)):
            found[name] += int((ended & live).sum())
        over |= dropped | fallen | success
        if over.all():
            break
    if offline is not None and found["let_go"]:
        found |= where_it_lets_go(learner, problem, offline, np.concatenate(loosed))
    held, more = np.concatenate(grip) / MAX_STEP_M, np.concatenate(gap)
    return {
        **found, "out_of_time": int((~over).sum()), "grip": round(float(held.mean()), 2), "grip_deviation": round(float(held.std()), 2),
        "q_more_than_letting_go": round(float(more.mean()), 2), "holding_is_better": round(float((more > 0).mean()), 2),
    }  # fmt: skip


def where_it_lets_go(learner: Ours, problem: Problem, offline: Steps, at_NX: Float) -> dict[str, float]:
    """`at_NX`: states and what was done there, side by side."""
    state, done = at_NX[:, :4], at_NX[:, 4:]
    own = learner.agent.actor.normalizer
    asked = own.decode(centres(BOXES, len(own.low))).numpy()
    holding = asked[~problem.sent(asked)[1]]
    every = learner.values(np.repeat(state, len(holding), 0), np.tile(holding, (len(state), 1)))
    let, held = learner.values(state, done), every.reshape(len(state), -1).max(1)
    worth = problem.reward_shift + problem.fall_reward
    away = np.linalg.norm(state[:, None, :2] - offline.columns["proprio"][None, :, :2], axis=2).min(1)
    return {
        "q_there": round(float(let.mean()), 2), "more_than_a_fall_is_worth": round(float((let > worth).mean()), 2),
        "q_of_holding_there": round(float(held.mean()), 2), "from_the_data": round(float(np.median(away)), 2),
    }  # fmt: skip


def searched(learner: Ours) -> Act:
    searcher = Searcher(learner.agent.critic, learner.agent.actor.normalizer, 1.0, BOXES)
    return lambda proprio_NP: searcher.mode(*seen(proprio_NP)).numpy()


def show(learner: Learner, problem: Problem, offline: Steps, moment: str) -> None:
    assert isinstance(learner, Ours)
    ways = {"drawn": learner.explore, "central": learner.act, "searched": searched(learner)}
    for way, act in ways.items():
        print(json.dumps({"moment": moment, "acts": way, **ends(learner, act, problem, offline)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--task", choices=[name for name, task in TASKS.items() if task.problem.grip], default="explored-drops"
    )
    parser.add_argument(
        "--algorithm", choices=[a for a in ALGORITHMS if a in ("cal_ql", "cql", "iql", "awac")], default="cal_ql"
    )
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--steps", type=int, default=170, help="of the job")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="fields of the task to change")
    parser.add_argument(
        "--cell",
        action="store_true",
        help="the very job of online.py's cell, shown at its end alone: being judged draws from the noise it explores by",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = changed(TASKS[options.task], options.set)
    every = task.schedule.evaluate_every if options.cell else 10**6
    task = replace(task, schedule=replace(task.schedule, online_steps=options.steps, evaluate_every=every))
    problem, offline = task.problem, load_data(task.problem)
    learner = make(options.algorithm, task.rates, robot_of(task, offline), options.seed, problem.gamma)
    learn_offline(learner, offline, task, options.seed)
    learner = learner.go_online()
    if not options.cell:
        show(learner, problem, offline, "switch")
    learn_on_the_job(learner, offline, task, options.seed, [])
    show(learner, problem, offline, f"{options.steps} steps")


if __name__ == "__main__":
    main()
