"""ros2_control as far as an adapter sees it: a trajectory or forward controller of the arm and one of the gripper, states at 100 Hz.

The arm is a Franka's seven joints under the driver's own names; efforts are in N m. As joint_trajectory_controller it takes points by
joint name, starts them on arrival, and refuses points stamped in the past.
"""

import contextlib
import sys

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

JOINTS = [f"fr3_joint{i}" for i in range(1, 8)]
FINGER = "fr3_finger_joint1"
HOME = [0.0, 0.19635, 0.0, -2.61799, 0.0, 2.94159, 0.78540]


class FakeControllers(Node):
    def __init__(self):
        super().__init__("controller_manager")
        self.declare_parameter("start", HOME)
        self.q = dict(zip(JOINTS, self.get_parameter("start").value, strict=False))
        self.q[FINGER] = 0.04
        self.goal, self.speed = dict(self.q), dict.fromkeys(self.q, 0.0)
        listen = self.create_subscription
        listen(JointTrajectory, "joint_trajectory_controller/joint_trajectory", self.on_trajectory, 10)
        listen(JointTrajectory, "gripper_controller/joint_trajectory", self.on_trajectory, 10)
        listen(Float64MultiArray, "forward_command_controller/commands", self.on_array, 10)
        listen(PoseStamped, "target_pose", lambda message: None, 1)
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
        for name, position in zip(reversed(JOINTS), message.data, strict=False):
            self.q[name] = self.goal[name] = position

    def step(self):
        for name, goal in self.goal.items():
            step = self.speed[name] * 0.01
            self.q[name] += max(-step, min(step, goal - self.q[name]))
        message = JointState()
        message.header.stamp = self.get_clock().now().to_msg()
        message.name = [FINGER, *reversed(JOINTS)]
        message.position = [self.q[n] for n in message.name]
        message.effort = [0.5, *(float(n[-1]) for n in reversed(JOINTS))]
        self.states.publish(message)


rclpy.init()
node = FakeControllers()
sys.stdout.write("ready\n")
with contextlib.suppress(KeyboardInterrupt):
    rclpy.spin(node)
