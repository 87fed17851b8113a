"""Steps of a simulator into an `Episode`, the same for scripted experts and policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from robot_pt.schema import Episode, Float, Observation, Spec
from robot_pt.simulator import StepResult

DATASET = "robosuite"


class EpisodeRecorder:
    """Collects (observation, requested action, what became of it) and builds one Episode."""

    def __init__(self, spec: Spec, *, task: str, instruction: str, dataset: str = DATASET):
        self._spec, self._task, self._instruction, self._dataset = spec, task, instruction, dataset
        self._seen: list[Observation] = []
        self._requested: list[Float] = []
        self._results: list[StepResult] = []
        self._drivers: list[str] = []

    def __len__(self) -> int:
        return len(self._results)

    def add(self, observation: Observation, requested: Float, result: StepResult, *, driver: str = "") -> None:
        """One control step: what was seen, what was asked for, what came back. `driver`: who asked, where it is not the episode's operator."""
        self._seen.append(observation)
        self._requested.append(np.asarray(requested, np.float32))
        self._results.append(result)
        self._drivers.append(driver)

    def episode(self, *, operator: str, metadata: Mapping[str, Any], policy_version: str = "") -> Episode:
        """The episode so far. A last step that did not end the task is marked truncated."""
        assert self._results, "an episode without steps"
        terminated = np.array([result.terminated for result in self._results])
        truncated = np.zeros(len(self), bool)
        truncated[-1] = not terminated[-1]
        joints = [seen.joint_positions for seen in self._seen if seen.joint_positions is not None]
        return Episode(
            spec=self._spec,
            images={role: np.stack([seen.images[role] for seen in self._seen]) for role in self._spec.cameras},
            proprio=np.stack([seen.proprio for seen in self._seen]),
            actions=np.stack([result.sent_action for result in self._results]),
            rewards=np.array([result.reward for result in self._results], np.float32),
            terminated=terminated,
            truncated=truncated,
            instruction=self._instruction,
            task=self._task,
            success=bool(self._results[-1].success),
            dataset=self._dataset,
            requested_actions=np.stack(self._requested),
            operator=[driver or operator for driver in self._drivers],
            policy_version=policy_version,
            capture_time_ns=np.array([seen.time_ns for seen in self._seen], np.int64),
            joint_positions=np.stack(joints) if len(joints) == len(self) else None,
            metadata=dict(metadata),
        )
