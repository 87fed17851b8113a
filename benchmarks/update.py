"""Updates per second of PTR and BC, beside d3rlpy 2.8.1's CQL with the same image encoder, on the same data in the same run.

Run: ``python benchmarks/update.py [--quick] [--encoder small] [--size 64] [--threads 2]``. Prints a table, then one JSON object on
the last line. `--compile` adds torch.compile of the networks, which needs a C++ compiler. The peer is optional (`--no-peer`, or not installed):

    .venv/bin/python -m pip install --no-deps --target /tmp/d3rlpy -r benchmarks/requirements-d3rlpy.txt
    PYTHONPATH=/tmp/d3rlpy .venv/bin/python benchmarks/update.py

Contestants take turns within each round, so a busy machine slows all alike; a ratio is the median of the rounds' ratios. Both sides:
batch 64, two Q heads, max-over-samples backup, fixed conservative weight, Adam, no augmentation, images ready in memory. What
d3rlpy does differently, as it ships: an encoder per Q head, policy samples of s' in the conservative term, an MLP that is not re-fed actions
and features, images repeated per
sampled action.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from robot_pt.agents.bc import BC, BCConfig
from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.machine import describe, versions
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.schema import Batch, Spec

BATCH, TASKS = 64, 20
LIMITS = {10: 5.0, 4: 3.0}
"""Sampled actions -> the least ratio to d3rlpy we hold ourselves to on a CPU."""
Update = Callable[[], Any]


def make_batch(size: int, device: str) -> Batch:
    gen = torch.Generator().manual_seed(0)
    image = lambda: torch.randint(0, 256, (BATCH, size, size, 3), generator=gen, dtype=torch.uint8).to(device)  # noqa: E731
    number = lambda *shape: torch.randn(BATCH, *shape, generator=gen).to(device)  # noqa: E731
    count = torch.arange(BATCH, device=device)
    return Batch(
        images={"primary": image()},
        proprio=number(7),
        task=count % TASKS,
        language=torch.zeros(BATCH, 0, device=device),
        action=number(7) * 0.02,
        reward=number(),
        discount=torch.full((BATCH,), 0.96, device=device),
        next_images={"primary": image()},
        next_proprio=number(7),
        return_to_go=number(),
        sample_key=count,
        source=torch.zeros_like(count),
    )


def ours(kind: type[PTR] | type[BC], config: Any, encoder: str, size: int, device: str) -> Update:
    agent = kind.build(
        Spec(cameras={"primary": (size, size)}, embodiment="benchmark"),
        cameras=["primary"],
        image_size=(size, size),
        task_slots=TASKS,
        encoder=EncoderConfig(name=encoder),
        config=config,
        device=device,
    )
    batch, step = make_batch(size, device), iter(range(10**9))
    return lambda: agent.update(batch, next(step))


def pixel_factory(encoder: str, size: int) -> Any:
    """d3rlpy's factory of networks with our `ImageEncoder` in front of MLP(256, 256, 256)."""
    from d3rlpy.models.encoders import EncoderFactory
    from d3rlpy.models.torch.encoders import Encoder, EncoderWithAction

    def mlp(inputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in (inputs, 256, 256):
            layers += [nn.Linear(width, 256), nn.ReLU()]
        return nn.Sequential(*layers)

    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = ImageEncoder(EncoderConfig(name=encoder), (size, size))

        def forward(self, x: Tensor) -> Tensor:  # d3rlpy hands over float (B, 3, H, W) in 0..255
            return self.encoder.bottleneck(self.encoder.pool(self.encoder.backbone(x / 255)))

    class State(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.pixels, self.mlp = Pixels(), mlp(256)

        def forward(self, x: Tensor) -> Tensor:
            return self.mlp(self.pixels(x))

    class StateAction(EncoderWithAction):
        def __init__(self, action_size: int) -> None:
            super().__init__()
            self.pixels, self.mlp = Pixels(), mlp(256 + action_size)

        def forward(self, x: Tensor, action: Tensor) -> Tensor:
            return self.mlp(torch.cat([self.pixels(x), action], dim=1))

    class Factory(EncoderFactory):
        def create(self, observation_shape: Any) -> Encoder:
            return State()

        def create_with_action(self, observation_shape: Any, action_size: int, discrete_action: bool = False) -> Any:
            return StateAction(action_size)

        @staticmethod
        def get_type() -> str:
            return "robot_pt"

    return Factory()


def d3rlpy_cql(actions: int, encoder: str, size: int, device: str) -> Update:
    """d3rlpy's CQL on our image encoder and batch; ImportError where d3rlpy is absent."""
    import d3rlpy
    from d3rlpy.torch_utility import TorchMiniBatch

    config = d3rlpy.algos.CQLConfig(
        actor_encoder_factory=pixel_factory(encoder, size),
        critic_encoder_factory=pixel_factory(encoder, size),
        batch_size=BATCH,
        gamma=0.96,
        n_action_samples=actions,
        max_q_backup=True,
        alpha_learning_rate=0.0,  # no Lagrange multiplier, as in PTR
        initial_alpha=1.0,
        alpha_threshold=0.0,
        conservative_weight=10.0,
    )
    learner = config.create(device=device)
    learner.create_impl((3, size, size), 7)
    batch = make_batch(size, device)
    floats = lambda x: x["primary"].permute(0, 3, 1, 2).float().contiguous()  # noqa: E731
    column = lambda x: x[:, None].float()  # noqa: E731
    ready = TorchMiniBatch(
        observations=floats(batch.images),
        actions=(batch.action * 10).clamp(-0.99, 0.99),
        rewards=column(batch.reward),
        next_observations=floats(batch.next_images),
        next_actions=(batch.action * 10).clamp(-0.99, 0.99),
        returns_to_go=column(batch.return_to_go),
        terminals=torch.zeros(BATCH, 1, device=device),
        intervals=torch.ones(BATCH, 1, device=device),
        device=device,
    )
    step = iter(range(10**9))
    return lambda: learner.impl.update(ready, next(step))


def contestants(encoder: str, size: int, device: str, peer: bool, compiled: bool = False) -> dict[str, Update]:
    ptr = lambda **options: ours(PTR, PTRConfig(**{"augment": None, **options}), encoder, size, device)  # noqa: E731
    out: dict[str, Update] = {}
    for actions in LIMITS:
        out[f"PTR, {actions} actions"] = ptr(actions=actions)
        if peer:
            out[f"d3rlpy CQL, {actions} actions"] = d3rlpy_cql(actions, encoder, size, device)
    out["PTR as trained (4 actions, augmented)"] = ours(PTR, PTRConfig(), encoder, size, device)
    out["PTR bf16, 4 actions"] = ptr(bf16=True)
    if device == "cuda":
        out["PTR CUDA graph bf16, 4 actions"] = ptr(bf16=True, acceleration="cuda_graph")
    if compiled:
        out["PTR compiled, 4 actions"] = ptr(acceleration="compile")
        out["PTR compiled bf16, 4 actions"] = ptr(acceleration="compile", bf16=True)
    out["PTR advantage-weighted, 4 actions"] = ptr(actor_loss="advantage_weighted")
    out["PTR extraction from a frozen critic"] = ptr(actor_loss="advantage_weighted", critic_steps=0)
    out["BC"] = ours(BC, BCConfig(augment=None), encoder, size, device)
    return out


def require_compiler(device: str) -> None:
    """torch.compile writes C++ for a CPU, and C for Triton's launchers on a GPU. Ends with one sentence where nothing compiles it."""
    names = [os.environ.get("CXX"), "g++", "clang++"] if device == "cpu" else [os.environ.get("CC"), "gcc", "clang"]
    if not any(name and shutil.which(name) for name in names):
        raise SystemExit(
            f"--compile needs a compiler, none of {', '.join(filter(None, names))} is here; install one (apt-get install g++) or leave it out."
        )


def measure(updates: dict[str, Update], rounds: int, device: str, at_least_s: float) -> dict[str, list[float]]:
    """name -> seconds per update, one number per round; each turn lasts at least `at_least_s` (one update if that is longer)."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for name, update in updates.items():
        for _ in range(5 if device == "cuda" or "compiled" in name else 1):  # compiling goes on for some updates
            update()
    out: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(rounds):
        for name, update in updates.items():
            wait()
            start, count = time.perf_counter(), 0
            while count == 0 or time.perf_counter() - start < at_least_s:
                update()
                count += 1
                if device == "cuda" and count % 20:
                    continue
                wait()
            wait()
            out[name].append((time.perf_counter() - start) / count)
    return out


def report(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Print the table; the numbers again, with the ratios to the peer and whether they reach `LIMITS`."""
    rates = {name: 1 / statistics.median(values) for name, values in seconds.items()}
    for name, rate in rates.items():
        print(f"{name:<42} {rate:8.2f} updates/s")
    ratios: dict[str, Any] = {}
    for actions, limit in LIMITS.items():
        mine, theirs = seconds[f"PTR, {actions} actions"], seconds.get(f"d3rlpy CQL, {actions} actions")
        if theirs is None:
            continue
        ratio = statistics.median(t / m for m, t in zip(mine, theirs, strict=True))
        ratios[str(actions)] = {"ratio": round(ratio, 2), "limit": limit, "reached": ratio >= limit}
        print(f"PTR / d3rlpy at {actions} actions: {ratio:.1f} x (limit {limit:g} x)")
    return {"updates_per_s": {name: round(rate, 3) for name, rate in rates.items()}, "ratio_to_d3rlpy": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--size", type=int, default=64, help="image height and width in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="two short rounds instead of five")
    parser.add_argument("--no-peer", action="store_true", help="leave d3rlpy out")
    parser.add_argument(
        "--compile", action="store_true", help="also torch.compile of the networks; the first update takes minutes"
    )
    options = parser.parse_args()
    if options.compile:
        require_compiler(options.device)
    torch.set_num_threads(options.threads)
    try:
        updates = contestants(
            options.encoder, options.size, options.device, peer=not options.no_peer, compiled=options.compile
        )
    except ImportError as error:
        print(f"d3rlpy is not importable ({error}); measuring without it. The docstring says how to install it.")
        updates = contestants(options.encoder, options.size, options.device, peer=False, compiled=options.compile)
    seconds = measure(updates, 2 if options.quick else 5, options.device, 0.5 if options.quick else 2.0)
    result = {"benchmark": "update", "encoder": options.encoder, "size": options.size, "batch": BATCH,
              "threads": options.threads, "device": options.device, **report(seconds)}  # fmt: skip
    print(json.dumps({**result, "machine": describe(), "versions": versions()}))


if __name__ == "__main__":
    main()
