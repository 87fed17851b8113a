"""How one data set's columns become the canonical vocabulary: a `Mapping`, ten lines of TOML for a data set of one's own.

A selector names a column of the step, ``"observation/state[0:6]"`` or ``"action[6]"``; with a leading slash a column of the
episode, ``"/success"``. `robot_pt_data.oxe` holds the entries that ship; ``data/README.md`` shows one for the user.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping as Dict
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

from robot_pt.errors import DataError
from robot_pt.schema import CAMERA_ROLES, PROPRIO_NAMES, ActionSource, ActionUnit
from robot_pt_data.geometry import RotationFormat

GripperKind = Literal["open", "closed", "open_signed", "closing_command"]
"""open: 1 = open; closed: 1 = closed; open_signed: +1 = open, -1 = closed; closing_command: +1 starts closing, -1 starts
opening, 0 goes on as before."""

_SELECTOR = re.compile(r"^(?P<key>[^\[\]]+?)(\[(?P<first>\d+)(:(?P<end>\d+))?\])?$")


class Selector(NamedTuple):
    """A column of the records and which of its values per step."""

    key: str  # as in the record: "steps/action", "success"
    first: int
    end: int | None  # None = all values

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Raises DataError for text that is no selector."""
        match = _SELECTOR.match(text)
        if match is None:
            raise DataError(
                f"{text!r} is not a column; write 'action', 'action[6]', 'observation/state[0:3]' or '/success'."
            )
        key = match["key"][1:] if text.startswith("/") else f"steps/{match['key']}"
        if match["first"] is None:
            return cls(key, 0, None)
        first = int(match["first"])
        end = int(match["end"]) if match["end"] else first + 1
        if end <= first:
            raise DataError(f"the column {text!r} selects nothing; the end of a range lies behind its start.")
        return cls(key, first, end)


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """Where a data set keeps what the canonical vocabulary needs; selectors are strings, "" = the data has none."""

    embodiment: str
    """Robot name, e.g. "widowx250s"."""
    control_hz: float
    """Steps per second."""
    cameras: Dict[str, str]
    """Camera role (primary, secondary, wrist) -> image column."""
    translation: str = ""
    """dx dy dz, or the first of them; what is missing is 0."""
    rotation: str = ""
    """droll dpitch dyaw; "" = the arm keeps its orientation."""
    action_kind: Literal["delta", "target", "axis_angle_residual", "none"] = "delta"
    """delta: as canonical; target: absolute poses, differenced here with angles wrapped; axis_angle_residual: `rotation`
    is added to the measured axis-angle vector; none: the data has no actions, all are zero."""
    gripper: str = ""
    """Gripper command; "" = `gripper_constant` always."""
    gripper_kind: GripperKind = "open"
    gripper_constant: float = 1.0
    """Opening where there is no gripper command: 1 open, 0 closed."""
    position: str = ""
    """Measured x y z of the end effector in the base frame; "" with `state` "" = no proprioception."""
    orientation: str = ""
    """Measured orientation; "" = 0."""
    orientation_format: RotationFormat = "euler"
    gripper_state: str = ""
    """Measured gripper; "" = the last command."""
    gripper_state_kind: Literal["open", "closed", "open_signed"] = "open"
    gripper_state_scale: float = 1.0
    """Divides the measured gripper first: the widest opening [m] where it is a width."""
    state: str = ""
    """Proprioception kept as it is for data sets without a pose."""
    state_names: tuple[str, ...] = ()
    """Names of the values of `state`; () = state_0, state_1, ..."""
    instruction: tuple[str, ...] = ("language_instruction",)
    """Text columns; the first that is not empty names the episode."""
    task: str = ""
    """Text column with a task name; "" = the instruction."""
    success: str = "final_reward"
    """A column (0/1), or final_reward: a positive last reward means success, anything else is unknown."""
    success_known: str = ""
    """Column that says whether `success` was labelled."""
    reward: str = "reward"
    operator: str = "teleop"
    """Who drove: teleop, policy, scripted, mixed, unknown; or a text column of the episode that says so."""
    dataset: str = ""
    """Text column of the episode with the data set it comes from; "" = the name of this data set."""
    action_unit: ActionUnit = "unknown"
    """Of the stored actions; only metric ones are executed."""
    action_source: ActionSource = "commanded"
    """What the stored actions are: commanded, or achieved (differences of measured poses). achieved without `translation` and
    `rotation`: the data stores no motion, it is computed here from `position` and `orientation`."""
    pose_unit: ActionUnit = "metric"
    """Of the measured pose, hence of achieved actions."""
    drop_zero_first: bool = False
    """The first action of an episode is a place holder (all zero): leave that step out."""
    dummy_cameras: bool = False
    """Cameras that were not there are filled with one image: leave those out."""
    optional_cameras: tuple[str, ...] = ()
    """Roles that some copies of the data set lack."""
    verified: bool = True
    """The stored schema was read, not guessed."""
    source: str = "user"
    """The features.json or transform this was written from."""
    notes: str = ""
    """What a user of the data should know."""

    def __post_init__(self) -> None:
        for name in ("instruction", "optional_cameras", "state_names"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        unknown = set(self.cameras) - set(CAMERA_ROLES)
        if unknown or not self.cameras:
            raise DataError(f"cameras has the roles {sorted(self.cameras)}; give one or more of {list(CAMERA_ROLES)}.")
        if self.position and self.state:
            raise DataError("a mapping gives position or state, not both; state is for data sets without a pose.")
        if self.computes_actions and not self.position:
            raise DataError(
                "a mapping with action_source = 'achieved' names the stored actions (translation) or the measured pose they follow "
                "from (position); this one names neither."
            )
        stored = bool(self.translation or self.rotation or self.gripper)
        if self.action_kind == "none" and (stored or self.computes_actions or self.action_unit == "metric"):
            raise DataError(
                "a mapping with action_kind = 'none' is of data without actions; leave translation, rotation, gripper, action_source "
                "and action_unit out, or the action_kind."
            )
        if not stored and not self.computes_actions and self.action_kind != "none":
            raise DataError(
                "the mapping names no action, so every action would be zero; give the columns of translation, rotation or gripper, or "
                "action_source = 'achieved' to compute actions from position, or action_kind = 'none' for data without actions."
            )
        for text in self.selectors():
            Selector.parse(text)

    @property
    def computes_actions(self) -> bool:
        """No motion is stored; actions are differences of the measured poses."""
        return self.action_source == "achieved" and not (self.translation or self.rotation)

    @property
    def proprio_names(self) -> tuple[str, ...] | None:
        """None where they depend on the width of `state`."""
        return PROPRIO_NAMES if self.position else (self.state_names or None) if self.state else ()

    def selectors(self) -> list[str]:
        """Every numeric or text column that is read, cameras excluded."""
        success = "" if self.success == "final_reward" else self.success
        operator = self.operator if self.operator.startswith("/") else ""
        named = (
            self.translation, self.rotation, self.gripper, self.position, self.orientation, self.gripper_state,
            self.state, self.task, self.dataset, operator, success, self.success_known, self.reward, *self.instruction,
        )  # fmt: skip
        return [text for text in named if text]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def digest(self) -> str:
        """Changes with every field, so that an index never outlives its mapping."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:12]


def load_mapping(given: Mapping | Dict[str, Any] | str | Path) -> Mapping:
    """A Mapping from itself, a dict, or a TOML or JSON file. Raises DataError naming the field that does not fit."""
    if isinstance(given, Mapping):
        return given
    values = read_table(given)
    known = {f.name for f in fields(Mapping)}
    required = {"embodiment", "control_hz", "cameras"}
    if set(values) - known or required - set(values):
        raise DataError(
            f"a mapping has the fields {sorted(known)} (required: {sorted(required)}); this one gives {sorted(values)}."
        )
    _check_values(values)
    return Mapping(**values)


def _check_values(values: dict[str, Any]) -> None:
    hints = get_type_hints(Mapping)
    for name, value in values.items():
        allowed = get_args(hints[name])
        if allowed and all(isinstance(a, str) for a in allowed) and value not in allowed:
            raise DataError(f"{name} = {value!r} in the mapping; give one of {list(allowed)}.")
        if hints[name] in (str, float, bool) and not isinstance(
            value, (float, int) if hints[name] is float else hints[name]
        ):
            raise DataError(f"{name} = {value!r} in the mapping; give a {hints[name].__name__}.")
    cameras = values["cameras"]
    if not isinstance(cameras, dict) or not all(isinstance(v, str) for v in cameras.values()):
        raise DataError('cameras in the mapping is a table of role = "column".')
    if not values["control_hz"] > 0:
        raise DataError(f"control_hz = {values['control_hz']} in the mapping; give a rate in Hz above 0.")


def read_table(given: Dict[str, Any] | str | Path) -> dict[str, Any]:
    """The fields of a mapping from a dict, or a TOML or JSON file. Raises DataError where it is no table."""
    if isinstance(given, (str, Path)):
        path = Path(given)
        try:
            text = path.read_text()
            values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except OSError as error:
            raise DataError(
                f"the mapping {path} cannot be read ({error.strerror}); give a TOML or JSON file."
            ) from None
        except ValueError as error:
            raise DataError(f"the mapping {path} is not valid {path.suffix or 'TOML'}: {error}.") from None
    else:
        values = dict(given)
    if not isinstance(values, dict):
        raise DataError(f"a mapping is a table of fields, not a {type(values).__name__}.")
    return values
