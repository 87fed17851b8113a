"""One episode of raw columns -> canonical proprio, actions, rewards and labels, as its `Mapping` says.

T = steps of the episode as stored. Nothing here knows a data set by name.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.schema import FAILURE, SUCCESS, UNKNOWN, Bool, Float
from robot_pt_data.geometry import ROTATION_WIDTH, pose_matrix, to_euler, wrap
from robot_pt_data.mapping import GripperKind, Mapping, Selector

Columns = Dict[str, NDArray[Any]]
"""Record key -> (T, width) numbers, or (T,) object bytes; episode-level columns have T = 1."""

_ZERO_ACTION = 1e-5  # [m, rad] Bridge's place holder actions are below 1e-6
_COMMAND = 0.1  # |gripper command| above this means something (octo/data/utils/data_utils.py rel2abs_gripper_actions)


class Steps(NamedTuple):
    """The canonical columns of one episode."""

    proprio: Float  # (T, P)
    actions: Float  # (T, 7)
    rewards: Float  # (T,)
    terminated: Bool  # (T,)
    truncated: Bool  # (T,)
    instruction: str
    task: str
    dataset: str  # "" = the name of the data set
    operator: str
    success: int
    drop_first: int  # steps to leave out at the start: 0 or 1


def standardize(mapping: Mapping, columns: Columns, steps: int) -> Steps:
    """Raises DataError with a reason when a column has the wrong width or a value that is no number."""
    pose, opening = _pose(mapping, columns, steps)
    actions = _actions(mapping, columns, steps, pose, opening)
    if mapping.position:
        proprio = np.concatenate([pose, actions[:, 6:] if opening is None else opening], axis=1)
    elif mapping.state:
        proprio = _take(columns, mapping.state)
    else:
        proprio = np.zeros((steps, 0))
    rewards = _take(columns, mapping.reward)[:, 0] if _has(columns, mapping.reward) else np.zeros(steps)
    terminated = _flag(columns, "steps/is_terminal", steps)
    truncated = np.zeros(steps, bool)
    truncated[-1] = not terminated[-1]
    out = Steps(
        proprio=proprio.astype(np.float32),
        actions=actions.astype(np.float32),
        rewards=rewards.astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        instruction=(instruction := _instruction(mapping, columns)),
        task=_text(columns, mapping.task) or instruction,
        dataset=_text(columns, mapping.dataset),
        operator=(_text(columns, mapping.operator) or "unknown") if mapping.operator[:1] == "/" else mapping.operator,
        success=_success(mapping, columns, rewards),
        drop_first=int(mapping.drop_zero_first and steps > 1 and bool((np.abs(actions[0, :6]) < _ZERO_ACTION).all())),
    )
    if mapping.state_names and len(mapping.state_names) != out.proprio.shape[1]:
        raise DataError(f"its state has {out.proprio.shape[1]} values, the mapping names {len(mapping.state_names)}")
    for name in ("proprio", "actions", "rewards"):
        bad = np.argwhere(~np.isfinite(getattr(out, name)))
        if len(bad):
            raise DataError(f"its {name} hold NaN or Inf at step {int(bad[0][0])}")
    return out


def achieved(proprio: Float, actions: Float) -> Float:
    """(T, 7) actions from consecutive measured poses, angles wrapped; the gripper stays as commanded, the last step is 0."""
    out = np.zeros_like(actions)
    if len(out) > 1:
        delta = proprio[1:, :6] - proprio[:-1, :6]
        out[:-1, :3] = delta[:, :3]
        out[:-1, 3:6] = wrap(delta[:, 3:])
    out[:, 6] = actions[:, 6]
    return out


def absolute_gripper(command: NDArray[Any], start_open: bool | None) -> NDArray[Any]:
    """(T,) +1 close / -1 open / 0 go on -> (T,) opening, 1 = open.

    Before the first command the gripper is as measured (`start_open`); unmeasured it is taken to be the opposite of the
    first command, which is wrong when that command was redundant.
    """
    decided = np.flatnonzero(np.abs(command) > _COMMAND)
    if start_open is None:
        start_open = bool(command[decided[0]] > 0) if len(decided) else True
    value = np.where(command < 0, 1.0, 0.0)
    last = np.maximum.accumulate(np.where(np.abs(command) > _COMMAND, np.arange(len(command)), -1))
    return np.where(last >= 0, value[np.maximum(last, 0)], float(start_open))


def _actions(
    mapping: Mapping, columns: Columns, steps: int, pose: NDArray[Any], opening: NDArray[Any] | None
) -> NDArray[Any]:
    actions = np.zeros((steps, 7))
    if mapping.translation:
        moved = _take(columns, mapping.translation, at_most=3)
        actions[:, : moved.shape[1]] = moved
    if mapping.rotation:
        actions[:, 3:6] = _take(columns, mapping.rotation, width=3)
    if mapping.action_kind == "target":
        targets = np.concatenate([pose[:1], actions[:, :6]])  # the target before the first is where the arm was
        if not mapping.rotation:
            targets[:, 3:] = 0
        actions[:, :3] = targets[1:, :3] - targets[:-1, :3]
        actions[:, 3:6] = wrap(targets[1:, 3:] - targets[:-1, 3:])
    elif mapping.action_kind == "axis_angle_residual":
        vector = _take(columns, mapping.orientation, width=3)
        after = to_euler(vector + actions[:, 3:6], "axis_angle")
        actions[:, 3:6] = wrap(after - to_euler(vector, "axis_angle"))
    actions[:, 6] = mapping.gripper_constant
    if mapping.gripper:
        command = _take(columns, mapping.gripper, width=1)[:, 0]
        start = None if opening is None else bool(opening[0, 0] >= 0.5)
        actions[:, 6] = _opening(command, mapping.gripper_kind, start)
    elif mapping.computes_actions and opening is not None:  # as the pose: what was reached one step later
        actions[:, 6] = np.append(opening[1:, 0], opening[-1, 0])
    return actions


def _pose(mapping: Mapping, columns: Columns, steps: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """((T, 6) x y z roll pitch yaw, (T, 1) measured opening or None)."""
    pose = np.zeros((steps, 6))
    if mapping.position:
        if mapping.orientation_format == "pose_matrix":
            pose[:, :3] = pose_matrix(_take(columns, mapping.position, width=16))[:, :3, 3]
        else:
            measured = _take(columns, mapping.position, at_most=3)
            pose[:, : measured.shape[1]] = measured
    if mapping.orientation:
        kind = mapping.orientation_format
        pose[:, 3:] = to_euler(_take(columns, mapping.orientation, width=ROTATION_WIDTH[kind]), kind)
    if not mapping.gripper_state:
        return pose, None
    measured = _take(columns, mapping.gripper_state, width=1) / mapping.gripper_state_scale
    if mapping.gripper_state_kind == "closed":
        measured = 1 - measured
    elif mapping.gripper_state_kind == "open_signed":
        measured = (measured + 1) / 2
    return pose, measured


def _opening(command: NDArray[Any], kind: GripperKind, start_open: bool | None) -> NDArray[Any]:
    if kind == "closing_command":
        return absolute_gripper(command, start_open)
    if kind == "open_signed":
        command = (command + 1) / 2
    clipped: NDArray[Any] = np.clip(command, 0, 1)
    return 1 - clipped if kind == "closed" else clipped


def _take(columns: Columns, text: str, width: int | None = None, at_most: int | None = None) -> NDArray[Any]:
    selector = Selector.parse(text)
    column = columns.get(selector.key)
    if column is None:
        raise DataError(f"it has no column {selector.key!r}")
    if selector.end is not None and selector.end > column.shape[1]:
        raise DataError(f"its column {selector.key!r} has {column.shape[1]} values per step, {text!r} asks for more")
    out = column[:, selector.first : selector.end]
    if (width is not None and out.shape[1] != width) or (at_most is not None and not 1 <= out.shape[1] <= at_most):
        raise DataError(
            f"its column {text!r} has {out.shape[1]} values per step, {width or f'1 to {at_most}'} are needed"
        )
    return out


def _has(columns: Columns, text: str) -> bool:
    return bool(text) and Selector.parse(text).key in columns


def _flag(columns: Columns, key: str, steps: int) -> Bool:
    return columns[key][:, 0].astype(bool) if key in columns else np.zeros(steps, bool)


def _instruction(mapping: Mapping, columns: Columns) -> str:
    for name in mapping.instruction:
        found = _text(columns, name)
        if found:
            return found
    return ""


def _text(columns: Columns, name: str) -> str:
    """The text of the first step; numbers are read as code points that end at a 0 (language_table)."""
    if not _has(columns, name):
        return ""
    column = columns[Selector.parse(name).key]
    if column.dtype != object:
        codes = column[0].astype(np.int64)
        codes = codes[: int(np.argmax(codes == 0))] if (codes == 0).any() else codes
        return "".join(chr(c) for c in codes.tolist() if 0 < c < 0x110000).strip()
    return bytes(column[0]).decode("utf-8", errors="replace").strip()


def _success(mapping: Mapping, columns: Columns, rewards: NDArray[Any]) -> int:
    if mapping.success != "final_reward" and _has(columns, mapping.success):
        known = not _has(columns, mapping.success_known) or bool(_take(columns, mapping.success_known)[-1, 0])
        if known:
            value = float(_take(columns, mapping.success)[-1, 0])
            return UNKNOWN if value < 0 else SUCCESS if value >= 0.5 else FAILURE
    return SUCCESS if rewards[-1] > 0 else UNKNOWN
