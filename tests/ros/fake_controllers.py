"""ros2_control as far as an adapter sees it: a trajectory or forward controller of the arm and one of the gripper, states at 100 Hz.

The arm is a Franka's seven joints under the driver's own names, unless `joints` names others; efforts are in N m. As
joint_trajectory_controller it takes points by joint name, starts them on arrival, and refuses points stamped in the past. With
`follows_pose` it is a Cartesian controller too, which turns target_pose of the hand into joint speeds by the damped inverse of a
differenced Jacobian.
"""

import contextlib
import sys

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

JOINTS = [f"fr3_joint{i}" for i in range(1, 8)]
FINGER = "fr3_finger_joint1"
HOME = [0.0, 0.19635, 0.0, -2.61799, 0.0, 2.94159, 0.78540]
FASTEST_RAD_S = 2.0


class FakeControllers(Node):
    def __init__(self):
        super().__init__("controller_manager")
        for name, value in {
            "start": HOME, "joints": JOINTS, "finger": FINGER, "opening": 0.04, "follows_pose": False,
        }.items():  # fmt: skip
            self.declare_parameter(name, value)
        self.joints, self.finger = (self.get_parameter(name).value for name in ("joints", "finger"))
        self.q = dict(zip(self.joints, self.get_parameter("start").value, strict=True))
        self.q[self.finger] = self.get_parameter("opening").value
        self.pose = None
        self.hand = Hand() if self.get_parameter("follows_pose").value else None
        self.goal, self.speed = dict(self.q), dict.fromkeys(self.q, 0.0)
        listen = self.create_subscription
        listen(JointTrajectory, "joint_trajectory_controller/joint_trajectory", self.on_trajectory, 10)
        listen(JointTrajectory, "gripper_controller/joint_trajectory", self.on_trajectory, 10)
        listen(Float64MultiArray, "forward_command_controller/commands", self.on_array, 10)
        listen(Float64MultiArray, "gripper_position_controller/commands", self.on_finger, 10)
        listen(PoseStamped, "target_pose", self.on_pose, 1)
        self.states = self.create_publisher(JointState, "joint_states", 10)
        self.create_timer(0.01, self.step)

    def on_trajectory(self, message):
        if message.header.stamp.sec or len(message.points) != 1 or not set(message.joint_names) <= set(self.q):
            self.get_logger().error("refused")
            return
        point = message.points[0]
        seconds = point.time_from_start.sec + point.time_from_start.nanosec / 1e9
        for name, position in zip(message.joint_names, point.positions, strict=False):
            self.goal[name] = position
            self.speed[name] = abs(position - self.q[name]) / seconds

    def on_array(self, message):
        for name, position in zip(reversed(self.joints), message.data, strict=False):
            self.q[name] = self.goal[name] = position

    def on_finger(self, message):
        self.q[self.finger] = self.goal[self.finger] = message.data[0]

    def on_pose(self, message):
        self.pose = message.pose

    def step(self):
        if self.hand is not None and self.pose is not None:
            q = np.array([self.q[name] for name in self.joints])
            speeds = np.clip(self.hand.speeds(q, self.pose), -FASTEST_RAD_S, FASTEST_RAD_S)
            for name, position in zip(self.joints, (q + 0.01 * speeds).tolist(), strict=True):
                self.q[name] = self.goal[name] = position
        for name, goal in self.goal.items():
            step = self.speed[name] * 0.01
            self.q[name] += max(-step, min(step, goal - self.q[name]))
        message = JointState()
        message.header.stamp = self.get_clock().now().to_msg()
        message.name = [self.finger, *reversed(self.joints)]
        message.position = [self.q[n] for n in message.name]
        message.effort = [0.5, *(float(i) for i in range(len(self.joints), 0, -1))]
        self.states.publish(message)


class Hand:
    """fr3_hand_tcp on the model's arm, as the settings of robot:=franka have it."""

    def __init__(self):
        from robot_pt.robots import load

        self.fk = load("panda").fk
        self.T_tool_hand = np.diag([1.0, -1.0, -1.0, 1.0])
        self.T_tool_hand[2, 3] = -0.0069

    def speeds(self, q, pose):
        """Joint speeds (7,) [rad/s] towards the pose, with a time constant of 0.1 s."""
        x, y, z, w = (getattr(pose.orientation, axis) for axis in "xyzw")
        wanted = np.eye(4)
        wanted[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        wanted[:3, 3] = pose.position.x, pose.position.y, pose.position.z
        here = self.fk(q) @ self.T_tool_hand
        moved = [self.twist(here, self.fk(q + 1e-4 * row) @ self.T_tool_hand) / 1e-4 for row in np.eye(len(q))]
        jacobian = np.array(moved).T
        damped = jacobian @ jacobian.T + 1e-4 * np.eye(6)
        return 10 * jacobian.T @ np.linalg.solve(damped, self.twist(here, wanted))

    @staticmethod
    def twist(a, b):
        """(6,) small motion from a to b: metres and radians, base axes."""
        turn = sum(np.cross(a[:3, i], b[:3, i]) for i in range(3)) / 2
        return np.concatenate([b[:3, 3] - a[:3, 3], turn])


rclpy.init()
node = FakeControllers()
sys.stdout.write("ready\n")
with contextlib.suppress(KeyboardInterrupt):
    rclpy.spin(node)
