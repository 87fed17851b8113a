"""The knobs of a session, with the names that the policy node's parameters have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from robot_pt.errors import UserError

InferenceMode = Literal["sync", "async"]
SyncPolicy = Literal["approx", "latest"]


def _ages() -> Mapping[str, float]:
    return {"image": 0.15, "joint": 0.05}


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """Times in seconds. Raises UserError on a value that cannot be meant."""

    inference_mode: InferenceMode = "sync"
    """sync: the tick waits for the policy; async: another thread infers while the last chunk plays on."""
    chunk_execute_steps: int | None = None
    """Actions of each chunk that are played; None = all."""
    history: int = 16
    """Observations that the policy sees at most, one per tick; one that is made to look back further gets what it looks at."""
    sync_policy: SyncPolicy = "approx"
    """approx: of each source the sample nearest to the newest time that all have reached, as recorded episodes are aligned;
    latest: the newest of each."""
    sync_slop_s: float | None = None
    """approx: a source whose nearest sample is farther than this from that time has none of it; None = the nearest will do."""
    max_obs_age_s: Mapping[str, float] = field(default_factory=_ages)
    """Source -> oldest sample to decide on. "image" and "joint" hold for all cameras and the arm, a camera's name for itself."""
    max_stale_s: float = 1.0
    """A source may be too old for so long and the session goes on by itself; then it stops and wants a new start."""
    max_frozen_s: float | None = None
    """A camera whose picture does not change at all for so long counts as stale, and a flat picture is refused; None = not looked
    at, for a simulated scene may stand still."""
    lockstep: bool = False
    """Simulation waits for every command, and the gate's command for a target carries that target's stamp."""
    executed_lag_s: float = 0.05
    """How far the gate may be behind its target when the next tick comes: one of its ticks and the transport."""
    max_executed_age_s: float | None = None
    """Older commands of the gate mean that nobody drives the arm; None = two and a half control periods."""
    same_m: float = 1e-5
    same_rad: float = 1e-4
    """A target reached to within these was not clipped: what inverse kinematics may leave over."""

    def __post_init__(self) -> None:
        for name, choices in (("inference_mode", InferenceMode), ("sync_policy", SyncPolicy)):
            if getattr(self, name) not in get_args(choices):
                raise UserError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(get_args(choices))}.")
        for name in ("chunk_execute_steps", "history"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; give at least 1.")
        times = {n: getattr(self, n) for n in ("max_stale_s", "max_frozen_s", "max_executed_age_s", "sync_slop_s")}
        for name, seconds in (times | {f"max_obs_age_s of {k}": v for k, v in self.max_obs_age_s.items()}).items():
            if seconds is not None and not 0 < seconds < 3600:
                raise UserError(f"{name} is {seconds}; give seconds above 0.")
        for name in ("executed_lag_s", "same_m", "same_rad"):
            if not 0 <= getattr(self, name) < 10:
                raise UserError(f"{name} is {getattr(self, name)}; give a number of at least 0.")
        missing = {"image", "joint"} - set(self.max_obs_age_s)
        if missing:
            object.__setattr__(self, "max_obs_age_s", {**_ages(), **self.max_obs_age_s})
