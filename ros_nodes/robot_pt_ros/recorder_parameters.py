"""The recorder's parameters and the cameras' messages -> a `Recorder` of one spec, or one sentence why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from robot_pt.disk import DiskLimits, require_room
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.images import image_size
from robot_pt.messages import COMPRESSED, Message, camera_of, serde_error, typestore
from robot_pt.recorder import Recorder
from robot_pt.recording import Limits
from robot_pt.schema import Spec
from robot_pt.store import DemoStore
from robot_pt_ros.arm_model import arm_of, declare_arm
from robot_pt_ros.node import number, numbers, text, texts
from robot_pt_ros.policy_parameters import EMBODIMENTS


def declare(node: Node) -> None:
    """Declare every parameter of the recorder."""
    fixed = lambda words, **more: ParameterDescriptor(description=words, read_only=True, **more)  # noqa: E731
    whole = [IntegerRange(from_value=0, to_value=1 << 50, step=1)]
    some = [FloatingPointRange(from_value=0.1, to_value=1e5, step=0.0)]
    node.declare_parameter("root", "demos", fixed("DemoStore folder; made where there is none."))
    node.declare_parameter("task", "", fixed("Task of episodes that are started by recorder/start."))
    node.declare_parameter("prompt", "", fixed("Instruction of episodes that are started by recorder/start."))
    node.declare_parameter(
        "simulated", False, fixed("A simulator says what it is and, where nobody does, its task in words.")
    )
    declare_arm(node)
    node.declare_parameter("embodiment", "", fixed("What the data calls the robot; empty: as its model."))
    node.declare_parameter(
        "cameras", [""], fixed("role=camera pairs, e.g. primary=front; empty: the store's, or all that are heard.")
    )
    node.declare_parameter("control_rate_hz", 5.0, fixed("Steps per second [Hz].", floating_point_range=some))
    node.declare_parameter("operator", "teleop", fixed("What an operator's steps are called: teleop or scripted."))
    node.declare_parameter("dataset", "recorded", fixed("Name of the data set that episodes say they belong to."))
    node.declare_parameter(
        "min_free_bytes", 5_000_000_000, fixed("No episode begins with less on the disk.", integer_range=whole)
    )
    node.declare_parameter(
        "hard_min_bytes", 500_000_000, fixed("An episode ends as aborted with less.", integer_range=whole)
    )
    node.declare_parameter("episode_max_s", 600.0, fixed("Longest episode [s].", floating_point_range=some))
    node.declare_parameter(
        "queue_max_mb",
        64.0,
        fixed("What may wait for the disk before messages are dropped.", floating_point_range=some),
    )


class Maker:
    """Checks what can be checked before the first episode, makes the recorder with it. Raises UserError."""

    def __init__(self, node: Node, namespace: str, on_fault: Callable[[str], None]):
        self._on_fault, self._namespace = on_fault, namespace
        self.root = Path(text(node, "root")).expanduser()
        self._arm, self._turned = arm_of(node), numbers(node, "action_frame_rotation")
        self._embodiment = text(node, "embodiment") or EMBODIMENTS.get(text(node, "robot"), text(node, "robot"))
        self._hz, self._operator = number(node, "control_rate_hz"), text(node, "operator")
        self._dataset = text(node, "dataset")
        if self._operator not in ("teleop", "scripted"):
            raise UserError(f"operator is {self._operator!r}; choose teleop or scripted.")
        pairs = [pair.partition("=") for pair in texts(node, "cameras")]
        self.cameras = {role: name or role for role, _, name in pairs}
        disk = DiskLimits(*(int(number(node, name)) for name in ("min_free_bytes", "hard_min_bytes")))
        self._limits = Limits(disk, int(number(node, "queue_max_mb") * 1e6), number(node, "episode_max_s"))
        existing = next(folder for folder in (self.root, *self.root.absolute().parents) if folder.exists())
        require_room(existing, disk)

    def recorder_of_store(self) -> Recorder | None:
        """The recorder of a store that is there already; None where there is none yet."""
        if not self.root.exists() or not any(self.root.iterdir()):
            return None
        spec = DemoStore(self.root).spec
        wanted = {"embodiment": (spec.embodiment, self._embodiment), "control_hz": (spec.control_hz, self._hz)}
        if self.cameras:
            wanted["cameras"] = (sorted(spec.cameras), sorted(self.cameras))
        for name, (there, here) in wanted.items():
            if there != here:
                raise MismatchError(
                    f"store {self.root} has {name} {there}, this robot {here}; record to another store."
                )
        self._require_frame()
        self.cameras = self.cameras or {role: role for role in spec.cameras}
        return self._recorder(spec)

    def _require_frame(self) -> None:
        """Poses of one store call the same rotation zero; what was recorded before that was kept is taken for any."""
        source = DemoStore(self.root).source(skip_corrupt=True)
        there = source.recorded(0)["metadata"].get("action_frame_rotation") if len(source.episodes.start) else None
        if there is not None and not np.allclose(there, self._turned, atol=1e-6):
            raise MismatchError(
                f"store {self.root} has action_frame_rotation {there}, this robot {self._turned}; record to another store."
            )

    def __call__(self, newest: Mapping[str, Message], recorder: Recorder | None) -> Recorder:
        """The recorder for the frames that come: the one there is, where they fit its store, or one of a new store."""
        cameras = self.cameras or {name: name for name in map(camera_of, newest) if name is not None}
        if not cameras:
            raise UserError("no camera is heard; start one, or name them in cameras, then start the episode again.")
        found = {camera_of(topic): message for topic, message in newest.items() if camera_of(topic) is not None}
        silent = sorted(name for name in cameras.values() if name not in found)
        if silent:
            raise UserError(f"camera {silent[0]!r} has sent nothing; check it, then start the episode again.")
        sizes = {role: _size(found[name]) for role, name in cameras.items()}
        if recorder is not None and dict(recorder.store.spec.cameras) != sizes:
            raise MismatchError(
                f"frames are {sizes}, those of store {self.root} {dict(recorder.store.spec.cameras)}; record to another store."
            )
        self.cameras = cameras
        return recorder or self._recorder(Spec(cameras=sizes, embodiment=self._embodiment, control_hz=self._hz))

    def _recorder(self, spec: Spec) -> Recorder:
        return Recorder(
            self.root, spec, cameras=self.cameras, joint_names=self._arm.joint_names, robot=self._arm.name,
            action_frame_rotation=self._turned,
            namespace=self._namespace, dataset=self._dataset, teleop=self._operator, limits=self._limits,
            on_fault=self._on_fault,
        )  # fmt: skip


def _size(message: Message) -> tuple[int, int]:
    """(height, width) of a frame; raises DataError where it is none."""
    try:
        content: Any = typestore().deserialize_cdr(message.cdr, message.type)
    except (serde_error(), ValueError, IndexError) as error:
        raise DataError(f"{message.topic} sends no image ({str(error)[:60]}); check the camera's driver.") from None
    if message.type == COMPRESSED:
        return image_size(content.data, message.topic)[:2]
    return int(content.height), int(content.width)
