"""What a scripted expert and a success test may know: the true state of the scene, in the robot base frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from robot_pt.rotations import Array

LEFT_FINGER, RIGHT_FINGER = "left_finger", "right_finger"


class Pose(NamedTuple):
    """Where something is in the robot base frame."""

    position: Array  # (3,) [m]
    rotation: Array  # (3, 3)


@dataclass(frozen=True, kw_only=True)
class SceneState:
    """One instant. Poses are in the robot base frame; the tool's rotation is identity when it points straight down."""

    tool: Pose
    """Achieved pose of the point between the fingertips."""
    target: Pose
    """Commanded pose of the same point."""
    gripper: float
    """Achieved opening, 0 = closed, 1 = open."""
    objects: Mapping[str, Pose]
    """Objects, fixtures and marks of the task by their short name."""
    joints: Mapping[str, float]
    """Positions of the task's own joints, e.g. a door hinge [rad]."""
    contacts: frozenset[frozenset[str]]
    """Pairs that touch, among the fingers and the task's objects."""
    unreached_m: float = 0.0
    """How far inverse kinematics stays from the commanded position [m]; 0 under a controller that does not ask."""

    def touching(self, first: str, second: str) -> bool:
        return frozenset((first, second)) in self.contacts

    def grasped(self, name: str) -> bool:
        """Both fingers touch the object."""
        return self.touching(LEFT_FINGER, name) and self.touching(RIGHT_FINGER, name)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes, bit for bit."""
        return {
            "tool": _pose_to_json(self.tool),
            "target": _pose_to_json(self.target),
            "gripper": self.gripper,
            "objects": {name: _pose_to_json(pose) for name, pose in self.objects.items()},
            "joints": dict(self.joints),
            "contacts": sorted(sorted(pair) for pair in self.contacts),
            "unreached_m": self.unreached_m,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SceneState:
        """The inverse of `to_json`. Raises KeyError or ValueError on anything else."""
        return cls(
            tool=_pose_from_json(values["tool"]),
            target=_pose_from_json(values["target"]),
            gripper=float(values["gripper"]),
            objects={name: _pose_from_json(pose) for name, pose in values["objects"].items()},
            joints={name: float(value) for name, value in values["joints"].items()},
            contacts=frozenset(frozenset(pair) for pair in values["contacts"]),
            unreached_m=float(values.get("unreached_m", 0.0)),
        )


def _pose_to_json(pose: Pose) -> dict[str, Any]:
    return {"position": pose.position.tolist(), "rotation": pose.rotation.tolist()}


def _pose_from_json(values: Mapping[str, Any]) -> Pose:
    return Pose(np.array(values["position"], np.float64), np.array(values["rotation"], np.float64))


class SceneReader:
    """Reads objects, joints and contacts of one robosuite model."""

    def __init__(
        self,
        model: Any,
        *,
        base: Pose,
        places: Mapping[str, str],
        joints: Mapping[str, str],
        geoms: Mapping[str, Sequence[str]],
    ):
        """`places`: short name -> MuJoCo body, or "site:NAME"; `joints`: short name -> joint; `geoms`: name -> geoms that touch."""
        import mujoco

        def number(kind: str, name: str) -> int:
            found = int(mujoco.mj_name2id(model, getattr(mujoco.mjtObj, f"mjOBJ_{kind}"), name))
            assert found >= 0, f"the model has no {kind} {name}"
            return found

        self._base = base
        self._sites = {k: number("SITE", v[5:]) for k, v in places.items() if v.startswith("site:")}
        self._bodies = {k: number("BODY", v) for k, v in places.items() if not v.startswith("site:")}
        self._joints = {k: int(model.jnt_qposadr[number("JOINT", v)]) for k, v in joints.items()}
        self._owners = list(geoms)
        self._owner_of = np.full(model.ngeom, -1)
        for owner, names in enumerate(geoms.values()):
            self._owner_of[[number("GEOM", name) for name in names]] = owner

    def in_base(self, position: Array, rotation: Array) -> Pose:
        """A world pose in the robot base frame."""
        turn = self._base.rotation.T
        return Pose(turn @ (position - self._base.position), turn @ rotation.reshape(3, 3))

    def objects(self, data: Any) -> dict[str, Pose]:
        found = {k: self.in_base(data.xpos[b], data.xmat[b]) for k, b in self._bodies.items()}
        return found | {k: self.in_base(data.site_xpos[s], data.site_xmat[s]) for k, s in self._sites.items()}

    def joints(self, data: Any) -> dict[str, float]:
        return {name: float(data.qpos[address]) for name, address in self._joints.items()}

    def contacts(self, data: Any) -> frozenset[frozenset[str]]:
        owners = self._owner_of[data.contact.geom]  # (contacts, 2)
        pairs = owners[(owners >= 0).all(axis=1) & (owners[:, 0] != owners[:, 1])]
        return frozenset(frozenset((self._owners[a], self._owners[b])) for a, b in pairs)
