"""The data sets whose columns are known: Bridge and Open X-Embodiment, one entry each.

Facts come from the data sets' own features (features.json, or the TFDS catalogue page made from it) and from the transforms
that others train with; `source` of each entry names them. Three of those transforms' faults are mended for all entries:
differences of Euler angles are wrapped, a relative gripper command starts from the measured gripper, and the language is
kept wherever the data has any. Names match the folder ``<name>/<version>``.
"""

from __future__ import annotations

from robot_pt_data.mapping import Mapping

_TFDS = "tensorflow/datasets docs/catalog/{}.md"
_OCTO = "octo-models/octo octo/data/oxe/oxe_standardization_transforms.py"
_OPENVLA = "openvla/openvla prismatic/vla/datasets/rlds/oxe"

BRIDGE_DATASET = Mapping(
    embodiment="widowx250s",
    control_hz=5.0,
    cameras={
        "primary": "observation/image_0",  # fixed, over the shoulder
        "secondary": "observation/image_1",
        "wrist": "observation/image_3",
    },
    translation="action[0:3]",
    rotation="action[3:6]",
    gripper="action[6]",
    position="observation/state[0:3]",
    orientation="observation/state[3:6]",
    gripper_state="observation/state[6]",
    action_unit="metric",
    drop_zero_first=True,
    dummy_cameras=True,
    optional_cameras=("secondary", "wrist"),
    source=f"features.json of bridge_dataset 1.0.0 (its descriptions are wrong, bridge_data_v2 issue 26); {_OCTO}; {_OPENVLA}/transforms.py",
    notes="Actions are differences of consecutive commanded targets; has_image_* cannot be trusted in every copy.",
)

BRIDGE_RTX = Mapping(
    embodiment="widowx250s",
    control_hz=5.0,
    cameras={"primary": "observation/image"},
    translation="action/world_vector",
    rotation="action/rotation_delta",
    gripper="action/open_gripper",
    position="observation/state[0:3]",
    orientation="observation/state[3:6]",
    gripper_state="observation/state[6]",
    instruction=("observation/natural_language_instruction",),
    action_unit="metric",
    drop_zero_first=True,
    source=f"tensorflow/datasets robotics/dummy_data/bridge/1.0.0/features.json; {_OPENVLA}/transforms.py",
    notes="An earlier, smaller cut of BridgeData V2 than bridge_dataset.",
)

FRACTAL = Mapping(
    embodiment="google_robot",
    control_hz=3.0,
    cameras={"primary": "observation/image"},
    translation="action/world_vector",
    rotation="action/rotation_delta",
    gripper="action/gripper_closedness_action",
    gripper_kind="closing_command",
    position="observation/base_pose_tool_reached[0:3]",
    orientation="observation/base_pose_tool_reached[3:7]",
    orientation_format="quaternion_xyzw",
    gripper_state="observation/gripper_closed",
    gripper_state_kind="closed",
    instruction=("observation/natural_language_instruction",),
    success="/aspects/success",
    success_known="/aspects/has_aspects",
    action_unit="metric",
    source=f"{_TFDS.format('fractal20220817_data')}; {_OCTO}",
    notes="World vector and rotation are documented as commanded displacements in the base frame; base motion is left out.",
)

KUKA = Mapping(
    embodiment="kuka_iiwa",
    control_hz=10.0,
    cameras={"primary": "observation/image"},
    translation="action/world_vector",
    rotation="action/rotation_delta",
    gripper="action/gripper_closedness_action",
    gripper_kind="closing_command",
    position="observation/clip_function_input/base_pose_tool_reached[0:3]",
    orientation="observation/clip_function_input/base_pose_tool_reached[3:7]",
    orientation_format="quaternion_xyzw",
    gripper_state="observation/gripper_closed",
    gripper_state_kind="closed",
    instruction=("observation/natural_language_instruction",),
    success="/success",
    operator="policy",
    source=f"{_TFDS.format('kuka')}; {_OCTO}",
    notes="Rate and action unit are not documented. Pose and gripper are zlib-compressed tensors in the release.",
)

TACO_PLAY = Mapping(
    embodiment="franka",
    control_hz=15.0,
    cameras={"primary": "observation/rgb_static", "wrist": "observation/rgb_gripper"},
    translation="action/rel_actions_world[0:3]",
    rotation="action/rel_actions_world[3:6]",
    gripper="action/rel_actions_world[6]",
    gripper_kind="open_signed",
    position="observation/robot_obs[0:3]",
    orientation="observation/robot_obs[3:6]",
    gripper_state="observation/robot_obs[6]",
    gripper_state_scale=0.08,  # the widest opening of the Franka hand [m]
    instruction=("observation/natural_language_instruction", "observation/structured_language_instruction"),
    action_unit="normalized",
    source=f"{_TFDS.format('taco_play')}; {_OCTO}; CALVIN's data description for the sign and scale",
    notes="Relative actions are scaled to [-1, 1]; achieved actions are metric. The features call -1 open, CALVIN and Octo call +1 open: +1 is taken.",
)

JACO_PLAY = Mapping(
    embodiment="jaco2",
    control_hz=10.0,
    cameras={"primary": "observation/image", "wrist": "observation/image_wrist"},
    translation="action/world_vector",
    gripper="action/gripper_closedness_action",
    gripper_kind="closing_command",
    position="observation/end_effector_cartesian_pos[0:3]",
    orientation="observation/end_effector_cartesian_pos[3:7]",
    orientation_format="quaternion_xyzw",
    instruction=("observation/natural_language_instruction",),
    source=f"{_TFDS.format('jaco_play')}; {_OCTO}",
    notes="The arm keeps its orientation. That the pose is xyz + quaternion is how others read it, no file says so.",
    verified=False,
)

BERKELEY_CABLE_ROUTING = Mapping(
    embodiment="franka",
    control_hz=10.0,
    cameras={
        "primary": "observation/image",
        "secondary": "observation/top_image",
        "wrist": "observation/wrist45_image",
    },
    translation="action/world_vector",
    rotation="action/rotation_delta",
    gripper_constant=0.0,  # the cable stays in the closed gripper
    state="observation/robot_state",
    instruction=("observation/natural_language_instruction",),
    source=f"{_TFDS.format('berkeley_cable_routing')}; {_OCTO}",
    notes="Actions are velocities, not displacements per step; a fourth camera, wrist225_image, is left out.",
)

ROBOTURK = Mapping(
    embodiment="sawyer",
    control_hz=10.0,
    cameras={"primary": "observation/front_rgb"},
    translation="action/world_vector",
    rotation="action/rotation_delta",
    gripper="action/gripper_closedness_action",
    gripper_kind="closed",
    instruction=("observation/natural_language_instruction",),
    source=f"{_TFDS.format('roboturk')}; {_OCTO}",
    notes="No proprioception is stored.",
)

VIOLA = Mapping(
    embodiment="franka",
    control_hz=20.0,
    cameras={"primary": "observation/agentview_rgb", "wrist": "observation/eye_in_hand_rgb"},
    translation="action/world_vector",
    rotation="action/rotation_delta",
    gripper="action/gripper_closedness_action",
    gripper_kind="closed",
    position="observation/ee_states",
    orientation="observation/ee_states",
    orientation_format="pose_matrix",
    gripper_state="observation/gripper_states",
    gripper_state_scale=0.08,  # the widest opening of the Franka hand [m]
    instruction=("observation/natural_language_instruction",),
    action_unit="normalized",
    source=f"{_TFDS.format('viola')}; {_OCTO}",
    notes="Actions are inputs of an operational-space controller. The pose is a flat homogeneous matrix; its order is found out from the data.",
)

BERKELEY_AUTOLAB_UR5 = Mapping(
    embodiment="ur5",
    control_hz=5.0,
    cameras={"primary": "observation/image", "wrist": "observation/hand_image"},
    translation="action/world_vector",
    rotation="action/rotation_delta",
    gripper="action/gripper_closedness_action",
    gripper_kind="closing_command",
    position="observation/robot_state[6:9]",
    orientation="observation/robot_state[9:13]",
    orientation_format="quaternion_xyzw",
    gripper_state="observation/robot_state[13]",
    gripper_state_kind="closed",
    instruction=("observation/natural_language_instruction",),
    source=f"{_TFDS.format('berkeley_autolab_ur5')}; sites.google.com/view/berkeley-ur5/home; {_OCTO}",
    notes="The unit of the deltas is not stated where the features are.",
)

TOTO = Mapping(
    embodiment="franka",
    control_hz=30.0,
    cameras={"primary": "observation/image"},
    translation="action/world_vector",
    rotation="action/rotation_delta",
    gripper="action/open_gripper",
    state="observation/state",
    instruction=("observation/natural_language_instruction",),
    source=f"{_TFDS.format('toto')}; {_OCTO}",
    notes="Proprioception is seven joint angles [rad], no pose and no gripper.",
)

LANGUAGE_TABLE = Mapping(
    embodiment="xarm6",
    control_hz=10.0,
    cameras={"primary": "observation/rgb"},
    translation="action[0:2]",
    position="observation/effector_translation",
    instruction=("observation/instruction",),
    action_unit="metric",
    source=f"tensorflow/datasets robotics/language_table/dummy_data/language_table/0.0.1/features.json; {_OCTO}",
    notes="A planar task: z, rotation and gripper do not move. The instruction is stored as code points.",
)

BC_Z = Mapping(
    embodiment="google_robot",
    control_hz=10.0,
    cameras={"primary": "observation/image"},
    translation="action/future/xyz_residual[0:3]",
    rotation="action/future/axis_angle_residual[0:3]",
    action_kind="axis_angle_residual",
    gripper="action/future/target_close[0]",
    gripper_kind="closed",
    position="observation/present/xyz",
    orientation="observation/present/axis_angle",
    orientation_format="axis_angle",
    gripper_state="observation/present/sensed_close",
    gripper_state_kind="closed",
    instruction=("observation/natural_language_instruction",),
    success="observation/episode_success",
    operator="mixed",
    action_unit="metric",
    source=f"{_TFDS.format('bc_z')}; {_OCTO}",
    notes="Of ten future residuals the first is taken; residuals are relative to the measured pose, not to the last target.",
)

DROID = Mapping(
    embodiment="franka",
    control_hz=15.0,
    cameras={
        "primary": "observation/exterior_image_1_left",
        "secondary": "observation/exterior_image_2_left",
        "wrist": "observation/wrist_image_left",
    },
    translation="action_dict/cartesian_position[0:3]",
    rotation="action_dict/cartesian_position[3:6]",
    action_kind="target",
    gripper="action_dict/gripper_position",
    gripper_kind="closed",
    position="observation/cartesian_position[0:3]",
    orientation="observation/cartesian_position[3:6]",
    gripper_state="observation/gripper_position",
    gripper_state_kind="closed",
    instruction=("language_instruction", "language_instruction_2", "language_instruction_3"),
    action_unit="metric",
    source=f"features.json of lerobot-raw/droid_100_raw; {_OPENVLA}/utils/droid_utils.py",
    notes="Deltas are differences of consecutive commanded Cartesian targets; the two exterior cameras are never swapped.",
)

ENTRIES: dict[str, Mapping] = {
    "bridge_dataset": BRIDGE_DATASET,
    "bridge_orig": BRIDGE_DATASET,  # OpenVLA's name for the same files
    "bridge": BRIDGE_RTX,
    "fractal20220817_data": FRACTAL,
    "kuka": KUKA,
    "taco_play": TACO_PLAY,
    "jaco_play": JACO_PLAY,
    "berkeley_cable_routing": BERKELEY_CABLE_ROUTING,
    "roboturk": ROBOTURK,
    "viola": VIOLA,
    "berkeley_autolab_ur5": BERKELEY_AUTOLAB_UR5,
    "toto": TOTO,
    "language_table": LANGUAGE_TABLE,
    "bc_z": BC_Z,
    "droid": DROID,
    "droid_100": DROID,
}
