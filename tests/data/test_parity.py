"""Reading without TensorFlow gives what TensorFlow gives: every number, every pixel; and the entries mean what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import robot_pt_data
from robot_pt.schema import PROPRIO_NAMES, SUCCESS, UNKNOWN
from robot_pt_data.oxe import ENTRIES

NAMES = [name for name in ENTRIES if name not in ("bridge_orig", "droid_100")]


def tensorflow_steps(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    """Episodes as tensorflow-datasets reads them; images and zlib columns stay encoded; keys are joined by '/'."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(folder))
    read = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    data = builder.as_dataset(split, decoders={"steps": tfds.decode.SkipDecoding()}, read_config=read)
    return [_flat(episode) for episode in data.as_numpy_iterator()]


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{path}/{key}" if path else key
        out |= _flat(value, name) if isinstance(value, dict) else {name: value}
    return out


def tensorflow_image(encoded: bytes) -> Any:
    import tensorflow as tf

    if encoded[:2] == b"\xff\xd8":
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    return tf.io.decode_png(encoded, channels=3).numpy()


def check_images(source: Any, episodes: list[dict[str, Any]], roles: dict[str, str], dropped: int = 0) -> int:
    count = 0
    for e, episode in enumerate(episodes):
        start, length = int(source.episodes.start[e]), int(source.episodes.length[e])
        for role in source.spec.cameras:
            stored = episode[f"steps/{roles[role]}"][dropped:]
            ours = source.images(np.arange(start, start + length), role)
            assert source.encoded(np.arange(start, start + length), role) == list(stored)
            for frame, encoded in zip(ours, stored, strict=True):
                assert (frame == tensorflow_image(encoded)).all()
                count += 1
    return count


@pytest.mark.parametrize("split", ["train", "val"])
def test_real_bridge_is_read_as_tensorflow_reads_it(bridge: Path, split: str) -> None:
    pytest.importorskip("tensorflow")
    source: Any = robot_pt_data.open(bridge, split)
    episodes = tensorflow_steps(bridge, split)
    assert len(source.episodes) == len(episodes) == 25
    for e, episode in enumerate(episodes):
        rows = slice(int(source.episodes.start[e]), int(source.episodes.start[e]) + int(source.episodes.length[e]))
        np.testing.assert_array_equal(
            source.actions[rows], np.clip(episode["steps/action"], [-9] * 6 + [0], [9] * 6 + [1])[1:]
        )
        np.testing.assert_array_equal(source.proprio[rows], episode["steps/observation/state"][1:])
        np.testing.assert_array_equal(source.rewards[rows], episode["steps/reward"][1:])
        assert source.episodes.instruction[e] == episode["steps/language_instruction"][0].decode()
        assert source.truncated[rows].tolist() == [False] * 8 + [True]
        assert not source.terminated[rows].any()
    roles = {"primary": "observation/image_0", "secondary": "observation/image_1"}
    assert check_images(source, episodes, roles, dropped=1) == 25 * 9 * 2


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_read_as_tensorflow_reads_it(name: str, write_rlds: Callable[..., Path]) -> None:
    folder = write_rlds(name)
    source: Any = open_quietly(folder)
    episodes = tensorflow_steps(folder)
    entry = ENTRIES[name]
    assert list(source.spec.cameras) == list(entry.cameras)
    assert check_images(source, episodes, dict(entry.cameras)) == 2 * 5 * len(entry.cameras)
    for e, episode in enumerate(episodes):
        rows = slice(int(source.episodes.start[e]), int(source.episodes.start[e]) + int(source.episodes.length[e]))
        actions, proprio = EXPECTED[name](episode)
        np.testing.assert_allclose(source.actions[rows], actions, atol=1e-6, rtol=0)
        np.testing.assert_allclose(source.proprio[rows], proprio, atol=1e-6, rtol=0)
        np.testing.assert_array_equal(source.rewards[rows], [0, 0, 0, 0, 1])
        assert source.terminated[rows].tolist() == [False] * 4 + [True]
        assert not source.truncated[rows].any()
    said = {
        "bridge_dataset": "put the carrot on the plate",
        "language_table": "push the blue cübe",
        "droid": "wipe the table",
    }
    assert source.episodes.instruction == [said.get(name, "pick the can")] * 2


def open_quietly(folder: Path, **options: Any) -> Any:
    if folder.parent.name == "jaco_play":
        with pytest.warns(UserWarning, match="unverified"):
            return robot_pt_data.open(folder, **options)
    return robot_pt_data.open(folder, **options)


def rtx(episode: dict[str, Any], opening: Any) -> Any:
    moved = np.concatenate([episode["steps/action/world_vector"], episode["steps/action/rotation_delta"]], axis=1)
    return np.concatenate([moved, np.reshape(opening, (-1, 1))], axis=1)


def euler(rotation: Rotation) -> Any:
    return rotation.as_euler("xyz")  # lower case: about fixed axes, roll first


def quaternion_pose(values: Any) -> Any:
    return np.concatenate([values[:, :3], euler(Rotation.from_quat(values[:, 3:7]))], axis=1)


def walk_gripper(commands: Any, opening: float) -> list[float]:
    """+1 closes, -1 opens, 0 holds: one step at a time."""
    out = []
    for c in np.ravel(commands):
        opening = 0.0 if c > 0.1 else 1.0 if c < -0.1 else opening
        out.append(opening)
    return out


def expect_bridge_dataset(x: dict[str, Any]) -> Any:
    action = x["steps/action"].copy()
    action[:, 6] = np.clip(action[:, 6], 0, 1)
    return action, x["steps/observation/state"]


def expect_fractal(x: dict[str, Any]) -> Any:
    closed = x["steps/observation/gripper_closed"]
    grip = walk_gripper(x["steps/action/gripper_closedness_action"], float(closed[0, 0] <= 0.5))
    return rtx(x, grip), np.concatenate(
        [quaternion_pose(x["steps/observation/base_pose_tool_reached"]), 1 - closed], axis=1
    )


def expect_kuka(x: dict[str, Any]) -> Any:
    import zlib

    def inflate(key: str) -> Any:
        return np.stack([np.frombuffer(zlib.decompress(v), np.float32) for v in x[key]])

    poses = inflate("steps/observation/clip_function_input/base_pose_tool_reached")
    return expect_fractal(
        {**x, "steps/observation/gripper_closed": inflate("steps/observation/gripper_closed"),
         "steps/observation/base_pose_tool_reached": poses}
    )  # fmt: skip


def expect_taco(x: dict[str, Any]) -> Any:
    action = x["steps/action/rel_actions_world"].copy()
    action[:, 6] = (action[:, 6] + 1) / 2
    state = x["steps/observation/robot_obs"][:, :7].copy()
    state[:, 6] /= 0.08
    return action, state


def expect_jaco(x: dict[str, Any]) -> Any:
    commands = x["steps/action/gripper_closedness_action"].ravel()
    first = commands[np.flatnonzero(commands)[0]] if commands.any() else 1
    grip = np.array(walk_gripper(commands, float(first > 0)))
    action = np.concatenate([x["steps/action/world_vector"], np.zeros((5, 3)), grip[:, None]], axis=1)
    return action, np.concatenate(
        [quaternion_pose(x["steps/observation/end_effector_cartesian_pos"]), grip[:, None]], axis=1
    )


def expect_viola(x: dict[str, Any]) -> Any:
    transform = x["steps/observation/ee_states"].reshape(-1, 4, 4).transpose(0, 2, 1).astype(np.float64)
    pose = np.concatenate([transform[:, :3, 3], euler(Rotation.from_matrix(transform[:, :3, :3]))], axis=1)
    grip = 1 - np.clip(x["steps/action/gripper_closedness_action"], 0, 1)
    return rtx(x, grip), np.concatenate([pose, x["steps/observation/gripper_states"] / 0.08], axis=1)


def expect_ur5(x: dict[str, Any]) -> Any:
    state = x["steps/observation/robot_state"]
    grip = walk_gripper(x["steps/action/gripper_closedness_action"], float(state[0, 13] <= 0.5))
    return rtx(x, grip), np.concatenate([quaternion_pose(state[:, 6:13]), 1 - state[:, 13:14]], axis=1)


def expect_language_table(x: dict[str, Any]) -> Any:
    zeros, ones = np.zeros((5, 4)), np.ones((5, 1))
    flat = x["steps/observation/effector_translation"]
    return np.concatenate([x["steps/action"], zeros, ones], axis=1), np.concatenate([flat, zeros, ones], axis=1)


def expect_bc_z(x: dict[str, Any]) -> Any:
    now = x["steps/observation/present/axis_angle"].astype(np.float64)
    after = euler(Rotation.from_rotvec(now + x["steps/action/future/axis_angle_residual"][:, :3]))
    before = euler(Rotation.from_rotvec(now))
    turned = (after - before + np.pi) % (2 * np.pi) - np.pi
    grip = 1.0 - x["steps/action/future/target_close"][:, :1]
    action = np.concatenate([x["steps/action/future/xyz_residual"][:, :3], turned, grip], axis=1)
    return action, np.concatenate(
        [x["steps/observation/present/xyz"], before, 1 - x["steps/observation/present/sensed_close"]], axis=1
    )


def expect_droid(x: dict[str, Any]) -> Any:
    measured, target = x["steps/observation/cartesian_position"], x["steps/action_dict/cartesian_position"]
    delta = target - np.concatenate([measured[:1], target[:-1]])
    delta[:, 3:] = (delta[:, 3:] + np.pi) % (2 * np.pi) - np.pi
    action = np.concatenate([delta, 1 - x["steps/action_dict/gripper_position"]], axis=1)
    return action, np.concatenate([measured, 1 - x["steps/observation/gripper_position"]], axis=1)


EXPECTED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bridge_dataset": expect_bridge_dataset,
    "bridge": lambda x: (rtx(x, x["steps/action/open_gripper"]), x["steps/observation/state"]),
    "fractal20220817_data": expect_fractal,
    "kuka": expect_kuka,
    "taco_play": expect_taco,
    "jaco_play": expect_jaco,
    "berkeley_cable_routing": lambda x: (rtx(x, np.zeros(5)), x["steps/observation/robot_state"]),
    "roboturk": lambda x: (rtx(x, 1 - np.clip(x["steps/action/gripper_closedness_action"], 0, 1)), np.zeros((5, 0))),
    "viola": expect_viola,
    "berkeley_autolab_ur5": expect_ur5,
    "toto": lambda x: (rtx(x, x["steps/action/open_gripper"]), x["steps/observation/state"]),
    "language_table": expect_language_table,
    "bc_z": expect_bc_z,
    "droid": expect_droid,
}


def test_success_labels_come_from_the_columns_that_carry_them(write_rlds: Callable[..., Path]) -> None:
    for name in ("kuka", "fractal20220817_data", "bc_z", "bridge_dataset"):
        source = robot_pt_data.open(write_rlds(name))
        for e, episode in enumerate(tensorflow_steps(write_rlds(name))):
            if name == "kuka":
                expected = int(episode["success"])
            elif name == "fractal20220817_data":
                expected = int(episode["aspects/success"]) if episode["aspects/has_aspects"] else SUCCESS
            else:
                expected = SUCCESS if name == "bridge_dataset" else 0  # bc_z: episode_success below a half
            assert source.episodes.success[e] == expected, name


def test_no_final_reward_means_unknown_and_truncated(write_rlds: Callable[..., Path]) -> None:
    source: Any = robot_pt_data.open(write_rlds("toto", terminal=False))
    assert (source.episodes.success == UNKNOWN).all()
    assert source.truncated.tolist() == ([False] * 4 + [True]) * 2
    assert any("terminal step" in w for w in source.warnings)


def test_array_record_is_read_as_its_tfrecord_twin(write_rlds: Callable[..., Path]) -> None:
    twin: Any = robot_pt_data.open(write_rlds("bridge_dataset", episodes=6, steps=4))
    source: Any = robot_pt_data.open(write_rlds("bridge_dataset", "array_record", episodes=6, steps=4))
    np.testing.assert_array_equal(source.actions, twin.actions)
    steps = np.random.default_rng(0).permutation(24)
    for camera in source.spec.cameras:
        np.testing.assert_array_equal(source.images(steps, camera), twin.images(steps, camera))
    assert source.encoded(steps, "wrist") == twin.encoded(steps, "wrist")


def test_units_and_proprio_names_are_what_can_be_vouched_for(write_rlds: Callable[..., Path]) -> None:
    metric = {"bridge_dataset", "bridge", "fractal20220817_data", "language_table", "bc_z", "droid"}
    for name in NAMES:
        assert (ENTRIES[name].action_unit == "metric") == (name in metric), name
        assert ENTRIES[name].source
    achieved: Any = robot_pt_data.open(write_rlds("taco_play"), action_source="achieved")
    assert achieved.spec.action_unit == "metric"
    assert achieved.spec.proprio_names == PROPRIO_NAMES
