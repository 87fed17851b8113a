"""CPU seconds per update of Cal-QL from states at AntMaze size, beside d3rlpy 2.8.1's CalQL and a loop shaped like CORL's.

Run: ``python benchmarks/update_state.py [--quick] [--threads 1] [--heads 2]``. Prints a table, then one JSON object on the last line. d3rlpy is
optional; benchmarks/update.py says how to put it beside the project. CORL cannot be installed here: `module_loop.py` re-creates
where its time goes, and says so.

All sides: observation 29, action 8, actor 256x2, critics 256x4, 10 + 10 + 10 sampled actions, batch 256, Lagrange multiplier, max backup over 10,
batches ready in memory. Contestants take turns, each for a few updates per round. On a CPU what counts is the processor time of the
process, which a busy machine does not stretch as it does the clock; a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from module_loop import ModuleLoop, Sizes

from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.machine import describe, versions
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from robot_pt.schema import Batch, Spec

BATCH, OBSERVATION, ACTION, SAMPLES = 256, 29, 8, 10
OURS, D3RLPY, LOOP = "robot-pt Cal-QL", "d3rlpy 2.8.1 CalQL", "loop shaped like CORL's (re-created)"
LIMITS = {D3RLPY: 1.0, LOOP: 1.8}
"""The least ratio of their processor time to ours that we hold ourselves to on one thread."""
Update = Callable[[], Any]


def make_batch(device: str) -> Batch:
    gen = torch.Generator().manual_seed(0)
    number = lambda *shape: torch.randn(BATCH, *shape, generator=gen).to(device)  # noqa: E731
    whole = torch.zeros(BATCH, dtype=torch.int64, device=device)
    return Batch(
        images={}, proprio=number(OBSERVATION), task=whole, language=torch.zeros(BATCH, 0, device=device),
        action=number(ACTION).tanh(), reward=number(), discount=torch.full((BATCH,), 0.99, device=device), next_images={},
        next_proprio=number(OBSERVATION), return_to_go=number(), sample_key=torch.arange(BATCH, device=device), source=whole,
    )  # fmt: skip


def ours(config: CalQLConfig, device: str) -> Update:
    names = tuple(f"a{i}" for i in range(ACTION))
    spec = Spec(
        cameras={}, embodiment="ant", action_names=names, proprio_names=tuple(f"o{i}" for i in range(OBSERVATION))
    )
    bounds = Bounds(low=(-1.0,) * ACTION, high=(1.0,) * ACTION, origin="box")
    agent = CalQL.build(
        spec, cameras=(), image_size=(0, 0), task_slots=1, encoder=EncoderConfig(), config=config, bounds=bounds, device=device
    )  # fmt: skip
    batch, step = make_batch(device), iter(range(10**9))
    return lambda: agent.update(batch, next(step))


def d3rlpy_calql(heads: int, device: str) -> Update:
    """ImportError where d3rlpy is absent."""
    import d3rlpy
    from d3rlpy.models.encoders import VectorEncoderFactory
    from d3rlpy.torch_utility import TorchMiniBatch

    config = d3rlpy.algos.CalQLConfig(
        actor_encoder_factory=VectorEncoderFactory(hidden_units=[256, 256]),
        critic_encoder_factory=VectorEncoderFactory(hidden_units=[256] * 4),
        actor_learning_rate=1e-4, critic_learning_rate=3e-4, temp_learning_rate=1e-4, alpha_learning_rate=3e-4, batch_size=BATCH,
        gamma=0.99, n_critics=heads, n_action_samples=SAMPLES, max_q_backup=True, initial_alpha=2.718, alpha_threshold=0.8,
        conservative_weight=5.0,
    )  # fmt: skip
    learner = config.create(device=device)
    learner.create_impl((OBSERVATION,), ACTION)
    batch, column = make_batch(device), lambda x: x[:, None]
    ready = TorchMiniBatch(
        observations=batch.proprio, actions=batch.action, rewards=column(batch.reward), next_observations=batch.next_proprio,
        next_actions=batch.action, returns_to_go=column(batch.return_to_go), terminals=torch.zeros(BATCH, 1, device=device),
        intervals=torch.ones(BATCH, 1, device=device), device=device,
    )  # fmt: skip
    step = iter(range(10**9))
    return lambda: learner.impl.update(ready, next(step))


def module_loop() -> Update:
    loop = ModuleLoop(Sizes(OBSERVATION, ACTION, (256, 256), (256,) * 4, SAMPLES))
    b = make_batch("cpu")
    ready = (b.proprio, b.action, b.reward, b.next_proprio, b.discount, b.return_to_go)
    return lambda: loop.update(ready)


def contestants(heads: int, device: str) -> dict[str, Update]:
    config = CalQLConfig(heads=heads, layer_norm=heads > 2, subset=2 if heads > 2 else None)
    out = {OURS: ours(config, device)}
    try:
        out[D3RLPY] = d3rlpy_calql(heads, device)
    except ImportError as error:
        print(f"d3rlpy is not importable ({error}); measuring without it. benchmarks/update.py says how to install it.")
    if device == "cuda":
        out[f"{OURS}, CUDA graph"] = ours(replace(config, acceleration="cuda_graph"), device)
    elif heads == 2:
        out[LOOP] = module_loop()
    return out


def measure(updates: dict[str, Update], rounds: int, count: int, device: str) -> dict[str, list[float]]:
    """name -> seconds per update, one number per round: of the processor, or of the clock where a GPU does the work."""
    on_gpu = device == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    for update in updates.values():
        for _ in range(20 if on_gpu else 3):
            update()
    out: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(rounds):
        for name, update in updates.items():
            wait()
            start = clock()
            for _ in range(count):
                update()
            wait()
            out[name].append((clock() - start) / count)
    return out


def report(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Print the table; the numbers again, with the ratios and whether they reach `LIMITS`."""
    ratios: dict[str, Any] = {}
    for name, values in seconds.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(values, seconds[OURS], strict=True))
        print(f"{name:<40} {statistics.median(values) * 1e3:9.2f} ms per update, {ratio:5.2f} x ours")
        if name in LIMITS:
            ratios[name] = {"ratio": round(ratio, 3), "limit": LIMITS[name], "reached": ratio >= LIMITS[name]}
    return {
        "ms_per_update": {name: round(statistics.median(v) * 1e3, 3) for name, v in seconds.items()},
        "ratio_to_ours": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--heads", type=int, default=2, help="critics; above 2 with LayerNorm and a drawn pair (REDQ)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="three rounds instead of fifteen")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    count = 200 if options.device == "cuda" else 4
    updates = contestants(options.heads, options.device)
    seconds = measure(updates, 3 if options.quick else 15, count, options.device)
    bounded = float(updates[OURS]()["critic/bound_rate"])
    print(
        f"policy samples below the return-to-go, which ours leaves out of the way back: {100 * bounded:.0f} % at the end"
    )
    result = {
        "benchmark": "update_state",
        "batch": BATCH,
        "heads": options.heads,
        "threads": options.threads,
        "device": options.device,
        "bounded": round(bounded, 3),
    }
    print(json.dumps({**result, **report(seconds), "machine": describe(), "versions": versions()}))


if __name__ == "__main__":
    main()
