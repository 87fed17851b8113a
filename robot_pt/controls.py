"""Control policies: what a success rate is worth depends on what succeeds without seeing, and without acting on what is seen.

If a policy with blanked images or an open-loop replay does half as well as the policy itself, the task tests little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from robot_pt.errors import DataError
from robot_pt.evaluate import ActingPolicy, PolicyFactory
from robot_pt.images import resize
from robot_pt.schema import Float, Image, Observation, window_of
from robot_pt.sources import EpisodeSource


class ImageBlanked:
    """The wrapped policy, shown the same still image at every step; proprioception stays live.

    `images`: camera role -> (H, W, 3) uint8, resized to what the camera delivers; black where a camera has none.
    """

    def __init__(self, policy: ActingPolicy, images: Mapping[str, Image] | None = None):
        self.version = f"{policy.version}+blanked"
        self.window = window_of(policy)
        self.hears = bool(getattr(policy, "hears", False))
        self._policy, self._images = policy, dict(images or {})

    def reset(self, task: str | None, instruction: str | None = None) -> None:
        if self.hears:
            self._policy.reset(task, instruction)  # type: ignore[call-arg]
        else:
            self._policy.reset(task)

    def act(self, history: Sequence[Observation]) -> Float:
        return self._policy.act([seen._replace(images=self._blank(seen.images)) for seen in history])

    def _blank(self, images: Mapping[str, Image]) -> dict[str, Image]:
        out = {}
        for camera, seen in images.items():
            still = self._images.get(camera)
            out[camera] = np.zeros_like(seen) if still is None else resize(still, (seen.shape[0], seen.shape[1]))
        return out


class OpenLoopReplay:
    """Plays the actions of one demonstration from the first step, whatever it sees; then stands still, gripper as it was.

    `actions`: (T, A) canonical. One action per `act`, so it is right for executors of any chunk length.
    """

    version = "open-loop-replay"

    def __init__(self, actions: Float):
        if actions.ndim != 2 or not len(actions) or not np.isfinite(actions).all():
            raise DataError(
                f"open-loop replay needs finite (T, A) actions of one episode, T >= 1; it was given shape {actions.shape}."
            )
        hold = np.zeros_like(actions[:1])
        hold[:, -1] = actions[-1, -1]
        self._actions = np.concatenate([actions, hold]).astype(np.float32)  # (T + 1, A)
        self._next = 0

    def reset(self, task: str | None) -> None:
        self._next = 0

    def act(self, history: Sequence[Observation]) -> Float:
        step = min(self._next, len(self._actions) - 1)
        self._next += 1
        return self._actions[step : step + 1]


def blanked(factory: PolicyFactory, images: Mapping[str, Image] | None = None) -> PolicyFactory:
    """Picklable factory of `ImageBlanked` around what `factory` makes."""
    return partial(_blanked, factory, dict(images or {}))


def replay(source: EpisodeSource, episode: int) -> PolicyFactory:
    """Picklable factory that replays episode number `episode` of `source`. Raises DataError where there is none."""
    table = source.episodes
    if not 0 <= episode < len(table):
        raise DataError(
            f"episode {episode} to replay is not among the {len(table)} episodes; give 0 to {len(table) - 1}."
        )
    start, length = int(table.start[episode]), int(table.length[episode])
    return partial(OpenLoopReplay, np.array(source.actions[start : start + length], np.float32))


def mean_images(source: EpisodeSource, cameras: Sequence[str], frames: int = 256, seed: int = 0) -> dict[str, Image]:
    """Camera role -> pixel-wise mean (H, W, 3) over `frames` random steps: a blank that keeps the scene's average look."""
    table = source.episodes
    if table.steps == 0:
        raise DataError("the mean image needs at least one step; the source is empty.")
    chosen = np.random.default_rng(seed).choice(table.rows(), min(frames, table.steps), replace=False)
    return {c: source.images(np.sort(chosen), c).mean(axis=0).round().astype(np.uint8) for c in cameras}


def _blanked(factory: PolicyFactory, images: Mapping[str, Image]) -> ImageBlanked:
    return ImageBlanked(factory(), images)
