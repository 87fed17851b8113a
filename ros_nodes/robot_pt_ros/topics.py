"""Names and quality of service of every topic and service, in one place. Names are relative: launch pushes the namespace.

Publishers offer RELIABLE, subscribers request what they need: the reverse of a mismatch connects, and a mismatch is silence.
"""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

JOINT_STATES = "joint_states"
EE_POSE = "ee_pose"
GRIPPER_STATE = "gripper/state"
COMMAND = "command"
COMMAND_POSE = "command/pose"
POLICY_POSE, POLICY_GRIPPER = "policy/command_raw", "policy/gripper_raw"
POLICY_CHUNK = "policy/chunk"
"""What a whole chunk of actions asks for, for logs and displays: the gate hears one target after the other."""
TELEOP_POSE, TELEOP_GRIPPER = "teleop/command_raw", "teleop/gripper_raw"
DEADMAN = "teleop/deadman"
ESTOP = "safety/estop"
SAFETY_STATE = "safety/state"
CLIPPED = "safety/clipped"
APPLIED = "safety/applied"
"""What the gate made of a request, under the request's stamp."""
POLICY_VERSION = "policy/version"
STEP_INFO = "policy/step_info"
INSTRUCTION = "sim/instruction"
"""A simulated task in words."""
SIMULATOR = "sim/about"
"""What a simulator's episodes say of it, as JSON: task, instruction and metadata (`robot_pt.simulator.Simulator.about`)."""
EPISODE_STATE = "episode/state"
RECORDER_STATE = "recorder/state"
REWARD = "episode/reward"
ONLINE_STATE = "online/state"
"""Which version acts, which is offered, and what it waits for, as JSON."""
HEARTBEAT = "manager/heartbeat"
ARM_STATE = "arm/state"
"""What the arm adapter does, as JSON."""
ARM_FAULT = "arm/fault"
"""What is broken in the arm, one sentence; "" where nothing is."""
DIAGNOSTICS = "/diagnostics"


def camera_image(name: str) -> str:
    """Raw frames of one camera."""
    return f"camera/{name}/image_raw"


def camera_compressed(name: str) -> str:
    """JPEG frames of one camera."""
    return f"camera/{name}/image_raw/compressed"


def camera_info(name: str) -> str:
    """Calibration of one camera."""
    return f"camera/{name}/camera_info"


def newest(*, lifespan_s: float | None = None) -> QoSProfile:
    """RELIABLE, depth 1: an old one is wrong, not queued."""
    profile = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE)
    if lifespan_s is not None:
        profile.lifespan = Duration(seconds=lifespan_s)
    return profile


def sampled() -> QoSProfile:
    """BEST_EFFORT, depth 1: what a control loop subscribes with."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def recorded(depth: int = 100) -> QoSProfile:
    """RELIABLE with room: nothing may be lost."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.RELIABLE)


def latched() -> QoSProfile:
    """The last value reaches those who come later."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def alarms() -> QoSProfile:
    """What a listener to latched alarms subscribes with: room enough that the value after a True, whoever says it, does not replace it unread."""
    profile = latched()
    profile.depth = 100
    return profile


def alarms_of_anybody() -> tuple[QoSProfile, ...]:
    """Subscriptions of which one hears any alarm: other programs may latch nothing (rclpy's default) or promise nothing (sensor data).

    A request for what is latched hears neither, and one without loses what is latched or sent again.
    """
    profiles = alarms(), recorded(), sampled()
    profiles[-1].depth = 100
    return profiles


def heartbeat(deadline_s: float = 0.2, lease_s: float = 0.5) -> QoSProfile:
    """Absence is a message: deadline and liveliness, to be set alike on both sides."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        deadline=Duration(seconds=deadline_s),
        liveliness=LivelinessPolicy.AUTOMATIC,
        liveliness_lease_duration=Duration(seconds=lease_s),
    )
