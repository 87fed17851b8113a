"""A small in-memory EpisodeSource whose pixels say which row they are, shared by the tests of the training runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from robot_pt.errors import DataError
from robot_pt.schema import UNKNOWN, EpisodeTable, Spec


@dataclass
class MemorySource:
    """Every pixel of row r is r % 251; proprio and actions are drawn once from the seed."""

    spec: Spec
    episodes: EpisodeTable
    proprio: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    decoded: list[int] = field(default_factory=list)

    def images(self, steps, camera, size=None):
        if camera not in self.spec.cameras:
            raise DataError(f"no camera {camera!r}.")
        self.decoded += [int(s) for s in steps]
        out = np.empty((len(steps), *(size or self.spec.cameras[camera]), 3), np.uint8)
        out[:] = (np.asarray(steps) % 251).astype(np.uint8)[:, None, None, None]
        return out


def build(
    lengths: Sequence[int] = (6, 4, 5),
    *,
    success: Sequence[int] | None = None,
    tasks: Sequence[str] | None = None,
    seed: int = 0,
    **spec: object,
) -> MemorySource:
    rng, count = np.random.default_rng(seed), sum(lengths)
    starts = np.cumsum([0, *lengths[:-1]]).astype(np.int64)
    tasks = list(tasks or ["lift"] * len(lengths))
    truncated = np.zeros(count, bool)
    truncated[np.cumsum(lengths) - 1] = True
    table = EpisodeTable(
        start=starts,
        length=np.asarray(lengths, np.int64),
        instruction=[f"please {t}" for t in tasks],
        task=tasks,
        success=np.asarray(success if success is not None else [UNKNOWN] * len(lengths), np.int8),
        dataset=["toy"] * len(lengths),
        split=["train"] * len(lengths),
        operator=["scripted"] * len(lengths),
    )
    return MemorySource(
        spec=Spec(**{"cameras": {"primary": (8, 8)}, "embodiment": "toy", **spec}),
        episodes=table,
        proprio=rng.normal(size=(count, 7)).astype(np.float32),
        actions=rng.uniform(-1, 1, (count, 7)).astype(np.float32),
        rewards=np.zeros(count, np.float32),
        terminated=np.zeros(count, bool),
        truncated=truncated,
    )


@pytest.fixture(scope="session")
def memory_source() -> Callable[..., MemorySource]:
    return build
