"""Small episodes and a light agent of a point that is told where it is, for tests of learning on the job."""

from __future__ import annotations

import numpy as np

from robot_pt.agents.bc import BC, BCConfig
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from robot_pt.schema import Episode, Spec

STATE = Spec(cameras={}, embodiment="point", action_names=("dx", "dy"), proprio_names=("x", "y"), action_unit="metric")
PIXELS = Spec(cameras={"primary": (8, 8)}, embodiment="point", action_names=("dx", "dy"), proprio_names=("x", "y"))


def make_episode(
    number: int, *, steps: int = 5, success: bool | None = True, task: str = "go", spec: Spec = STATE,
    operator: list[str] | None = None, version: str = "",
) -> Episode:  # fmt: skip
    """Its proprio says which episode and step a row is: x = number, y = step."""
    rng = np.random.default_rng(number)
    terminated = np.zeros(steps, bool)
    terminated[-1] = bool(success)
    truncated = np.zeros(steps, bool)
    truncated[-1] = not success
    return Episode(
        spec=spec,
        images={c: rng.integers(0, 256, (steps, *size, 3), np.uint8) for c, size in spec.cameras.items()},
        proprio=np.stack([np.full(steps, number), np.arange(steps)], 1).astype(np.float32),
        actions=rng.uniform(-0.2, 0.2, (steps, 2)).astype(np.float32),
        rewards=terminated.astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        instruction=task,
        task=task,
        success=success,
        operator=operator or ["policy"] * steps,
        policy_version=version,
        metadata={"seed": number},
    )


def light_agent(seed: int = 0) -> BC:
    """Behaviour cloning of the state alone: an update takes about a millisecond."""
    return BC.build(
        STATE, cameras=(), image_size=(0, 0), task_slots=3, encoder=EncoderConfig(name="small"), config=BCConfig(augment=None),
        bounds=Bounds(low=(-0.2, -0.2), high=(0.2, 0.2), origin="test"), proprio=((0.0, 0.0), (5.0, 5.0)), seed=seed,
    )  # fmt: skip
