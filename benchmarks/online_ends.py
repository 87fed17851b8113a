"""How judged episodes of benchmarks/online.py end, at the switch and after some steps of the job: by letting go, in a pit, at the goal.

    python benchmarks/online_ends.py --algorithm cal_ql --seed 8 --steps 170
    python benchmarks/online_ends.py --task local-drops --set search_boxes=0 offline_updates=2500 --algorithm cql --seed 30 --steps 1500

One line of JSON per moment and way of acting, drawn, central or searched (the best of `BOXES` along each action number by the critic, whoever
learned), for a task with a grip; some 20 s of a core.
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
from online_search import Searcher
from online_task import Act, Problem, let_go

from robot_pt.evaluate import episode_seeds
from robot_pt_sim.point_maze import MAX_STEP_M, MazeBatch, find_maze

BOXES = 6


def ends(learner: Ours, act: Act, problem: Problem) -> dict[str, Any]:
    """Counts of ends, the grip's mean and deviation [half ranges], and how much more Q holding has than letting go at the states on the way."""
    maze, count = find_maze(problem.maze), problem.evaluation_episodes
    batch = MazeBatch(maze, count)
    proprio = batch.reset(episode_seeds(0, count), anywhere=problem.anywhere)
    over, found = np.zeros(count, bool), {"let_go": 0, "pit": 0, "goal": 0}
    grip, gap = [], []
    for _ in range(maze.horizon):
        action, live = act(proprio), ~over
        sent, dropped = problem.sent(action)
        grip.append(action.reshape(count, problem.copies, -1)[live, :, 2].mean(1))
        loose = let_go(problem, action)
        gap.append(learner.values(proprio[live], action[live]) - learner.values(proprio[live], loose[live]))
        proprio, _, success = batch.step(sent)
        fallen = batch.fallen() & ~dropped
        for name, ended in (("let_go", dropped), ("pit", fallen), ("goal", success & ~dropped & ~fallen)):
            found[name] += int((ended & live).sum())
        over |= dropped | fallen | success
        if over.all():
            break
    held, more = np.concatenate(grip) / MAX_STEP_M, np.concatenate(gap)
    return {
        **found, "out_of_time": int((~over).sum()), "grip": round(float(held.mean()), 2), "grip_deviation": round(float(held.std()), 2),
        "q_more_than_letting_go": round(float(more.mean()), 2), "holding_is_better": round(float((more > 0).mean()), 2),
    }  # fmt: skip


def searched(learner: Ours) -> Act:
    searcher = Searcher(learner.agent.critic, learner.agent.actor.normalizer, 1.0, BOXES)
    return lambda proprio_NP: searcher.mode(*seen(proprio_NP)).numpy()


def show(learner: Learner, problem: Problem, moment: str) -> None:
    assert isinstance(learner, Ours)
    ways = {"drawn": learner.explore, "central": learner.act, "searched": searched(learner)}
    for way, act in ways.items():
        print(json.dumps({"moment": moment, "acts": way, **ends(learner, act, problem)}), flush=True)


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
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = changed(TASKS[options.task], options.set)
    task = replace(task, schedule=replace(task.schedule, online_steps=options.steps, evaluate_every=10**6))
    problem, offline = task.problem, load_data(task.problem)
    learner = make(options.algorithm, task.rates, robot_of(task, offline), options.seed, problem.gamma)
    learn_offline(learner, offline, task, options.seed)
    learner = learner.go_online()
    show(learner, problem, "switch")
    learn_on_the_job(learner, offline, task, options.seed, [])
    show(learner, problem, f"{options.steps} steps")


if __name__ == "__main__":
    main()
