"""Small RLDS data sets written by tensorflow-datasets itself, one per schema that has an entry."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

STEPS, EPISODES, HEIGHT, WIDTH = 5, 2, 24, 32
BRIDGE = Path(__file__).parents[3] / "shared/data/bridge_dataset/1.0.0"

Sampler = Callable[[np.random.Generator, int], Any]


@pytest.fixture(scope="session", autouse=True)
def index_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Indexes of the tests stay out of the user's cache."""
    before = os.environ.get("ROBOT_PT_CACHE")
    folder = tmp_path_factory.mktemp("index")
    os.environ["ROBOT_PT_CACHE"] = str(folder)
    yield folder
    os.environ.pop("ROBOT_PT_CACHE") if before is None else os.environ.update(ROBOT_PT_CACHE=before)


@pytest.fixture(scope="session")
def bridge() -> Path:
    """The real cut of BridgeData V2."""
    if not BRIDGE.is_dir():
        pytest.skip(f"the real Bridge files are not at {BRIDGE}")
    return BRIDGE


class Leaf:
    """A feature and what to fill it with."""

    def __init__(self, kind: str, sample: Sampler, **options: Any):
        self.kind, self.sample, self.options = kind, sample, options

    def feature(self, tfds: Any) -> Any:
        if self.kind == "image":
            return tfds.features.Image(shape=(HEIGHT, WIDTH, 3), encoding_format=self.options["format"])
        if self.kind == "text":
            return tfds.features.Text()
        return tfds.features.Tensor(**self.options)


def image(format: str = "jpeg") -> Leaf:
    def sample(rng: np.random.Generator, t: int) -> Any:
        coarse = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        return np.kron(coarse, np.ones((8, 8, 1), np.uint8)) // 2 + rng.integers(0, 40, (HEIGHT, WIDTH, 3), np.uint8)

    return Leaf("image", sample, format=format)


def vec(n: int, scale: float = 0.1, dtype: Any = np.float32, encoding: str = "none") -> Leaf:
    return Leaf(
        "tensor", lambda g, t: (g.standard_normal(n) * scale).astype(dtype), shape=(n,), dtype=dtype, encoding=encoding
    )


def pose(encoding: str = "none", before: int = 0, after: int = 0) -> Leaf:
    """x y z and a unit quaternion xyzw, with other values around it."""

    def sample(rng: np.random.Generator, t: int) -> Any:
        quaternion = Rotation.random(random_state=int(rng.integers(1 << 30))).as_quat()
        return np.concatenate([rng.random(before), rng.standard_normal(3), quaternion, rng.random(after)]).astype(
            np.float32
        )

    return Leaf("tensor", sample, shape=(7 + before + after,), dtype=np.float32, encoding=encoding)


def matrix() -> Leaf:
    """A homogeneous transform, flattened column by column."""

    def sample(rng: np.random.Generator, t: int) -> Any:
        out = np.eye(4)
        out[:3, :3] = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix()
        out[:3, 3] = rng.standard_normal(3)
        return out.T.ravel().astype(np.float32)

    return Leaf("tensor", sample, shape=(16,), dtype=np.float32)


def uniform(n: int | None, low: float, high: float, dtype: Any = np.float32, encoding: str = "none") -> Leaf:
    shape = () if n is None else (n,)
    return Leaf(
        "tensor", lambda g, t: g.uniform(low, high, shape).astype(dtype), shape=shape, dtype=dtype, encoding=encoding
    )


def command(n: int | None) -> Leaf:
    """A gripper command of -1, 0 or 1."""
    shape = () if n is None else (n,)
    return Leaf("tensor", lambda g, t: g.integers(-1, 2, shape).astype(np.float32), shape=shape, dtype=np.float32)


def flag(probability: float = 0.5) -> Leaf:
    return Leaf("tensor", lambda g, t: np.bool_(g.random() < probability), shape=(), dtype=np.bool_)


def text(words: str) -> Leaf:
    return Leaf("text", lambda g, t: words)


def codes(words: str) -> Leaf:
    padded = np.zeros(512, np.int32)
    padded[: len(words)] = [ord(c) for c in words]
    return Leaf("tensor", lambda g, t: padded, shape=(512,), dtype=np.int32)


def integers(n: int, low: int, high: int) -> Leaf:
    return Leaf("tensor", lambda g, t: g.integers(low, high, n), shape=(n,), dtype=np.int64)


SPOKEN = {"natural_language_instruction": text("pick the can"), "natural_language_embedding": vec(512)}
RTX_ACTION = {"world_vector": vec(3), "rotation_delta": vec(3)}
RT1 = {**RTX_ACTION, "gripper_closedness_action": command(1), "terminate_episode": integers(3, 0, 2)}

# name -> (columns of a step, columns of the episode); shapes and names as the catalogue pages of the data sets give them
SCHEMAS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bridge_dataset": (
        {
            "observation": {"image_0": image(), "image_1": image(), "image_3": image("png"), "state": vec(7)},
            "action": vec(7), "language_instruction": text("put the carrot on the plate"), "discount": uniform(None, 1, 1),
        },
        {"episode_metadata": {"has_image_0": flag(1.0), "file_path": text("/data/x")}},
    ),
    "bridge": (
        {"observation": {"image": image(), "state": vec(7), **SPOKEN}, "action": {**RTX_ACTION, "open_gripper": flag()}},
        {"episode_id": text("7")},
    ),
    "fractal20220817_data": (
        {"observation": {"image": image(), "base_pose_tool_reached": pose(), "gripper_closed": uniform(1, 0, 1), **SPOKEN},
         "action": {**RT1, "base_displacement_vector": vec(2)}},
        {"aspects": {"success": flag(), "has_aspects": flag()}},
    ),
    "kuka": (
        {"observation": {"image": image(), "clip_function_input/base_pose_tool_reached": pose("zlib"),
                         "gripper_closed": uniform(1, 0, 1, encoding="zlib"), **SPOKEN}, "action": RT1},
        {"success": flag()},
    ),
    "taco_play": (
        {"observation": {"rgb_static": image(), "rgb_gripper": image("png"), "robot_obs": vec(15),
                         "structured_language_instruction": text("lift"), **SPOKEN},
         "action": {"rel_actions_world": uniform(7, -1, 1), "actions": vec(7)}}, {},
    ),
    "jaco_play": (
        {"observation": {"image": image(), "image_wrist": image(), "end_effector_cartesian_pos": pose(), **SPOKEN},
         "action": {"world_vector": vec(3), "gripper_closedness_action": command(1)}}, {},
    ),
    "berkeley_cable_routing": (
        {"observation": {"image": image(), "top_image": image(), "wrist45_image": image(), "wrist225_image": image(),
                         "robot_state": vec(7), **SPOKEN}, "action": RTX_ACTION}, {},
    ),
    "roboturk": (
        {"observation": {"front_rgb": image(), **SPOKEN},
         "action": {**RTX_ACTION, "gripper_closedness_action": uniform(1, -1, 2)}}, {},
    ),
    "viola": (
        {"observation": {"agentview_rgb": image(), "eye_in_hand_rgb": image(), "ee_states": matrix(), "joint_states": vec(7),
                         "gripper_states": uniform(1, 0, 0.08), **SPOKEN},
         "action": {**RTX_ACTION, "gripper_closedness_action": uniform(None, -1, 1)}}, {},
    ),
    "berkeley_autolab_ur5": (
        {"observation": {"image": image(), "hand_image": image(), "robot_state": pose(before=6, after=2), **SPOKEN},
         "action": {**RTX_ACTION, "gripper_closedness_action": command(None)}}, {},
    ),
    "toto": (
        {"observation": {"image": image(), "state": vec(7), **SPOKEN}, "action": {**RTX_ACTION, "open_gripper": flag()}}, {},
    ),
    "language_table": (
        {"observation": {"rgb": image(), "effector_translation": vec(2), "effector_target_translation": vec(2),
                         "instruction": codes("push the blue cübe")}, "action": vec(2)},
        {"episode_id": text("3")},
    ),
    "bc_z": (
        {"observation": {"image": image(), "present/xyz": vec(3), "present/axis_angle": vec(3, 1.5),
                         "present/sensed_close": uniform(1, 0.2, 1), "episode_success": uniform(None, 0, 0.4), **SPOKEN},
         "action": {"future/xyz_residual": vec(30), "future/axis_angle_residual": vec(30), "future/target_close": integers(10, 0, 2)}},
        {},
    ),
    "droid": (
        {"observation": {"exterior_image_1_left": image(), "exterior_image_2_left": image(), "wrist_image_left": image(),
                         "cartesian_position": uniform(6, -3.1, 3.1, np.float64), "gripper_position": uniform(1, 0, 1, np.float64)},
         "action": vec(7, dtype=np.float64),
         "action_dict": {"cartesian_position": uniform(6, -3.1, 3.1, np.float64), "gripper_position": uniform(1, 0, 1, np.float64)},
         "language_instruction": text(""), "language_instruction_2": text("wipe the table"), "language_instruction_3": text("")},
        {"episode_metadata": {"file_path": text("/x")}},
    ),
}  # fmt: skip


def _features(tfds: Any, tree: Any) -> Any:
    return {k: _features(tfds, v) for k, v in tree.items()} if isinstance(tree, dict) else tree.feature(tfds)


def _sample(tree: Any, rng: np.random.Generator, t: int) -> Any:
    return {k: _sample(v, rng, t) for k, v in tree.items()} if isinstance(tree, dict) else tree.sample(rng, t)


def _episode(step: dict[str, Any], extra: dict[str, Any], rng: np.random.Generator, steps: int, terminal: bool) -> Any:
    rows = []
    for t in range(steps):
        last = t == steps - 1
        rows.append(
            {
                **_sample(step, rng, t),
                "is_first": t == 0, "is_last": last, "is_terminal": last and terminal, "reward": np.float32(last and terminal),
            }
        )  # fmt: skip
    return {"steps": rows, **_sample(extra, rng, 0)}


@pytest.fixture(scope="session")
def write_rlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(name, file_format=, episodes=, steps=) -> folder of a data set that tensorflow-datasets wrote; made once each."""
    made: dict[tuple[Any, ...], Path] = {}

    def write(
        name: str,
        file_format: str = "tfrecord",
        episodes: int = EPISODES,
        steps: int = STEPS,
        terminal: bool = True,
        as_name: str | None = None,
    ) -> Path:
        key = (name, file_format, episodes, steps, terminal, as_name)
        if key not in made:
            pytest.importorskip("tensorflow", reason="writing TFDS data sets needs TensorFlow (extra rlds)")
            made[key] = _write(tmp_path_factory.mktemp("rlds"), *key)
        return made[key]

    return write


def _write(
    root: Path, name: str, file_format: str, episodes: int, steps: int, terminal: bool, as_name: str | None
) -> Path:
    import tensorflow_datasets as tfds

    step, extra = SCHEMAS[name]
    flags = {"is_first": np.bool_, "is_last": np.bool_, "is_terminal": np.bool_, "reward": np.float32}
    features = tfds.features.FeaturesDict(
        {"steps": tfds.features.Dataset({**_features(tfds, step), **flags}), **_features(tfds, extra)}
    )
    rng = np.random.default_rng(len(name))
    data = [(str(i), _episode(step, extra, rng, steps, terminal)) for i in range(episodes)]
    dataset = as_name or name
    folder = root / dataset / "1.0.0"
    folder.mkdir(parents=True)
    features.save_config(str(folder))
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    records = [serializer.serialize_example(features.encode_example(episode)) for _, episode in data]
    write_shard(folder / f"{dataset}-train.{file_format}-00000-of-00001", records, file_format)
    info = {
        "name": dataset, "version": "1.0.0", "fileFormat": file_format,
        "splits": [{"name": "train", "numBytes": str(sum(map(len, records))), "shardLengths": [str(episodes)],
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}],
    }  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def write_shard(path: Path, records: list[bytes], file_format: str) -> None:
    if file_format == "tfrecord":
        import tensorflow as tf

        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
        return
    from array_record.python import array_record_module

    shard = array_record_module.ArrayRecordWriter(str(path), "group_size:1")  # as tensorflow-datasets opens it
    for record in records:
        shard.write(record)
    shard.close()
