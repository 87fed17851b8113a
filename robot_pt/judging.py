"""Who says whether an episode on a robot succeeded: the operator's key, a service, or a classifier. One small interface.

A judge sees every observation of an episode as it comes, may call success while it runs, and gives the last word when it is over.
Nothing here knows ROS: a node binds `ServiceJudge` to its service client.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from robot_pt.errors import DataError
from robot_pt.images import decode
from robot_pt.schema import Episode, Float, Image, Observation
from robot_pt.success.rule import Rule, RuleMemory


class Judgement(NamedTuple):
    """What is known at one step."""

    reward: float  # raw: 1 where success is seen, else 0
    succeeded: bool  # seen so surely that the episode may end


class Judge(Protocol):
    def begin(self) -> None:
        """A new episode starts."""
        ...

    def see(self, observation: Observation) -> Judgement:
        """One control step, in order."""
        ...

    def verdict(self, operator: bool | None) -> bool | None:
        """Whether the episode that is over succeeded; None where nobody knows. `operator` is what the person pressed, None for nothing."""
        ...


NOTHING = Judgement(0.0, False)


class OperatorJudge:
    """The operator's key alone: success and failure as the episode record keeps them."""

    def begin(self) -> None:
        return None

    def see(self, observation: Observation) -> Judgement:
        return NOTHING

    def verdict(self, operator: bool | None) -> bool | None:
        return operator


class ServiceJudge:
    """Asks someone else when the episode is over. The operator's key, where it was pressed, stands above the answer.

    Args:
        ask: returns True or False, None where the service does not know or did not answer in its time. It may block, so it is
            asked once per episode and never inside a control step.
    """

    def __init__(self, ask: Callable[[], bool | None]):
        self._ask = ask

    def begin(self) -> None:
        return None

    def see(self, observation: Observation) -> Judgement:
        return NOTHING

    def verdict(self, operator: bool | None) -> bool | None:
        if operator is not None:
            return operator
        answer = self._ask()
        if not (answer is None or isinstance(answer, bool)):
            raise DataError(f"the reward service answered {answer!r}; it must say success, failure, or nothing.")
        return answer


class ClassifierJudge:
    """A classifier looks at every frame. The operator's key, where it was pressed, stands above what it saw.

    Args:
        classify: frames (B, H, W, 3) uint8 -> (B,) probability; `robot_pt.success.classifier.SuccessClassifier` is one.
        camera: role of the camera it looks through.
    """

    def __init__(self, classify: Callable[[Image], Float], camera: str, rule: Rule):
        self._classify, self._camera = classify, camera
        self._memory, self._holds, self._seen = RuleMemory(rule), False, 0

    def begin(self) -> None:
        self._memory.reset()
        self._holds, self._seen = False, 0

    def see(self, observation: Observation) -> Judgement:
        """Raises DataError where the observation has no such camera."""
        if self._camera not in observation.images:
            raise DataError(
                f"the classifier looks through camera {self._camera!r}, the observation has {sorted(observation.images)}."
            )
        probability = float(self._classify(observation.images[self._camera][None])[0])
        self._holds, self._seen = self._memory.see(probability), self._seen + 1
        return Judgement(float(self._holds), self._holds)

    def verdict(self, operator: bool | None) -> bool | None:
        if operator is not None:
            return operator
        return self._holds if self._seen else None


def judged(episode: Episode, judge: Judge) -> Episode:
    """`episode` with the success, and where the judge saw any the rewards, that it gives; the key is the episode's own success."""
    judge.begin()
    frames = {
        c: f if isinstance(f, np.ndarray) else decode(f, episode.spec.cameras[c]) for c, f in episode.images.items()
    }
    said = [
        judge.see(Observation({c: f[t] for c, f in frames.items()}, episode.proprio[t])) for t in range(len(episode))
    ]
    rewards = np.array([s.reward for s in said], np.float32)
    success = judge.verdict(episode.success)
    return replace(episode, success=success, rewards=rewards if rewards.any() else episode.rewards)
