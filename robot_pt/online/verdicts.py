"""A success classifier in the place of a person: whether an online episode succeeded, said once, before it is learned from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from robot_pt import images
from robot_pt.errors import MismatchError
from robot_pt.schema import Episode, Spec
from robot_pt.success.classifier import SuccessClassifier


class EpisodeJudge:
    """Judges whole episodes by the classifier's rule at their end, as `robot-pt reward label` does.

    Args:
        simulated: stores whose recorded success a simulator wrote. There the classifier's word replaces it; elsewhere what a person
            recorded stands, and the classifier speaks of episodes that nobody judged.
    Raises:
        MismatchError: episodes of `spec` have no such camera.
    """

    def __init__(self, classifier: SuccessClassifier, spec: Spec, *, simulated: Iterable[Path] = ()):
        self._classifier, self._camera = classifier, classifier.card.camera
        self._simulated = {os.path.abspath(path) for path in simulated}
        if self._camera not in spec.cameras:
            raise MismatchError(
                f"the classifier of --judge looks through camera {self._camera!r}, the episodes have {sorted(spec.cameras)}; train one "
                "on a camera of theirs, or leave --judge out."
            )

    def __call__(self, store: Path, episode: Episode) -> bool | None:
        """Success of an episode that lies in `store`. Raises DataError for a frame that cannot be decoded."""
        if episode.success is not None and os.path.abspath(store) not in self._simulated:
            return bool(episode.success)
        frames = episode.images[self._camera]
        if not isinstance(frames, np.ndarray):
            frames = images.decode(frames, self._classifier.card.image_size)
        return self._classifier.card.rule.at_end(self._classifier(frames))
