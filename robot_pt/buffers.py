"""Image buffers that are used again: a training loop fills the same few megabytes, instead of asking for new pages each step."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import torch

from robot_pt.schema import Image


class BufferPool:
    """Hands out uint8 arrays and takes each block back when the last array that looks into it is gone.

    Nobody has to give anything back, and an array that is kept is never overwritten. Blocks can lie in pinned host
    memory, from which a GPU copies at full speed.
    """

    def __init__(self, *, pinned: bool = False):
        self._pinned = pinned
        self._free: dict[int, list[torch.Tensor]] = {}
        self._lock = threading.Lock()
        self.blocks = 0
        """Blocks ever made; stays flat while arrays come and go."""

    def take(self, shape: tuple[int, ...]) -> Image:
        """An uninitialised array of this shape."""
        size = int(np.prod(shape))
        with self._lock:
            free = self._free.setdefault(size, [])
            block = free.pop() if free else None
        if block is None:
            block = torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)
            self.blocks += 1
        # Views of `flat` hold `flat`, not the block: when it dies, nothing looks at the block any more.
        flat = block.numpy()
        weakref.finalize(flat, self._give_back, size, block).atexit = False
        return flat.reshape(shape)

    def _give_back(self, size: int, block: torch.Tensor) -> None:
        # Runs wherever the last reference dropped, possibly inside `take` of this very thread: list.append is atomic.
        self._free[size].append(block)
