"""Interfaces that rosbags' type stores lack, as .msg and .srv text: fields and constants of the public ROS 2 definitions.

Services of std_srvs, rcl_interfaces, lifecycle_msgs, sensor_msgs, diagnostic_msgs and type_description_interfaces; control_msgs,
bond and interbotix_xs_msgs. Field types carry their package. Every field of interbotix_xs_msgs was compared with the definitions in
Interbotix/interbotix_ros_core, interbotix_ros_xseries/interbotix_xs_msgs/{msg,srv} (interbotix_xs_sdk/{msg,srv} in its first commits).
"""

from __future__ import annotations

MESSAGES: dict[str, str] = {
    "control_msgs/msg/JointJog": """
        std_msgs/Header header
        string[] joint_names
        float64[] displacements
        float64[] velocities
        float64 duration""",
    "control_msgs/msg/GripperCommand": """
        float64 position
        float64 max_effort""",
    "control_msgs/msg/JointTolerance": """
        string name
        float64 position
        float64 velocity
        float64 acceleration""",
    "bond/msg/Constants": """
        float32 DEAD_PUBLISH_PERIOD=0.05
        float32 DEFAULT_CONNECT_TIMEOUT=10.0
        float32 DEFAULT_HEARTBEAT_TIMEOUT=4.0
        float32 DEFAULT_DISCONNECT_TIMEOUT=2.0
        float32 DEFAULT_HEARTBEAT_PERIOD=1.0
        string DISABLE_HEARTBEAT_TIMEOUT_PARAM=/bond_disable_heartbeat_timeout""",
    "bond/msg/Status": """
        std_msgs/Header header
        string id
        string instance_id
        bool active
        float32 heartbeat_timeout
        float32 heartbeat_period""",
    "interbotix_xs_msgs/msg/JointGroupCommand": """
        string name
        float32[] cmd""",
    "interbotix_xs_msgs/msg/JointSingleCommand": """
        string name
        float32 cmd""",
    "interbotix_xs_msgs/msg/JointTrajectoryCommand": """
        string cmd_type
        string name
        trajectory_msgs/JointTrajectory traj""",
}

SERVICES: dict[str, str] = {
    "std_srvs/srv/Empty": "---",
    "std_srvs/srv/SetBool": """
        bool data
        ---
        bool success
        string message""",
    "std_srvs/srv/Trigger": """
        ---
        bool success
        string message""",
    "rcl_interfaces/srv/DescribeParameters": """
        string[] names
        ---
        rcl_interfaces/ParameterDescriptor[] descriptors""",
    "rcl_interfaces/srv/GetParameterTypes": """
        string[] names
        ---
        uint8[] types""",
    "rcl_interfaces/srv/GetParameters": """
        string[] names
        ---
        rcl_interfaces/ParameterValue[] values""",
    "rcl_interfaces/srv/ListParameters": """
        uint64 DEPTH_RECURSIVE=0
        string[] prefixes
        uint64 depth
        ---
        rcl_interfaces/ListParametersResult result""",
    "rcl_interfaces/srv/SetParameters": """
        rcl_interfaces/Parameter[] parameters
        ---
        rcl_interfaces/SetParametersResult[] results""",
    "rcl_interfaces/srv/SetParametersAtomically": """
        rcl_interfaces/Parameter[] parameters
        ---
        rcl_interfaces/SetParametersResult result""",
    "lifecycle_msgs/srv/ChangeState": """
        lifecycle_msgs/Transition transition
        ---
        bool success""",
    "lifecycle_msgs/srv/GetState": """
        ---
        lifecycle_msgs/State current_state""",
    "lifecycle_msgs/srv/GetAvailableStates": """
        ---
        lifecycle_msgs/State[] available_states""",
    "lifecycle_msgs/srv/GetAvailableTransitions": """
        ---
        lifecycle_msgs/TransitionDescription[] available_transitions""",
    "sensor_msgs/srv/SetCameraInfo": """
        sensor_msgs/CameraInfo camera_info
        ---
        bool success
        string status_message""",
    "diagnostic_msgs/srv/SelfTest": """
        ---
        string id
        byte passed
        diagnostic_msgs/DiagnosticStatus[] status""",
    "interbotix_xs_msgs/srv/TorqueEnable": """
        string cmd_type
        string name
        bool enable
        ---""",
    "interbotix_xs_msgs/srv/Reboot": """
        string cmd_type
        string name
        bool enable
        bool smart_reboot
        ---""",
    "interbotix_xs_msgs/srv/RobotInfo": """
        string cmd_type
        string name
        ---
        string mode
        string profile_type
        string[] joint_names
        int16[] joint_ids
        float32[] joint_lower_limits
        float32[] joint_upper_limits
        float32[] joint_velocity_limits
        float32[] joint_sleep_positions
        int16[] joint_state_indices
        int16 num_joints
        string[] name""",
    "interbotix_xs_msgs/srv/OperatingModes": """
        string cmd_type
        string name
        string mode
        string profile_type
        int32 profile_velocity
        int32 profile_acceleration
        ---""",
    "interbotix_xs_msgs/srv/RegisterValues": """
        string cmd_type
        string name
        string reg
        int32 value
        ---
        int32[] values""",
}
# From Iron on (Humble has neither the messages nor the services).
JAZZY_SERVICES: dict[str, str] = {
    "rcl_interfaces/srv/GetLoggerLevels": """
        string[] names
        ---
        rcl_interfaces/LoggerLevel[] levels""",
    "rcl_interfaces/srv/SetLoggerLevels": """
        rcl_interfaces/LoggerLevel[] levels
        ---
        rcl_interfaces/SetLoggerLevelsResult[] results""",
    "type_description_interfaces/srv/GetTypeDescription": """
        string type_name
        string type_hash
        bool include_type_sources true
        ---
        bool successful
        string failure_reason
        type_description_interfaces/TypeDescription type_description
        type_description_interfaces/TypeSource[] type_sources
        type_description_interfaces/KeyValue[] extra_information""",
}
# Defaults other than zero, which rosbags' parsed definitions drop.
DEFAULTS: dict[str, dict[str, float | bool]] = {
    "geometry_msgs/msg/Quaternion": {"w": 1.0},
    "sensor_msgs/msg/NavSatStatus": {"status": -2},  # STATUS_UNKNOWN; Humble has 0
    "type_description_interfaces/srv/GetTypeDescription_Request": {"include_type_sources": True},
}
