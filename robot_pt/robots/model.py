"""An arm as its MJCF file describes it: names, limits, poses, and the model for kinematics that inverse kinematics runs on.

The file is the only source: joint `range` and `actuatorfrcrange`, the numeric `max_velocity_rad_s`, the keys `home` and
`sleep`, the slide joint of the first finger, and the sites `tool elbow wrist left_finger right_finger`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from robot_pt.commands import Float64
from robot_pt.errors import MissingExtraError, UserError

FINGER_SITES = ("left_finger", "right_finger")
LINK_SITES = ("elbow", "wrist")
TOOL_SITE = "tool"


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmModel:
    """What is known about one arm. J joints, base to tool; every array is read-only."""

    joint_names: tuple[str, ...]
    lower_rad: Float64  # (J,)
    upper_rad: Float64  # (J,)
    max_velocity_rad_s: Float64  # (J,)
    effort_limit: Float64  # (J,) [N m]
    home_rad: Float64  # (J,)
    sleep_rad: Float64  # (J,)
    finger_range_m: tuple[float, float]
    """Travel of one finger when closed and when open."""
    closed_tool: Float64  # (2, 3) left and right fingertip in the tool frame, gripper closed [m]
    open_tool: Float64  # (2, 3) the same, gripper open
    kinematics: Any
    """mujoco.MjModel of the J joints alone, fingers fixed to the hand."""


def import_mujoco() -> Any:
    """The mujoco module. Raises MissingExtraError when it is not installed, UserError for a MUJOCO_GL that it does not know."""
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "mujoco", "sim", "a robot's kinematics") from None
    except RuntimeError as error:
        if "MUJOCO_GL" not in str(error):
            raise
        given = os.environ.get("MUJOCO_GL", "")
        raise UserError(
            f"MUJOCO_GL is {given!r}, which MuJoCo does not know; set it to egl or osmesa, or unset it."
        ) from None
    return mujoco


def read_model(path: Path, action_frame_rotation: Float64) -> ArmModel:
    """The arm of an MJCF file; `action_frame_rotation` (3, 3) as in `robot_pt.robots.load`.

    Raises MissingExtraError without mujoco. Mistakes in the file are ours: asserts.
    """
    mujoco = import_mujoco()
    root = ElementTree.parse(path).getroot()
    _turn_tool(mujoco, root, action_frame_rotation)
    full = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))
    hinges = np.flatnonzero(full.jnt_type == mujoco.mjtJoint.mjJNT_HINGE)
    fingers = np.flatnonzero(full.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE)
    assert full.jnt_limited.all(), f"{path.name}: every joint needs a range"
    assert full.jnt_actfrclimited[hinges].all(), f"{path.name}: every arm joint needs actuatorfrcrange"
    address = full.jnt_qposadr[hinges]
    velocity = full.numeric("max_velocity_rad_s").data
    assert len(velocity) == len(hinges), f"{path.name}: one speed per arm joint"
    low, high = full.jnt_range[fingers[0]]
    return ArmModel(
        joint_names=tuple(str(full.joint(int(j)).name) for j in hinges),
        lower_rad=_constant(full.jnt_range[hinges, 0]),
        upper_rad=_constant(full.jnt_range[hinges, 1]),
        max_velocity_rad_s=_constant(velocity),
        effort_limit=_constant(full.jnt_actfrcrange[hinges, 1]),
        home_rad=_constant(full.key("home").qpos[address]),
        sleep_rad=_constant(full.key("sleep").qpos[address]),
        finger_range_m=(float(low), float(high)),
        closed_tool=_fingertips(mujoco, full, fingers, 0),
        open_tool=_fingertips(mujoco, full, fingers, 1),
        kinematics=mujoco.MjModel.from_xml_string(_without_dynamics(root)),
    )


def _constant(values: Any) -> Float64:
    array = np.array(values, np.float64)
    array.setflags(write=False)
    return array


def _fingertips(mujoco: Any, model: Any, fingers: Any, end: int) -> Float64:
    """(2, 3) fingertip sites in the tool frame, with every finger at its innermost (0) or outermost (1) position."""
    data = mujoco.MjData(model)
    ranges = model.jnt_range[fingers]
    innermost = np.argmin(np.abs(ranges), axis=1)  # a mirrored finger has a negative range
    data.qpos[model.jnt_qposadr[fingers]] = ranges[np.arange(len(fingers)), innermost if end == 0 else 1 - innermost]
    mujoco.mj_kinematics(model, data)
    tool = data.site(TOOL_SITE)
    offsets = np.stack([data.site(name).xpos - tool.xpos for name in FINGER_SITES])
    return _constant(offsets @ tool.xmat.reshape(3, 3))


def _turn_tool(mujoco: Any, root: Element, action_frame_rotation: Float64) -> None:
    site = next(element for element in root.iter("site") if element.get("name") == TOOL_SITE)
    own, turn, turned = (
        np.array([float(part) for part in site.get("quat", "1 0 0 0").split()]),
        np.zeros(4),
        np.zeros(4),
    )
    mujoco.mju_mat2Quat(turn, action_frame_rotation.T.ravel())
    mujoco.mju_mulQuat(turned, own, turn)
    site.set("quat", " ".join(repr(float(part)) for part in turned))


def _without_dynamics(root: Element) -> str:
    """The MJCF with its arm joints only: fewer degrees of freedom and no constraints make each solve faster."""
    for section in ("equality", "actuator", "keyframe", "contact"):
        for element in root.findall(section):
            root.remove(element)
    for body in root.iter("body"):
        if body.get("childclass") == "finger":
            for joint in body.findall("joint"):
                body.remove(joint)
    return ElementTree.tostring(root, encoding="unicode")
