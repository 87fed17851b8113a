"""What is settled before anything may move: that policy, robot, cameras and limits agree, and that inference is fast enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.policy_record import require_fits
from robot_pt.schema import ACTION_NAMES, PROPRIO_NAMES, Float, Observation, Spec
from robot_pt.session.chunks import checked_chunk

QUANTILES = 1001
MOST_CLIPPED = 0.01
"""A policy is refused where more than this share of its training actions is longer than one step may be."""
COLD_RUNS = 3
"""Inferences before the measured ones: the first allocate, compile and load libraries."""


class StepLimits(NamedTuple):
    """How long one control step may be."""

    max_step_m: float = 0.05
    max_step_rad: float = 0.25


class WarmUp(NamedTuple):
    """Inference times before activation [ms]."""

    first_ms: float
    p50_ms: float
    p99_ms: float
    runs: int
    chunk: int
    """Actions in a chunk."""


def require_drivable(policy: Spec, robot: Spec) -> None:
    """Raise MismatchError, one sentence, unless a policy trained for `policy` may drive `robot` through a session.

    Robot, cameras, state, action convention, metric units and control rate must agree, and both speak canonical actions.
    """
    for spec, who in ((robot, "the robot"), (policy, "the policy")):
        for names, canonical, what in (
            (spec.action_names, ACTION_NAMES, "actions"),
            (spec.proprio_names, PROPRIO_NAMES, "state"),
        ):
            if names != canonical:
                raise MismatchError(
                    f"{who} has {what} {list(names)}, a session drives {list(canonical)}; bring its data to them with a mapping "
                    "(see data/README.md)."
                )
    require_fits(policy, robot)


def step_lengths(actions: ArrayLike) -> dict[str, list[float]]:
    """Quantiles 0, 0.001, ... 1 of the lengths of training steps, for a policy's record: {"m": [...], "rad": [...]}.

    `actions` (N, 7), metric. Raises UserError where there is no finite one.
    """
    values = np.asarray(actions, np.float64)
    values = values[np.isfinite(values).all(1)]
    if not len(values):
        raise UserError("step lengths need at least one finite action; these data have none.")
    levels = np.linspace(0, 1, QUANTILES)
    lengths = {"m": np.linalg.norm(values[:, :3], axis=1), "rad": np.linalg.norm(values[:, 3:6], axis=1)}
    return {unit: np.quantile(each, levels).round(6).tolist() for unit, each in lengths.items()}


def clipping(record: Any, limits: StepLimits) -> str:
    """What the step limits would do to the actions a policy was trained on; "" where they clip none of them.

    `record` is the policy's `PolicyRecord`. Its data rows may hold `step_lengths`: then their share beyond the limits is known to
    0.1 %. Otherwise only the bounds of its actions are, and the sentence says how far they reach.
    Raises MismatchError where more than 1 % of the training actions are known to be longer than one step may be.
    """
    share = max(
        (_share_beyond(row["step_lengths"], limits) for row in record.data if "step_lengths" in row), default=None
    )
    if share is None:
        return _reach(record.network.get("bounds"), limits)
    allowed = f"{limits.max_step_m:g} m and {limits.max_step_rad:g} rad"
    if share > MOST_CLIPPED:
        raise MismatchError(
            f"{share:.1%} of the actions this policy was trained on are longer than the {allowed} a step may be, so it would not "
            "move as trained; raise max_step_translation_m or max_step_rotation_rad, or train on slower data."
        )
    return f"{share:.1%} of the training actions are longer than the {allowed} a step may be." if share > 0 else ""


def _share_beyond(lengths: Mapping[str, Sequence[float]], limits: StepLimits) -> float:
    """Share of steps that are too long in metres or in radians, as the larger of the two."""
    shares = []
    for unit, most in (("m", limits.max_step_m), ("rad", limits.max_step_rad)):
        try:
            quantiles = np.asarray(lengths[unit], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"policy.json is damaged: step_lengths holds no numbers for {unit!r}; restore it."
            ) from error
        if quantiles.ndim != 1 or not len(quantiles):
            raise DataError(f"policy.json is damaged: step_lengths of {unit!r} are no list; restore it.")
        shares.append(float(np.mean(quantiles > most * (1 + 1e-6))))
    return max(shares)


def _reach(bounds: Mapping[str, Sequence[float]] | None, limits: StepLimits) -> str:
    if bounds is None:
        return ""
    most = np.maximum(np.abs(bounds["low"]), np.abs(bounds["high"]))
    along_m, along_rad = float(most[:3].max()), float(most[3:6].max())
    if along_m <= limits.max_step_m * (1 + 1e-6) and along_rad <= limits.max_step_rad * (1 + 1e-6):
        return ""
    return (
        f"the policy may ask for steps of {along_m:g} m and {along_rad:g} rad along an axis, the gate allows "
        f"{limits.max_step_m:g} m and {limits.max_step_rad:g} rad: longer ones will be shortened."
    )


def too_slow(timing: WarmUp, period_ns: int, *, asynchronous: bool, play: int | None) -> str:
    """Why a policy may not be activated at this speed; "" where it may."""
    period_ms = period_ns / 1e6
    played = min(timing.chunk, play or timing.chunk)
    budget_ms = (played - 1) * period_ms if asynchronous else period_ms
    if timing.p99_ms <= budget_ms:
        return ""
    what = f"inference takes {timing.p99_ms:.1f} ms (p99 of {timing.runs})"
    if asynchronous:
        return (
            f"{what}, and chunks of which {played} actions are played leave {budget_ms:.0f} ms: their actions would come too late; "
            "play longer chunks, use a faster device or inference_mode sync."
        )
    return (
        f"{what}, longer than the control period of {period_ms:.0f} ms; use a faster device, fewer threads beside it, or a policy "
        "with chunks and inference_mode async."
    )


def measure(
    act: Callable[[Sequence[Observation]], Float], robot: Spec, history: int, runs: int, clock_ns: Callable[[], int]
) -> WarmUp:
    """Let the policy act `COLD_RUNS` + `runs` times on grey frames of the robot's sizes and read how long it takes.

    Raises UserError where what it gives is no chunk of finite actions: damaged weights are found here.
    """
    grey = {role: np.full((*size, 3), 127, np.uint8) for role, size in robot.cameras.items()}

    def look() -> Observation:  # another one each time: a policy may remember what it has seen
        return Observation(grey, np.zeros(len(PROPRIO_NAMES), np.float32), 1)

    seen = deque((look() for _ in range(history)), maxlen=history)
    times = []
    for _ in range(COLD_RUNS + runs):
        seen.append(look())
        start = clock_ns()
        chunk = act(list(seen))
        times.append((clock_ns() - start) / 1e6)
    length = len(checked_chunk(chunk))
    measured = times[COLD_RUNS:]
    return WarmUp(times[0], float(np.quantile(measured, 0.5)), float(np.quantile(measured, 0.99)), runs, length)
