"""What evaluation, collection and the ROS sim node ask of a simulator; `robot_pt_sim` provides them."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from robot_pt.schema import Float, Observation, Spec


class StepResult(NamedTuple):
    """What one control step returned."""

    observation: Observation
    sent_action: Float  # (A,) the action applied after every limit: what is recorded
    reward: float  # 1.0 on the step the task is first achieved, else 0.0
    success: bool
    terminated: bool  # the task ended
    truncated: bool  # the time limit was reached


class Simulator(Protocol):
    """One simulated robot with one task. Deterministic given the seed of `reset`."""

    spec: Spec
    task: str
    instruction: str
    horizon: int  # control steps before truncation

    def reset(self, seed: int) -> Observation: ...

    def step(self, action: Float) -> StepResult:
        """Apply one canonical action (A,) for one control period. NaN or Inf raises UserError: nothing moves."""
        ...

    def about(self) -> dict[str, Any]:
        """JSON values kept with each of its episodes: which simulator in which version (`robot_pt.simulated.told`), how actions become motion."""
        ...

    def initial_conditions(self) -> dict[str, Any]:
        """JSON values that describe this episode's start: object poses, seed."""
        ...

    def truth(self) -> dict[str, Any]:
        """JSON values of the scene as it truly is, for scripted operators; no policy sees it."""
        ...

    def close(self) -> None: ...
