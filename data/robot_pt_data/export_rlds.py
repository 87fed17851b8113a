"""RLDS in the TFDS layout: TFRecord shards written as bytes, features.json by tensorflow-datasets, no TensorFlow.

Columns per step follow the released ``bridge_dataset`` (``observation/image_<role>``, ``observation/state``, ``action``,
``reward``, ``discount``, ``is_first``, ``is_last``, ``is_terminal``, ``language_instruction``), with what else was recorded per
step (`export_columns`); ``episode_metadata`` says where an episode is from and how it went. ``robot_pt_mapping.json`` tells `robot_pt_data.open` how to read it back.
Layout: https://www.tensorflow.org/datasets/external_tfrecord; step names: ``rlds.rlds_types`` 0.1.8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import DataError, MissingExtraError
from robot_pt.images import image_size
from robot_pt.schema import ACTION_NAMES, PROPRIO_NAMES, Spec
from robot_pt.simulated import Versions, to_json
from robot_pt_data.export import ExportEpisode, spec_document
from robot_pt_data.export_columns import COLUMNS
from robot_pt_data.export_example import Column, encode_example
from robot_pt_data.layout import SIMULATORS, SPEC_FILE
from robot_pt_data.tfrecord import frame

VERSION = "1.0.0"
SHARD_BYTES = 200 << 20


@dataclass
class _Split:
    """The shards of one split while they are written; their number is known at the end only."""

    folder: Path
    name: str
    lengths: list[int] = field(default_factory=list)  # episodes per shard
    size: int = 0  # [bytes]
    _in_shard: int = 0

    def add(self, record: bytes) -> None:
        if not self.lengths or self._in_shard >= SHARD_BYTES:
            self.lengths.append(0)
            self._in_shard = 0
        with open(self._part(len(self.lengths) - 1), "ab") as file:
            file.write(record)
        self.lengths[-1] += 1
        self._in_shard += len(record)
        self.size += len(record)

    def finish(self, dataset: str) -> dict[str, Any]:
        """Give the shards their names; returns the split's entry of dataset_info.json."""
        for i in range(len(self.lengths)):
            final = f"{dataset}-{self.name}.tfrecord-{i:05d}-of-{len(self.lengths):05d}"
            self._part(i).rename(self.folder / final)
        return {
            "name": self.name,
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            "shardLengths": [str(n) for n in self.lengths],
            "numBytes": str(self.size),
        }

    def _part(self, shard: int) -> Path:
        return self.folder / f"{self.name}.{shard:05d}.part"


def write_rlds(
    episodes: Iterable[ExportEpisode], spec: Spec, folder: Path, name: str, simulators: Versions | None = None
) -> None:
    """Write a TFDS data set into the new `folder`, episode by episode. `simulators`: what recorded the episodes, where one did.

    Raises MissingExtraError, DataError, OSError.
    """
    try:
        from tensorflow_datasets import features as tfds_features
    except ImportError:
        raise MissingExtraError("tensorflow-datasets", "rlds", "Writing RLDS") from None
    folder.mkdir()
    splits: dict[str, _Split] = {}
    codecs: dict[str, str] = {}
    also: dict[str, tuple[int, ...]] = {}
    datasets = set()
    for episode in episodes:
        for camera, frames in episode.frames.items():
            codecs.setdefault(camera, image_size(frames[0])[2])
        split = splits.setdefault(episode.split, _Split(folder, episode.split))
        split.add(frame(encode_example(example_columns(episode))))
        also = {name: column.shape[1:] for name, column in episode.columns.items()}
        datasets.add(episode.dataset)
    _features(tfds_features, spec, codecs, also).save_config(str(folder))
    info = {
        "name": name,
        "version": VERSION,
        "description": f"Episodes of {spec.embodiment} at {spec.control_hz:g} Hz, written by robot-pt from {sorted(datasets)}.",
        "fileFormat": "tfrecord",
        "releaseNotes": {VERSION: "Written once; a new export is a new data set."},
        "splits": [splits[key].finish(name) for key in sorted(splits)],
    }
    _write_json(folder / "dataset_info.json", info)
    _write_json(folder / SPEC_FILE, {**spec_document(spec), SIMULATORS: to_json(simulators or {})})
    if spec.action_names == ACTION_NAMES:
        _write_json(folder / "robot_pt_mapping.json", mapping_document(spec))


def example_columns(episode: ExportEpisode) -> dict[str, Column]:
    """Record key -> column of one episode, step columns T long."""
    steps, recorded = len(episode), episode.recorded
    first, last = np.zeros(steps, bool), np.zeros(steps, bool)
    first[0] = last[-1] = True
    columns: dict[str, Column] = {
        "steps/action": episode.actions,
        "steps/reward": episode.rewards,
        "steps/discount": 1.0 - episode.terminated.astype(np.float32),
        "steps/is_first": first,
        "steps/is_last": last,
        "steps/is_terminal": episode.terminated,
        "steps/language_instruction": [episode.instruction.encode()] * steps,
        "episode_metadata/file_path": [str(recorded.get("file_path", "")).encode()],
        "episode_metadata/episode_id": np.array([episode.row]),
        "episode_metadata/success": np.array([episode.success]),
        "episode_metadata/task": [episode.task.encode()],
        "episode_metadata/dataset": [episode.dataset.encode()],
        "episode_metadata/operator": [episode.operator.encode()],
        "episode_metadata/policy_version": [str(recorded.get("policy_version", "")).encode()],
        "episode_metadata/metadata": [json.dumps(recorded.get("metadata", {})).encode()],
    }
    if episode.proprio.shape[1]:
        columns["steps/observation/state"] = episode.proprio
    for camera, frames in episode.frames.items():
        columns[f"steps/observation/image_{camera}"] = frames
    for name, values in episode.columns.items():
        text = COLUMNS[name].dtype == "str"
        columns[f"steps/{COLUMNS[name].rlds}"] = [str(v).encode() for v in values] if text else values
    return columns


def mapping_document(spec: Spec) -> dict[str, Any]:
    """Fields of a `robot_pt_data.mapping.Mapping` under which the columns come back as they were."""
    pose = {
        "position": "observation/state[0:3]",
        "orientation": "observation/state[3:6]",
        "gripper_state": "observation/state[6]",
    }
    state = (
        pose if spec.proprio_names == PROPRIO_NAMES else {"state": "observation/state"} if spec.proprio_names else {}
    )
    return {
        "embodiment": spec.embodiment,
        "control_hz": spec.control_hz,
        "cameras": {camera: f"observation/image_{camera}" for camera in spec.cameras},
        "translation": "action[0:3]",
        "rotation": "action[3:6]",
        "gripper": "action[6]",
        **state,
        "task": "/episode_metadata/task",
        "success": "/episode_metadata/success",
        "operator": "/episode_metadata/operator",
        "dataset": "/episode_metadata/dataset",
        "action_unit": spec.action_unit,
        "action_source": spec.action_source,
        "source": "written by robot_pt_data.export",
    }


def _features(features: Any, spec: Spec, codecs: dict[str, str], also: dict[str, tuple[int, ...]]) -> Any:
    observation: dict[str, Any] = {
        f"image_{camera}": features.Image(
            shape=(*size, 3), dtype=np.uint8, encoding_format=codecs[camera], doc=f"RGB of the {camera} camera."
        )
        for camera, size in spec.cameras.items()
    }
    if spec.proprio_names:
        doc = f"{', '.join(spec.proprio_names)}; metres, radians, gripper 1 = open."
        observation["state"] = features.Tensor(shape=(len(spec.proprio_names),), dtype=np.float32, doc=doc)
    unit = f"{', '.join(spec.action_names)} per step of {1 / spec.control_hz:g} s, {spec.action_unit}, {spec.action_source}."
    text, flag, real, whole = features.Text, np.bool_, np.float32, np.int64
    recorded = {COLUMNS[name].rlds: _recorded(features, name, shape) for name, shape in also.items()}
    seen = {k.removeprefix("observation/"): v for k, v in recorded.items() if k.startswith("observation/")}
    step = {
        **{k: v for k, v in recorded.items() if "/" not in k},
        "observation": features.FeaturesDict(observation | seen),
        "action": features.Tensor(shape=(len(spec.action_names),), dtype=real, doc=unit),
        "reward": features.Scalar(dtype=real, doc="As recorded, unscaled."),
        "discount": features.Scalar(dtype=real, doc="0 where the task ended, else 1."),
        "is_first": features.Scalar(dtype=flag),
        "is_last": features.Scalar(dtype=flag),
        "is_terminal": features.Scalar(
            dtype=flag, doc="The task ended here; False on the last step of a cut recording."
        ),
        "language_instruction": text(),
    }
    metadata = {
        "file_path": text(doc="Where the episode was read from."),
        "episode_id": features.Scalar(dtype=whole),
        "success": features.Scalar(dtype=whole, doc="1 success, 0 failure, -1 unknown."),
        "policy_version": text(doc="Hash of the policy that acted, empty for people and scripts."),
        "metadata": text(doc="What the recorder added, JSON."),
        **{key: text() for key in ("task", "dataset", "operator")},
    }
    return features.FeaturesDict(
        {"steps": features.Dataset(features.FeaturesDict(step)), "episode_metadata": features.FeaturesDict(metadata)}
    )


def _recorded(features: Any, name: str, shape: tuple[int, ...]) -> Any:
    """The tfds feature of one of `COLUMNS`."""
    column = COLUMNS[name]
    if column.dtype == "str":
        return features.Text(doc=column.meaning)
    return features.Tensor(shape=shape, dtype=np.dtype(column.dtype).type, doc=column.meaning)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(document, indent=2, allow_nan=False))
    except ValueError:
        raise DataError(f"{path.name} would hold NaN or Inf; repair the spec of the source.") from None
