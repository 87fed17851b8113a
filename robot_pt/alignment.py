"""Aligned steps and what becomes of them: one `Episode`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.commands import Float64
from robot_pt.images import encode_jpeg
from robot_pt.rotations import matrix_to_rpy
from robot_pt.schema import Episode, Spec

Outcome = Literal["success", "failure", "unknown"]

JPEG_QUALITY = 95
"""At which raw frames are encoded; encoded ones stay as they came."""


class Step(NamedTuple):
    """One control step."""

    anchor_ns: int
    images: dict[str, Any]
    """Camera role -> encoded bytes, or (H, W, 3) uint8 RGB."""
    age_ns: dict[str, int]
    """Source -> how much older than the anchor the sample was; negative where it is newer."""
    proprio: Float64  # (7,)
    joints: Float64 | None  # (J,) [rad]
    action: Float64  # (7,) executed
    requested: Float64  # (7,) what was asked for; the executed one where nobody asked
    reward: float
    operator: str
    version: str
    timing_ms: tuple[float, float] | None = None
    """(inference, interval between two ticks) as the policy told."""


class Alignment(NamedTuple):
    """All steps of an episode, and what was wrong with the samples: reason -> source -> how many."""

    spec: Spec
    steps: list[Step]
    counts: dict[str, dict[str, int]]

    def ages_us(self) -> dict[str, list[int]]:
        """Source -> age of its sample in every step [us]."""
        sources = sorted({source for step in self.steps for source in step.age_ns})
        return {name: [round(step.age_ns.get(name, 0) / 1000) for step in self.steps] for name in sources}

    def episode(
        self,
        *,
        task: str = "",
        instruction: str = "",
        outcome: Outcome = "unknown",
        dataset: str = "",
        metadata: Mapping[str, Any] | None = None,
        with_images: bool = True,
    ) -> Episode:
        """The episode; a success ends the task, everything else stops a recording whose future is unseen.

        Where no reward was given, the last step of a success has 1. `metadata` gets the entries ``counts``, ``age_us``,
        ``inference_ms`` and ``tick_interval_ms`` of a policy that tells them, and ``policy_versions`` where there were several.
        """
        steps, last = self.steps, np.arange(len(self.steps)) == len(self.steps) - 1
        success = outcome == "success"
        rewards = np.array([step.reward for step in steps], np.float32)
        if success and not rewards.any():
            rewards[-1] = 1.0
        joints = [step.joints for step in steps if step.joints is not None]
        versions = list(dict.fromkeys(step.version for step in steps if step.version))
        extra: dict[str, Any] = {"counts": self.counts, "age_us": self.ages_us()}
        if any(step.timing_ms for step in steps):
            timing = np.round([step.timing_ms or (0.0, 0.0) for step in steps], 3)
            extra |= {"inference_ms": timing[:, 0].tolist(), "tick_interval_ms": timing[:, 1].tolist()}
        if len(versions) > 1:
            extra["policy_versions"] = versions
        return Episode(
            spec=self.spec,
            images={
                camera: [encoded(step.images[camera]) for step in steps] if with_images else []
                for camera in self.spec.cameras
            },
            proprio=np.stack([step.proprio for step in steps]).astype(np.float32),
            actions=np.stack([step.action for step in steps]).astype(np.float32),
            requested_actions=np.stack([step.requested for step in steps]).astype(np.float32),
            rewards=rewards,
            terminated=last & success,
            truncated=last & (not success),
            instruction=instruction,
            task=task,
            success={"success": True, "failure": False}.get(outcome),
            dataset=dataset,
            operator=[step.operator for step in steps],
            policy_version=versions[0] if len(versions) == 1 else "mixed" if versions else "",
            capture_time_ns=np.array([step.anchor_ns for step in steps], np.int64),
            joint_positions=np.stack(joints).astype(np.float32) if len(joints) == len(steps) else None,
            metadata={**(metadata or {}), **extra},
        )


def proprio_of(T_base_tool: Float64, gripper: float) -> Float64:
    """Canonical proprio (7,) of a measured pose and opening."""
    return np.concatenate([T_base_tool[:3, 3], matrix_to_rpy(T_base_tool[:3, :3]), [min(max(gripper, 0.0), 1.0)]])


def encoded(image: bytes | memoryview | NDArray[np.uint8]) -> bytes:
    """Encoded bytes as they are, raw RGB as JPEG."""
    if isinstance(image, np.ndarray) and image.ndim == 3:
        return encode_jpeg(image, JPEG_QUALITY)
    return bytes(image)
