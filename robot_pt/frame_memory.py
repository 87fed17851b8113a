"""Features of the last few observations, each encoded once however many actions look at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from robot_pt.schema import Observation


class FrameMemory:
    """For a policy that looks at `window` observations: acting costs one pass of the encoder per new observation.

    An observation is known by identity, and kept as long as it is: a caller that passes copies gets the same features, later.
    """

    def __init__(self, window: int, encode: Callable[[Observation], Tensor]):
        """`encode`: one observation -> (1, F)."""
        self.window, self._encode = window, encode
        self._kept: list[tuple[Observation, Tensor]] = []

    def clear(self) -> None:
        """Forget every feature: the next ones are of another episode, or of another task."""
        self._kept = []

    def features(self, history: Sequence[Observation]) -> Tensor:
        """(1, S, F) of the last S <= window observations, oldest first."""
        known = {id(observation): feature for observation, feature in self._kept}
        seen = history[-self.window :]
        self._kept = [(o, known[id(o)] if id(o) in known else self._encode(o)) for o in seen]
        return torch.stack([feature for _, feature in self._kept], dim=1)
