"""Small videos whose answer is known, and clips of them as `robot_pt.clips.Clips` gives them."""

from __future__ import annotations

import numpy as np

from robot_pt.clips import ClipBatch, ClipPlan
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.replay import to_device
from robot_pt.schema import Spec

SIZE = 16
SPEC = Spec(cameras={"primary": (SIZE, SIZE)}, embodiment="toy")
ENCODER = EncoderConfig(name="small", latent=32)


class Videos:
    """Episodes of one length. frames: uint8 (E, T, H, W, 3); language: (E, L) features of each one's caption."""

    def __init__(self, frames: np.ndarray, language: np.ndarray | None = None):
        self.frames = frames
        self.language = np.zeros((len(frames), 256), np.float32) if language is None else language

    def clips(self, plan: ClipPlan, number: int, size: int, *, seed: int = 0) -> ClipBatch:
        """Batch `number`, anchors uniform over all steps, as tensors."""
        rng = np.random.default_rng([seed, number])
        count, length = self.frames.shape[:2]
        return self.at(plan, rng, rng.integers(0, count, size), rng.integers(0, length, size), number * size)

    def at(
        self, plan: ClipPlan, rng: np.random.Generator, episode: np.ndarray, anchor: np.ndarray, first: int = 0
    ) -> ClipBatch:
        """Clips of these episodes and anchors."""
        size, length = len(episode), self.frames.shape[1]
        wanted = plan.steps(rng, anchor, np.full(size, length))
        step = np.clip(wanted, 0, length - 1)
        nothing = np.zeros((*step.shape, 0), np.float32)
        batch = ClipBatch(
            images={"primary": self.frames[episode[:, None], step]}, valid=step == wanted, proprio=nothing, action=nothing,
            reward=np.zeros(step.shape, np.float32), return_to_go=np.zeros(step.shape, np.float32),
            terminal=np.zeros(step.shape, bool), step=step, length=np.full(size, length), episode=episode,
            task=np.zeros(size, np.int64), language=self.language[episode], sample_key=first + np.arange(size),
            source=np.zeros(size, np.int64),
        )  # fmt: skip
        return to_device(batch, "cpu")


def square(frame: np.ndarray, y: float, x: float, side: int, colour: tuple[int, int, int]) -> None:
    """Paint it, top left corner at (y, x) pixels."""
    top, left = round(y), round(x)
    frame[max(top, 0) : top + side, max(left, 0) : left + side] = colour


def circling(episodes: int, seed: int, length: int = 16) -> Videos:
    """A square that walks along the frame's edge, once around in 16 steps, before a texture that is the episode's own."""
    rng, path = np.random.default_rng(seed), SIZE - 4
    frames = np.empty((episodes, length, SIZE, SIZE, 3), np.uint8)
    for e in range(episodes):
        texture = np.kron(rng.integers(0, 160, (4, 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
        begin = rng.integers(0, 4 * path)
        for t in range(length):
            side, along = divmod((begin + 3 * t) % (4 * path), path)
            y, x = [(0, along), (along, path), (path, path - along), (path - along, 0)][side]
            frames[e, t] = texture
            square(frames[e, t], y, x, 4, (255, 255, 255))
    return Videos(frames)


def crossing(
    episodes: int, seed: int, *, length: int = 12, distractor: bool = True, backwards: np.ndarray | None = None
) -> Videos:
    """A red square that goes once from left to right (right to left where `backwards`), at a height of its own; a green one anywhere."""
    rng = np.random.default_rng(seed)
    frames = np.full((episodes, length, SIZE, SIZE, 3), 40, np.uint8)
    backwards = np.zeros(episodes, bool) if backwards is None else backwards
    for e in range(episodes):
        height = rng.uniform(0, SIZE - 4)
        for t in range(length):
            if distractor:
                square(frames[e, t], *rng.uniform(0, SIZE - 5, 2), 5, (40, 200, 40))
            x = (SIZE - 4) * t / (length - 1)
            square(frames[e, t], height, SIZE - 4 - x if backwards[e] else x, 4, (255, 60, 60))
    return Videos(frames)
