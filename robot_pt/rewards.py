"""Rewards and returns of an algorithm, computed from what an episode stored; never stored themselves.

Shapes: T steps of one episode, N steps of all episodes, E episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from robot_pt.errors import UserError
from robot_pt.schema import SUCCESS, UNKNOWN, Bool, Float

Tail = Literal["terminated", "truncated", "sparse_negative", "repeat_last"]
"""What lies beyond an episode's last step: see `return_to_go`."""


PTR_REWARDS = (-1.0, 10.0)
"""Of a step, and of one of the last of a successful episode."""


class Labelled(NamedTuple):
    """What an algorithm is told about one episode."""

    reward: Float  # (T,) scaled and shifted
    terminal: Bool  # (T,) the return ends here: nothing is bootstrapped from the next observation
    tail: Tail  # how `return_to_go` continues past the last step


@dataclass(frozen=True, kw_only=True)
class RewardLabel:
    """PTR's reward labels (arXiv 2210.05178; Asap7772/PTR examples/train_utils.py, `insert_data_real`).

    The last `final_steps` transitions of a successful episode get raw reward 1, all others 0; then
    reward = raw * scale + shift, so -1 and +10. With `terminal="rewarded"` every rewarded step is terminal
    (`--term_as_rew 1`: mask = 1 - raw reward), all three of them, so Q lies in [shift / (1 - gamma), scale + shift].
    Failed episodes, and episodes whose success is unknown unless `assume_success`, get `shift` everywhere.
    """

    source: Literal["success", "stored"] = "success"
    """success = from the episode's success flag as above; stored = the data's own rewards, scaled and shifted."""
    final_steps: int = 3
    """Number of last transitions of a successful episode that are rewarded."""
    scale: float = 11.0
    """Multiplies the raw reward."""
    shift: float = -1.0
    """Added after scaling."""
    terminal: Literal["rewarded", "stored", "either"] = "rewarded"
    """Which steps end the return: rewarded ones (PTR), those stored as terminated, or both."""
    assume_success: bool = False
    """Treat episodes of unknown success as successful; wrong labels if they are not, so say it loudly."""
    beyond: Literal["worst", "repeat_last"] = "worst"
    """What `return_to_go` takes to follow an episode that was cut off: the worst there can be, or its last reward for ever (Kitchen,
    whose reward counts the stages that are done and stay done)."""

    def __post_init__(self) -> None:
        if self.final_steps < 1:
            raise UserError(f"final_steps is {self.final_steps}; reward at least the last 1 transition.")
        if not np.isfinite([self.scale, self.shift]).all() or self.scale <= 0:
            raise UserError(f"reward scale {self.scale} and shift {self.shift} must be finite, the scale above 0.")
        if self.beyond not in ("worst", "repeat_last"):
            raise UserError(f"what lies beyond a cut episode is {self.beyond!r}; choose worst or repeat_last.")

    @classmethod
    def of(cls, step: float, success: float, **fields: Any) -> RewardLabel:
        """These rewards of a step and of a rewarded one. Raises UserError unless they are finite and the second is larger."""
        if not (np.isfinite([step, success]).all() and success > step):
            raise UserError(
                f"rewards are {step:g} of a step and {success:g} of success; give two finite numbers, the second larger (PTR: -1 10)."
            )
        return cls(scale=success - step, shift=step, **fields)

    def counts_as_success(self, success: int) -> bool:
        """Whether an episode with this value of `EpisodeTable.success` is rewarded."""
        return success == SUCCESS or (self.assume_success and success == UNKNOWN)

    def label(self, stored_T: Float, terminated_T: Bool, success: int) -> Labelled:
        """Label one episode: `stored_T` and `terminated_T` are its columns, `success` its table entry."""
        steps = len(stored_T)
        raw_T = np.zeros(steps, np.float32)
        if self.source == "stored":
            raw_T = np.asarray(stored_T, np.float32)
        elif self.counts_as_success(success):
            raw_T[max(steps - self.final_steps, 0) :] = 1.0
        terminal_T = np.zeros(steps, bool)
        if self.terminal != "stored":
            terminal_T |= raw_T > 0
        if self.terminal != "rewarded":
            terminal_T |= np.asarray(terminated_T, bool)
        reward_T = (raw_T * np.float32(self.scale) + np.float32(self.shift)).astype(np.float32)
        return Labelled(reward_T, terminal_T, self._tail(reward_T, terminal_T))

    def _tail(self, reward_T: Float, terminal_T: Bool) -> Tail:
        if len(terminal_T) and terminal_T[-1]:
            return "terminated"
        if self.beyond == "repeat_last":
            return "repeat_last"
        if self.source == "success" or bool((reward_T == self.shift).all()):
            return "sparse_negative"
        return "truncated"

    def worst_return(self, gamma: float, reward_T: Float) -> float:
        """A return no policy can fall below when rewards never fall below those seen: min reward / (1 - gamma)."""
        return min(float(reward_T.min(initial=self.shift)), 0.0) / (1.0 - gamma)


def return_to_go(
    reward_T: Float, terminal_T: Bool, gamma: float, *, tail: Tail = "terminated", tail_value: float | None = None
) -> Float:
    """Discounted sum of rewards from each step on, G_t = r_t + gamma * (1 - terminal_t) * G_(t+1). Returns (T,) float32.

    `tail` names G_T, what follows the last step:

    * "terminated": 0, the episode ended.
    * "truncated": `tail_value`, the caller's statement about the unseen future.
    * "sparse_negative": r/(1-gamma) at *all* steps if all rewards equal one negative value r, which is the return of never
      succeeding; otherwise 0 (nakamotoo/Cal-QL JaxCQL/replay_buffer.py `calc_return_to_go`).
    * "repeat_last": r_last/(1-gamma), the last reward for ever (same repository, branch dev/add-kitchen).

    A terminal last step makes G_T irrelevant. Raises UserError when gamma is outside [0, 1), or a "truncated" tail has no value.
    """
    require_gamma(gamma)
    if tail == "truncated" and tail_value is None:
        raise UserError(
            "a truncated return needs tail_value, the worth of the unseen future; give one or choose another tail."
        )
    rewards = np.asarray(reward_T, np.float64)
    if len(rewards) == 0:
        return np.zeros(0, np.float32)
    following = _beyond(rewards, gamma, tail, tail_value)
    out = np.empty(len(rewards), np.float64)
    for t in reversed(range(len(rewards))):
        following = rewards[t] + (0.0 if terminal_T[t] else gamma * following)
        out[t] = following
    return out.astype(np.float32)


def sum_to_end(reward_T: Float, terminal_T: Bool) -> Float:
    """(T,) float32 undiscounted sum of rewards from each step on, up to and with the first terminal step or the last one recorded."""
    out = np.asarray(reward_T, np.float64).copy()
    for t in reversed(range(len(out) - 1)):
        out[t] += 0.0 if terminal_T[t] else out[t + 1]
    return out.astype(np.float32)


def require_gamma(gamma: float) -> None:
    """Raise UserError unless 0 <= gamma < 1."""
    if not 0 <= gamma < 1:
        raise UserError(f"the discount gamma is {gamma}; give a number from 0 up to, not including, 1.")


def _beyond(
    rewards: np.ndarray[tuple[int], np.dtype[np.float64]], gamma: float, tail: Tail, value: float | None
) -> float:
    if tail == "truncated":
        assert value is not None
        return value
    if tail == "repeat_last":
        return float(rewards[-1]) / (1.0 - gamma)
    if tail == "sparse_negative" and rewards[0] < 0 and (rewards == rewards[0]).all():
        return float(rewards[0]) / (1.0 - gamma)  # a fixed point of G = r + gamma G: the same at every step
    return 0.0
