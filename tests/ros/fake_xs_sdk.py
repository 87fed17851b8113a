"""xs_sdk as far as an adapter sees it: a WidowX-250s whose joints follow time profiles. Joint states at rate_hz (20), name and position only.

It checks no limits and has no timeout, as the real one. Parameters, free to change while it runs: error (Hardware_Error_Status of the
elbow), mute (joint states stop), stuck (joints stop), obstacle (the fingers' least travel [m]).
"""

import contextlib
import math
import sys

import rclpy
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from interbotix_xs_msgs.srv import OperatingModes, RegisterValues, RobotInfo, TorqueEnable
from rclpy.node import Node
from sensor_msgs.msg import JointState

ARM = ["waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate"]
LOWER = [-math.pi, -1.885, -2.147, -math.pi, -1.746, -math.pi]
UPPER = [math.pi, 1.990, 1.606, math.pi, 2.147, math.pi]
SLEEP = [0.0, -1.80, 1.55, 0.0, 0.8, 0.0]
CLOSED, OPEN = 0.015, 0.037
STEP_S = 0.01


class FakeXsSdk(Node):
    def __init__(self):
        super().__init__("xs_sdk")
        for name, value in {
            "error": 0,
            "mute": False,
            "stuck": False,
            "obstacle": 0.0,
            "limits": 1.0,
            "arm_mode": "position",
            "rate_hz": 20.0,
        }.items():
            self.declare_parameter(name, value)
        self.declare_parameter("start", SLEEP)
        self.q = list(self.get_parameter("start").value)
        self.goal, self.speed = list(self.q), [0.0] * 6
        self.finger, self.pwm, self.torque = CLOSED, 0.0, True
        self.modes = {"arm": (self.get_parameter("arm_mode").value, "time"), "gripper": ("pwm", "velocity")}
        self.registers = {"Profile_Velocity": 2000, "Profile_Acceleration": 300}
        self.create_subscription(JointGroupCommand, "commands/joint_group", self.on_group, 10)
        self.create_subscription(JointSingleCommand, "commands/joint_single", self.on_single, 10)
        self.create_service(RobotInfo, "get_robot_info", self.info)
        self.create_service(OperatingModes, "set_operating_modes", self.set_modes)
        self.create_service(RegisterValues, "set_motor_registers", self.set_registers)
        self.create_service(RegisterValues, "get_motor_registers", self.get_registers)
        self.create_service(TorqueEnable, "torque_enable", self.torque_enable)
        self.states = self.create_publisher(JointState, "joint_states", 10)
        self.count = 0
        self.every = round(1 / STEP_S / self.get_parameter("rate_hz").value)
        self.create_timer(STEP_S, self.step)

    def on_group(self, message):
        assert message.name == "arm"
        self.goal = [float(v) for v in message.cmd]
        seconds = max(self.registers["Profile_Velocity"] / 1000, 1e-3)
        self.speed = [abs(g - q) / seconds for g, q in zip(self.goal, self.q, strict=False)]

    def on_single(self, message):
        assert message.name == "gripper"
        if self.modes["gripper"][0] == "pwm":
            self.pwm = float(message.cmd)
        else:
            self.finger = float(message.cmd) / 2

    def info(self, request, response):
        mode, profile = self.modes[request.name]
        response.mode, response.profile_type = mode, profile
        if request.name == "arm":
            scale = self.get_parameter("limits").value
            response.joint_names = ARM
            response.joint_lower_limits = [v * scale for v in LOWER]
            response.joint_upper_limits = [v * scale for v in UPPER]
        return response

    def set_modes(self, request, response):
        self.modes[request.name] = (request.mode, request.profile_type)
        if request.name == "arm":
            self.registers["Profile_Velocity"] = request.profile_velocity
            self.registers["Profile_Acceleration"] = request.profile_acceleration
        self.get_logger().info(f"mode of {request.name}: {request.mode}")
        return response

    def set_registers(self, request, response):
        self.registers[request.reg] = request.value
        return response

    def get_registers(self, request, response):
        if request.reg == "Hardware_Error_Status":
            response.values = [0, 0, self.get_parameter("error").value, 0, 0, 0, 0]
        else:
            response.values = [self.registers[request.reg]] * 6
        return response

    def torque_enable(self, request, response):
        self.torque = request.enable
        self.goal = list(self.q)
        return response

    def step(self):
        dt = STEP_S
        if self.torque and not self.get_parameter("stuck").value:
            for i, goal in enumerate(self.goal):
                step = self.speed[i] * dt
                self.q[i] += max(-step, min(step, goal - self.q[i]))
            least = max(CLOSED, self.get_parameter("obstacle").value)
            moved = self.finger + 0.05 * self.pwm / 350 * dt if abs(self.pwm) > 80 else self.finger
            self.finger = max(min(moved, OPEN), min(least, self.finger))
        self.count += 1
        if self.count % self.every or self.get_parameter("mute").value:
            return
        message = JointState()
        message.header.stamp = self.get_clock().now().to_msg()
        message.name = [*ARM, "gripper", "left_finger", "right_finger"]
        message.position = [*self.q, 1.5, self.finger, -self.finger]
        self.states.publish(message)


rclpy.init()
node = FakeXsSdk()
sys.stdout.write("ready\n")
with contextlib.suppress(KeyboardInterrupt):
    rclpy.spin(node)
