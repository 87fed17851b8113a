"""Parts of a mixture whose frames have been encoded already: data that is there once and for all, and episodes as they come.

Shapes: N rows of a part, T steps of an episode, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from robot_pt.features import Looks
from robot_pt.gathering import Part
from robot_pt.online.growing import Column, EpisodeRows
from robot_pt.schema import Float, Int, Spec

Encoded = Callable[[Int], Float]
"""(len(rows), F) features of these rows."""


@final
class EncodedPart(NamedTuple):
    """`part` with features in place of frames."""

    part: Part
    features: Encoded

    @property
    def spec(self) -> Spec:
        return self.part.spec

    def rows(self, item: Int) -> tuple[Int, Int]:
        return self.part.rows(item)

    def columns(self, item: Int) -> Mapping[str, Float | Int]:
        return self.part.columns(item)

    def last(self, item: Int) -> Int:
        return self.part.last(item)

    def steps(self, rows: Int) -> tuple[Float, Float]:
        return self.part.steps(rows)

    def images(self, rows: Int, camera: str, size: tuple[int, int]) -> NDArray[Any]:
        return self.features(rows)


@final
class EncodedRows:
    """Features of the steps of `rows`, looked at when their episode joins."""

    def __init__(self, rows: EpisodeRows, look: Looks):
        self._rows, self._look = rows, look
        self._features = Column((look.width,), np.float32)

    def catch_up(self) -> None:
        """Look at what `rows` has more than this. Raises DataError for a damaged frame; nothing is added then."""
        new = np.arange(len(self._features), len(self._rows))
        if len(new):
            self._features.extend(self._look(self._rows.images(new, self._look.camera, self._look.image_size)))

    def __call__(self, rows: Int) -> Float:
        out: Float = self._features.values[rows]
        return out
