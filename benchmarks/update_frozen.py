"""What frozen encoders and cached features save: one update of 64 end to end, with frozen encoders, and from features. One thread.

    python benchmarks/update_frozen.py

Small encoder, 64x64 frames, processor time, in turns; the least of three turns of three updates.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch

from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.encoded import FrozenEncoders
from robot_pt.agents.freezing import freeze_encoders
from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.augment import AugmentConfig
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import ACTION_NAMES, PROPRIO_NAMES, Batch, Spec

CAMERA, SIZE, BATCH = "primary", (64, 64), 64
WAYS = ("end to end", "frozen", "cached")
CROP = AugmentConfig(pad=1, jitter_probability=0.0)
SHAPE: dict[str, Any] = {"target_gap": None, "actions": 4, "actor_hidden": (256, 256, 256), "scaled_log_std": False}
AGENTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "PTR": (PTR, PTRConfig, {}),
    "Cal-QL, PTR's critic": (CalQL, CalQLConfig, {**SHAPE, "critic": "ptr", "critic_hidden": (256, 256, 256)}),
    "Cal-QL, critic of state and features": (CalQL, CalQLConfig, {**SHAPE, "layer_norm": True, "critic_hidden": (256, 256)}),
}  # fmt: skip


def prepared(name: str, way: str) -> tuple[Any, Batch]:
    """An agent and a batch as it takes them."""
    kind, config, options = AGENTS[name]
    spec = Spec(cameras={CAMERA: SIZE}, embodiment="arm", action_names=ACTION_NAMES, proprio_names=PROPRIO_NAMES)
    agent = kind.build(
        spec, cameras=(CAMERA,), image_size=SIZE, task_slots=5, encoder=EncoderConfig(name="small"),
        config=config(**options, augment=None if way == "cached" else CROP),
    )  # fmt: skip
    seen = torch.randint(0, 256, (BATCH, *SIZE, 3), dtype=torch.uint8)
    if way != "end to end":
        freeze_encoders(agent, "encoder")
    if way == "cached":
        look = FrozenEncoders.of(agent, CAMERA, SIZE)
        assert look is not None
        seen = torch.from_numpy(look(seen.numpy()))
    numbers = torch.zeros(BATCH)
    return agent, Batch(
        images={CAMERA: seen}, next_images={CAMERA: seen}, proprio=torch.randn(BATCH, 7), next_proprio=torch.randn(BATCH, 7),
        task=numbers.long(), language=torch.zeros(BATCH, 0), action=torch.zeros(BATCH, 7), reward=numbers, discount=numbers + 1,
        return_to_go=numbers, sample_key=torch.arange(BATCH), source=numbers.long(),
    )  # fmt: skip


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    cells = {(name, way): prepared(name, way) for name in AGENTS for way in WAYS}
    least = dict.fromkeys(cells, float("inf"))
    for turn in range(4):  # the first is not counted
        for cell, (agent, batch) in cells.items():
            began = time.process_time()
            for step in range(3):
                agent.update(batch, step)
            if turn:
                least[cell] = min(least[cell], (time.process_time() - began) / 3)
    print(f"| ms per update | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for name in AGENTS:
        print(f"| {name} | {' | '.join(f'{1000 * least[name, way]:.0f}' for way in WAYS)} |")
    rows = [{"agent": name, "way": way, "seconds": seconds} for (name, way), seconds in least.items()]
    print(json.dumps({"benchmark": "update_frozen", "cells": rows}))


if __name__ == "__main__":
    main()
