"""`Policy.act` from a raw camera frame, beside the bare forward pass of the same network on ready tensors.

Run: ``python benchmarks/policy.py [--quick]``. Prints a table, then one JSON object on the last line. Both are called in turn,
in random order, in one thread, so that a busy machine slows both alike; what `act` adds is checking, resizing the
frame, and the action's way back to physical units; what it saves is Python between the kernels (it runs a recorded graph)
and reordering weights at each call (it keeps them channels-last). p99 is taken in each of 10 blocks of rounds; ratios are medians over
blocks. The last column is the forward pass against itself in the same scheme: how far such ratios scatter here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robot_pt import checkpoint
from robot_pt.agents.bc import BC
from robot_pt.machine import describe, versions
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.policy import Policy
from robot_pt.policy_record import PolicyRecord
from robot_pt.schema import Observation, Spec
from robot_pt.tasks import TaskTable

# network, its image size, the frame that comes in (simulator: rendered at that size; cameras: larger), rounds
CASES = (
    ("small", 64, (64, 64), 4000),
    ("small", 64, (256, 256), 4000),
    ("small", 64, (480, 640), 4000),
    ("small", 128, (480, 640), 2000),
    ("resnet18", 64, (480, 640), 300),
    ("resnet34", 128, (480, 640), 100),
)
BLOCKS = 10
LIMIT = 1.2


def contestants(encoder: str, size: int, frame: tuple[int, int]) -> dict[str, Callable[[], Any]]:
    """name -> one call. The policy comes from a checkpoint on disk, the forward pass uses its very network."""
    spec = Spec(cameras={"primary": frame}, embodiment="widowx250s")
    tasks = TaskTable.of(["lift"])
    agent = BC.build(
        spec, cameras=["primary"], image_size=(size, size), task_slots=tasks.slots, encoder=EncoderConfig(name=encoder)
    )
    record = PolicyRecord.of(agent="bc", network=agent.actor.config, spec=spec, tasks=tasks)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), 0, agent, record, {})
        policy = Policy.load(folder, spec)
    policy.reset("lift")
    rng = np.random.default_rng(0)
    seen = Observation({"primary": rng.integers(0, 256, (*frame, 3), dtype=np.uint8)}, np.zeros(7, np.float32))
    network = agent.actor.eval()
    ready = (
        {"primary": torch.from_numpy(rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8))},
        torch.zeros(1, 7), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 0),
    )  # fmt: skip

    def forward() -> Any:
        with torch.inference_mode():
            return network(*ready)

    return {"act": lambda: policy.act([seen]), "forward": forward, "forward again": forward}


def measure(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each call, (rounds,), one call of each per round in an order drawn anew."""
    rng = np.random.default_rng(1)
    names = list(calls)
    seconds = {name: np.empty(rounds) for name in names}
    for i in range(-20, rounds):  # the first 20 rounds warm up
        for name in rng.permutation(names):
            start = time.perf_counter()
            calls[name]()
            if i >= 0:
                seconds[name][i] = time.perf_counter() - start
    return seconds


def case(encoder: str, size: int, frame: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Percentiles in milliseconds and their ratios."""
    seconds = measure(contestants(encoder, size, frame), rounds)
    p50 = {n: float(np.median(s)) for n, s in seconds.items()}
    p99 = {n: np.percentile(s.reshape(BLOCKS, -1), 99, axis=1) for n, s in seconds.items()}
    return {
        "encoder": encoder,
        "size": size,
        "frame": frame,
        "rounds": rounds,
        "act_p50_ms": p50["act"] * 1e3,
        "act_p99_ms": float(np.median(p99["act"])) * 1e3,
        "forward_p50_ms": p50["forward"] * 1e3,
        "forward_p99_ms": float(np.median(p99["forward"])) * 1e3,
        "p50_ratio": p50["act"] / p50["forward"],
        "p99_ratio": float(np.median(p99["act"] / p99["forward"])),
        "p99_ratio_of_forward_to_itself": float(np.median(p99["forward again"] / p99["forward"])),
    }


def main() -> None:
    """Measure all cases and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    columns = ("network", "frame", "act p50", "p99 ms", "forward p50", "p99 ms", "p50 ratio", "p99 ratio", "itself")
    print("".join(f"{c:>13}" for c in columns))
    for encoder, size, frame, rounds in CASES:
        r = case(encoder, size, frame, max(rounds // 5, 5 * BLOCKS) if options.quick else rounds)
        results.append(r)
        numbers = (
            r["act_p50_ms"], r["act_p99_ms"], r["forward_p50_ms"], r["forward_p99_ms"], r["p50_ratio"], r["p99_ratio"],
            r["p99_ratio_of_forward_to_itself"],
        )  # fmt: skip
        print(f"{f'{encoder} {size}':>13}{f'{frame[0]}x{frame[1]}':>13}" + "".join(f"{n:13.3f}" for n in numbers))
    met = [r["p99_ratio"] <= LIMIT for r in results]
    print(f"p99 ratio <= {LIMIT} in {sum(met)} of {len(met)} cases")
    print(
        json.dumps(
            {
                "benchmark": "policy",
                "cases": results,
                "limit": LIMIT,
                "met": met,
                "machine": describe(),
                "versions": versions(),
            }
        )
    )


if __name__ == "__main__":
    main()
