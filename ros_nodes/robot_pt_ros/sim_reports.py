"""What the simulated world says, as the faults let it through: states, frames, clock, reward, result, truth."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float32, String

from robot_pt.images import encode_jpeg
from robot_pt.robots import Arm
from robot_pt_ros import topics
from robot_pt_ros.conversions import (
    GRIPPER,
    compressed_message,
    image_message,
    joint_state_message,
    pose_message,
    stamp,
)
from robot_pt_ros.node import flag, text
from robot_pt_ros.sim_faults import Faults
from robot_pt_ros.sim_world import World


class SimReports:
    """Publishers of the sim node."""

    def __init__(self, node: LifecycleNode, world: World, arm: Arm, faults: Faults):
        self._node, self._world, self._arm, self._faults = node, world, arm, faults
        self._frame, self._lockstep = text(node, "frame_id"), flag(node, "lockstep")
        make, cameras = node.create_lifecycle_publisher, world.cameras
        self._joints = make(JointState, topics.JOINT_STATES, topics.newest())
        self._opening = make(JointState, topics.GRIPPER_STATE, topics.newest())
        self._pose = make(PoseStamped, topics.EE_POSE, topics.newest())
        self._time_topic = make(Clock, "/clock", topics.newest())
        self._reward = make(Float32, topics.REWARD, topics.recorded())
        self._result = node.create_publisher(String, "sim/result", topics.latched())
        self._instruction = node.create_publisher(String, topics.INSTRUCTION, topics.latched())
        self._instruction.publish(String(data=world.instruction))
        self._about = node.create_publisher(String, topics.SIMULATOR, topics.latched())
        self._about.publish(String(data=json.dumps(world.about())))
        self._truth = node.create_publisher(String, "sim/state", topics.newest())
        self._images = {c: make(Image, topics.camera_image(c), topics.newest()) for c in cameras}
        self._jpegs = {c: make(CompressedImage, topics.camera_compressed(c), topics.recorded(5)) for c in cameras}
        self._told = False

    def begin(self) -> None:
        """A new episode: its end was not told yet."""
        self._told = False

    def observation(self) -> None:
        """What the world looks like now."""
        seen, now = self._world.observation, self._world.now_ns
        self.clock()
        self._publish_arm(seen, now)
        for camera, frame in seen.images.items():
            shown = self._faults.image(camera, frame)
            if shown is not None:
                self._later(self._faults.delay_s, camera, now, shown)
        if self._truth.get_subscription_count():
            self._truth.publish(String(data=json.dumps({"stamp_ns": now, **self._world.truth()})))
        if seen.images:
            self._reward.publish(Float32(data=float(self._world.reward)))
        if self._world.ended and not self._told:
            self._told = True
            self._result.publish(String(data=json.dumps(self._world.result())))

    def clock(self) -> None:
        """/clock, in lock-step."""
        if self._lockstep:
            self._time_topic.publish(Clock(clock=stamp(self._world.now_ns)))

    def _publish_arm(self, seen: Any, now: int) -> None:
        names = self._faults.names([*self._arm.joint_names, GRIPPER])
        q = self._faults.joints(self._world.joints(seen))
        if q is None:
            return
        self._joints.publish(joint_state_message(now, *self._faults.listed(names, q), self._frame))
        self._opening.publish(joint_state_message(now, [GRIPPER], q[-1:], self._frame))
        if np.isfinite(q).all():
            self._pose.publish(pose_message(now, self._frame, self._arm.fk(q[:-1])))

    def _publish_image(self, camera: str, stamp_ns: int, frame: Any) -> None:
        link = f"camera_{camera}_optical_frame"
        self._images[camera].publish(image_message(stamp_ns, link, frame))
        if self._jpegs[camera].get_subscription_count():
            self._jpegs[camera].publish(compressed_message(stamp_ns, link, encode_jpeg(frame)))

    def _later(self, delay_s: float, camera: str, stamp_ns: int, frame: Any) -> None:
        if delay_s <= 0:
            self._publish_image(camera, stamp_ns, frame)
            return

        def publish() -> None:
            self._node.destroy_timer(timer)
            self._publish_image(camera, stamp_ns, frame)

        timer = self._node.create_timer(delay_s, publish, clock=self._world.wall)
