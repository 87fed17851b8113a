"""The vocabulary that data, learning and acting share. Imports numpy only.

Shapes: N steps of all episodes, E episodes, T steps of one episode, B batch, P proprio, A action, H/W image height/width.

Canonical action, 7 numbers per control step in the robot base frame (BridgeData's convention):
``dx dy dz`` [m], ``droll dpitch dyaw`` [rad], relative to the *previous commanded target*, and the absolute desired
``gripper`` opening in [0, 1], 1 = open. Canonical proprio: ``x y z`` [m], ``roll pitch yaw`` [rad], ``gripper`` [0, 1].
Images are uint8 HWC RGB everywhere until the first line of the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError, MismatchError

Float = NDArray[np.float32]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]
Image = NDArray[np.uint8]

ACTION_NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
PROPRIO_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
CAMERA_ROLES = ("primary", "secondary", "wrist")

ActionUnit = Literal["metric", "normalized", "unknown"]
"""metric = metres and radians as above; anything else may pretrain and is refused for execution."""
ActionSource = Literal["commanded", "achieved"]
"""commanded = deltas between consecutive targets; achieved = differences of consecutive measured poses."""

UNKNOWN, FAILURE, SUCCESS = -1, 0, 1
"""Values of ``EpisodeTable.success``."""

OBJECT_POSITIONS = "object_positions"
"""Key of ``Episode.metadata`` where who records knows them, as a simulator does: name -> T rows x, y, z [m, base frame], one per
observation, the object that the task is about first. For measuring what features hold; no policy sees them."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every episode of a source, and a policy trained on it, agrees on."""

    cameras: Mapping[str, tuple[int, int]]
    """Camera role -> (height, width) as stored, in pixels."""
    embodiment: str
    """Robot name, e.g. "widowx250s", "panda"."""
    control_hz: float = 5.0
    action_names: tuple[str, ...] = ACTION_NAMES
    proprio_names: tuple[str, ...] = PROPRIO_NAMES
    action_unit: ActionUnit = "metric"
    action_source: ActionSource = "commanded"

    def __post_init__(self) -> None:
        if not self.control_hz > 0:
            raise DataError(f"control_hz is {self.control_hz}; give a rate in Hz above 0.")
        object.__setattr__(self, "cameras", {role: (int(h), int(w)) for role, (h, w) in self.cameras.items()})
        object.__setattr__(self, "action_names", tuple(self.action_names))
        object.__setattr__(self, "proprio_names", tuple(self.proprio_names))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Spec:
        """Raises DataError on missing or unknown fields and values of the wrong kind."""
        known = {f.name for f in fields(cls)}
        if set(values) - known or not {"cameras", "embodiment"} <= set(values):
            raise DataError(f"a Spec has the fields {sorted(known)}; the file gives {sorted(values)}.")
        try:
            return cls(**dict(values))
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(f"a Spec in the file has a value of the wrong kind ({error}); restore the file.") from None

    def require_trainable_with(self, other: Spec, camera: str) -> None:
        """Raise MismatchError unless both can share one network that sees `camera`; empty for one that sees none."""
        for spec in (self, other):
            if camera and camera not in spec.cameras:
                raise MismatchError(
                    f"camera {camera!r} is not in the {spec.embodiment} data, which has {sorted(spec.cameras)}; choose one with --camera."
                )
        for name in ("action_names", "proprio_names"):
            if getattr(self, name) != getattr(other, name):
                raise MismatchError(
                    f"{name} differ: {self.embodiment} data has {getattr(self, name)}, {other.embodiment} data has "
                    f"{getattr(other, name)}; bring one to the other with a mapping (see data/README.md)."
                )


@dataclass(frozen=True, kw_only=True)
class EpisodeTable:
    """One row per episode; steps of episode e are rows ``start[e] : start[e] + length[e]`` of the source's columns."""

    start: Int  # (E,)
    length: Int  # (E,)
    instruction: list[str]  # E; "" where the data has none
    task: list[str]  # E; the name that gets a task id; the instruction where the data names no task
    success: NDArray[np.int8]  # (E,) UNKNOWN, FAILURE or SUCCESS
    dataset: list[str]  # E
    split: list[str]  # E
    operator: list[str]  # E: policy | teleop | intervention | scripted | mixed | unknown

    def __post_init__(self) -> None:
        sizes = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(sizes.values())) > 1:
            raise DataError(f"the columns of an episode table must have one length; they have {sizes}.")

    def __len__(self) -> int:
        return len(self.start)

    @property
    def steps(self) -> int:
        """Number of steps of all episodes."""
        return int(self.length.sum())

    def rows(self, episodes: Sequence[int] | Int | None = None) -> Int:
        """(M,) the rows of the source's columns that hold the steps of all episodes, or of these: one after the other, in their order."""
        start, length = self.start, self.length
        if episodes is not None:
            chosen = np.asarray(episodes, np.int64)
            start, length = start[chosen], length[chosen]
        ends = np.cumsum(length)
        rows: Int = np.repeat(start - (ends - length), length) + np.arange(length.sum())
        return rows

    def select(self, rows: Sequence[int] | Int | Bool) -> EpisodeTable:
        """The given rows, in that order; `start` still points into the original columns."""
        chosen = np.asarray(rows)
        index = np.arange(len(self))[chosen if chosen.size else chosen.astype(np.int64)]
        values: dict[str, Any] = {}
        for f in fields(self):
            column = getattr(self, f.name)
            values[f.name] = [column[i] for i in index] if isinstance(column, list) else column[index]
        return EpisodeTable(**values)


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One episode in memory, as a recorder, simulator or exporter passes it around."""

    spec: Spec
    images: Mapping[str, Image | list[bytes]]
    """Camera role -> (T, H, W, 3) uint8 RGB, or T encoded JPEG/PNG byte strings."""
    proprio: Float  # (T, P)
    actions: Float  # (T, A) the action actually sent
    rewards: Float  # (T,)
    terminated: Bool  # (T,) the task ended here: no future to bootstrap from
    truncated: Bool  # (T,) recording stopped here: the future exists and is unseen
    instruction: str = ""
    task: str = ""
    success: bool | None = None
    dataset: str = ""
    requested_actions: Float | None = None  # (T, A) what the policy or operator asked for before limits
    operator: list[str] | None = None  # T of policy | teleop | intervention | scripted
    policy_version: str = ""
    capture_time_ns: Int | None = None  # (T,)
    joint_positions: Float | None = None  # (T, J) [rad]
    metadata: Mapping[str, Any] = field(default_factory=dict)  # JSON values: seed, initial state, fault counters

    def __len__(self) -> int:
        return len(self.actions)

    def validate(self) -> None:
        """Raise DataError naming the first column whose length, shape or value cannot be right."""
        steps = len(self.actions)
        if steps == 0:
            raise DataError("an episode needs at least one step; this one is empty.")
        expected = {
            "proprio": (steps, len(self.spec.proprio_names)),
            "actions": (steps, len(self.spec.action_names)),
            "requested_actions": (steps, len(self.spec.action_names)),
            "rewards": (steps,),
            "terminated": (steps,),
            "truncated": (steps,),
            "capture_time_ns": (steps,),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is None:
                continue
            if np.shape(value) != shape:
                raise DataError(f"episode column {name} has shape {np.shape(value)}, expected {shape}.")
            if np.issubdtype(np.asarray(value).dtype, np.floating) and not np.isfinite(value).all():
                step = int(np.argwhere(~np.isfinite(value))[0][0])
                raise DataError(f"episode column {name} holds NaN or Inf at step {step}; drop or repair the episode.")
        if set(self.images) != set(self.spec.cameras):
            raise DataError(f"episode has cameras {sorted(self.images)}, its spec names {sorted(self.spec.cameras)}.")
        for camera, frames in self.images.items():
            if len(frames) != steps:
                raise DataError(f"camera {camera!r} has {len(frames)} frames for {steps} steps.")
            if isinstance(frames, np.ndarray) and frames.shape[1:] != (*self.spec.cameras[camera], 3):
                raise DataError(
                    f"camera {camera!r} frames have shape {frames.shape[1:]}, the spec says {(*self.spec.cameras[camera], 3)}."
                )
        if self.operator is not None and len(self.operator) != steps:
            raise DataError(f"operator has {len(self.operator)} entries for {steps} steps.")


class Batch(NamedTuple):
    """What every algorithm sees; numpy from replay, torch tensors of the same shapes after `to_device`.

    Drawn as windows of S steps, images, proprio and action have an axis S after B, and `valid` says which steps there are.
    """

    images: Any  # dict camera -> (B, H, W, 3) uint8
    proprio: Any  # (B, P) float32, physical units
    task: Any  # (B,) int64 slot in the run's task table
    language: Any  # (B, L) float32 sentence features, or (B, 0)
    action: Any  # (B, A) float32, physical units
    reward: Any  # (B,) float32, scaled and shifted, n-step discounted sum
    discount: Any  # (B,) float32 = gamma**n where the future counts, 0 where the episode truly ended
    next_images: Any  # dict camera -> (B, H, W, 3) uint8
    next_proprio: Any  # (B, P) float32
    return_to_go: Any  # (B,) float32
    sample_key: Any  # (B,) int64 global sample index: keys all per-sample noise, whatever the number of processes
    source: Any  # (B,) int64 which source of the mixture the sample came from
    next_action: Any = None  # (B, A) float32, the data's action at the next state; without meaning at discount 0
    valid: Any = None  # (B, S) bool, False where the episode has ended and its last step stands; None without windows


class Observation(NamedTuple):
    """One control step seen by a policy; the same from a simulator and from the robot."""

    images: Mapping[str, Image]  # camera role -> (H, W, 3) uint8 RGB
    proprio: Float  # (P,)
    time_ns: int = 0  # capture time, monotonic clock of whoever made it
    joint_positions: Float | NDArray[np.float64] | None = None  # (J,) [rad]


def window_of(policy: object) -> int:
    """Observations that a policy looks at, the newest included; 1 where it says nothing of it."""
    return int(getattr(policy, "window", 1))
