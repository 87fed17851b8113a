"""launch/robot.launch.yaml against a driver that stands in for one kind of arm, and an operator who holds a gamepad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robot_pt.robots import load
from robot_pt.teleop.gamepad import DEADMAN, LAYOUTS
from tests.ros import graph as graphs

HERE = Path(__file__).parent
LAUNCH, CONFIG = HERE.parents[1] / "launch/robot.launch.yaml", HERE.parents[1] / "ros_nodes/config"
SIZE = (48, 80)
"""Of the camera's pictures [px]; another than the policy was trained on."""


class Kind(NamedTuple):
    """One `robot:=` with a driver that stands in for it."""

    fake: str
    parameters: dict[str, object]
    driver_namespace: str
    namespace: str
    arm: str
    low: tuple[float, ...]
    high: tuple[float, ...]


_DOWN = [0.0, -0.21, 0.44, 0.0, 1.341, 0.0]
"""The WidowX with its gripper down, 0.15 m above the table: far from singularities [rad]."""
_TABLE = ((0.19, -0.07, 0.1), (0.3, 0.07, 0.2))
KINDS = {
    "wx250s": Kind("fake_xs_sdk.py", {"rate_hz": 100.0, "start": _DOWN}, "/wx250s", "/wx250s/pt", "wx250s", *_TABLE),
    "ros2_control": Kind(
        "fake_controllers.py",
        {"joints": list(load("wx250s").joint_names), "finger": "left_finger", "opening": 0.037, "start": _DOWN},
        "/", "/ros2_control", "wx250s", *_TABLE,
    ),
    "franka": Kind(
        "fake_controllers.py", {"follows_pose": True}, "/", "/franka", "panda", tuple(graphs.LOW.tolist()), tuple(graphs.HIGH.tolist())
    ),
}  # fmt: skip
PATIENT = "/**/manager:\n  ros__parameters: {bond_timeout_s: 600.0}\n"
"""Settings of a manager that leaves the graph up where nodes are stopped or killed: it would take it down after the first of them."""
EMBODIMENTS = {"wx250s": "widowx250s", "panda": "panda"}


class Operator(graphs.Watcher):
    """Holds a gamepad, which the teleop node listens to. Stands in for nodes that are gone: `gamepad` False, `shows` True."""

    def __init__(self, domain: int, kind: Kind):
        self.gamepad, self.shows, self._rng = True, False, np.random.default_rng(1)
        low, high = np.array(kind.low), np.array(kind.high)
        super().__init__(domain, namespace=kind.namespace, arm=kind.arm, low=low, high=high)

    def _listen(self) -> None:
        from sensor_msgs.msg import Image, Joy

        from robot_pt_ros import topics

        super()._listen()
        self._joy = self.node.create_publisher(Joy, "joy", topics.newest())
        self._camera = self.node.create_publisher(Image, topics.camera_image("primary"), topics.newest())
        self.node.create_timer(1 / 15, self._show)

    def beat(self) -> None:
        from sensor_msgs.msg import Joy

        layout = LAYOUTS["game_controller"]
        axes, buttons = layout.needs
        if not self.gamepad:
            super().beat()
        elif self.held is not None:
            pressed = [int(self.held and i == layout.buttons[DEADMAN]) for i in range(buttons)]
            self._joy.publish(Joy(axes=[0.0] * axes, buttons=pressed))

    def _show(self) -> None:
        from robot_pt_ros.conversions import image_message

        if self.shows:
            now_ns = self.node.get_clock().now().nanoseconds
            self._camera.publish(image_message(now_ns, "camera", self._rng.integers(0, 256, (*SIZE, 3), np.uint8)))


def frames(folder: Path) -> Path:
    """A folder of pictures that a camera node plays."""
    import cv2

    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(20):
        cv2.imwrite(str(folder / f"{i:02}.png"), rng.integers(0, 256, (*SIZE, 3), np.uint8))
    return folder


def driver(program: Any, kind: Kind) -> Any:
    """The process of the arm's stand-in, which is ready."""
    words = [part for key, value in kind.parameters.items() for part in ("-p", f"{key}:={json.dumps(value)}")]
    process = program((HERE / kind.fake).read_text(), "--ros-args", "-r", f"__ns:={kind.driver_namespace}", *words)
    assert process.stdout.readline() == "ready\n"
    return process


def launched(name: str, domain: int, folder: Path, settings: str = "") -> graphs.Graph:
    """The whole graph with camera, operator and recorder; `settings` go after those of the robot's parameter file."""
    kind = KINDS[name]
    low, high = np.array(kind.low), np.array(kind.high)
    checkpoint = graphs.circling_policy(folder / "run", low=low, high=high, embodiment=EMBODIMENTS[kind.arm])
    config = folder / "config.yaml"
    room = "/**/recorder:\n  ros__parameters: {min_free_bytes: 1000, hard_min_bytes: 1000}\n"
    config.write_text((CONFIG / f"{name}.yaml").read_text() + room + settings)
    return graphs.Graph(
        domain, folder, launch=LAUNCH, robot=name, config=config, checkpoint=checkpoint, teleop="joy", record="true",
        store=folder / "demos", camera=frames(folder / "frames"), camera_size=list(SIZE), workspace_min=list(kind.low),
        workspace_max=list(kind.high), latch_file=folder / "latch.json",
    )  # fmt: skip


def until_up(watcher: graphs.Watcher, graph: graphs.Graph) -> None:
    """Wait until it is active, and not ended."""
    watcher.until(lambda: "the graph is active" in graph.text or graph.process.poll() is not None, 180, "not up")
    assert graph.process.poll() is None, graph.text[-3000:]
