"""A whole small training run, started by tests as a process of its own: toy_run.py RUN STEPS [--agent bc|ptr] ...

Data is the in-memory source of conftest.py. Prints one JSON line when it ends in order.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from pathlib import Path

import torch

from robot_pt import checkpoint
from robot_pt.agents.bc import BC, BCConfig
from robot_pt.agents.ptr import PTR
from robot_pt.distributed import processes
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.observers import JsonLines
from robot_pt.policy_record import PolicyRecord
from robot_pt.replay import Replay
from robot_pt.rewards import RewardLabel
from robot_pt.tasks import TaskTable
from robot_pt.train import train


def toy_source():
    place = importlib.util.spec_from_file_location("toy_conftest", Path(__file__).with_name("conftest.py"))
    module = importlib.util.module_from_spec(place)
    sys.modules[place.name] = module
    place.loader.exec_module(module)
    return module.build([8, 9, 10, 11], success=[1, 0, 1, 1], cameras={"primary": (32, 32)})


def toy_agent(source, tasks, kind="bc", seed=0):
    settings = {"cameras": ["primary"], "image_size": (16, 16), "task_slots": tasks.slots, "seed": seed,
                "encoder": EncoderConfig(name="small", latent=16)}  # fmt: skip
    if kind == "ptr":
        return PTR.build(source.spec, **settings)
    return BC.build(source.spec, config=BCConfig(head="tanh_gaussian", std="state"), **settings)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--agent", default="bc")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--log-every", type=int, default=3)
    parser.add_argument("--checkpoint-every", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    source, tasks = toy_source(), TaskTable.of(["lift"])
    with processes("cpu") as ranks:
        agent = toy_agent(source, tasks, options.agent, seed=0)
        agent.grad_sync = ranks.mean_gradients
        record = PolicyRecord.of(agent=options.agent, network=agent.actor.config, spec=source.spec, tasks=tasks)
        replay = Replay(
            [source], [1.0], cameras=["primary"], image_size=(16, 16), batch_size=8, reward=RewardLabel(), gamma=0.96,
            task_table=tasks, seed=3, rank=ranks.rank, world_size=ranks.world_size,
        )  # fmt: skip
        start, state = 0, None
        if options.resume:
            start, saved = checkpoint.resume(options.run, agent)
            replay.load_state(saved["replay"])
            state = saved["loop"]

        def save(step, loop):
            checkpoint.save(options.run, step, agent, record, {"replay": replay.state(), "loop": loop})

        class Slowly:
            def start(self, step, steps):
                sys.stdout.write("started\n")
                sys.stdout.flush()

            def step(self, step):
                time.sleep(options.pause)

            def metrics(self, step, values):
                pass

            def close(self):
                pass

        observers = [JsonLines(options.run / "metrics.jsonl"), Slowly()] if ranks.is_first else []
        with replay:
            last = train(
                agent, replay, start=start, steps=options.steps, observers=observers, save=save, state=state,
                checkpoint_every=options.checkpoint_every, log_every=options.log_every, processes=ranks,
            )  # fmt: skip
        if ranks.is_first:
            sys.stdout.write(json.dumps(last) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
