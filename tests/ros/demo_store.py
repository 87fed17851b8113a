"""A store with one episode of given actions, for what plays it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore


def demo_store(folder: Path, actions: np.ndarray, embodiment: str = "panda") -> Path:
    """`actions` (T, 7), canonical. Its frames are black and its states zero: a replay looks at neither."""
    spec, steps = Spec(cameras={"primary": (8, 8)}, embodiment=embodiment), len(actions)
    DemoStore.create(folder, spec).append(
        Episode(
            spec=spec, images={"primary": np.zeros((steps, 8, 8, 3), np.uint8)},
            proprio=np.zeros((steps, 7), np.float32), actions=actions, rewards=np.zeros(steps, np.float32),
            terminated=np.zeros(steps, bool), truncated=np.arange(steps) == steps - 1, task="lift-red",
        )
    )  # fmt: skip
    return folder
