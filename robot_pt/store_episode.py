"""One recorded episode as a zarr group: which arrays it has, how they are written, read back and checked.

Arrays of an episode of T steps: ``proprio`` (T, P), ``actions`` (T, A), ``rewards``, ``terminated``, ``truncated``,
``operator`` (T,) codes into OPERATORS, optionally ``requested_actions`` (T, A), ``capture_time_ns`` (T,),
``joint_positions`` (T, J), and per camera ``images_<camera>``, all frames end to end as encoded bytes, with
``offsets_<camera>`` (T+1,). The group's document is written last: where it is absent, the episode is torn.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt import images, relabels, zarr_files
from robot_pt.errors import DataError
from robot_pt.schema import Episode, Image, Spec

Encoding = tuple[str, int]
"""("jpeg", quality) or ("png", ignored)."""

OPERATORS = ("unknown", "policy", "teleop", "intervention", "scripted")
REQUIRED = {
    "proprio": "float32",
    "actions": "float32",
    "rewards": "float32",
    "terminated": "bool",
    "truncated": "bool",
    "operator": "uint8",
}
DOCUMENT = {
    "steps": int, "instruction": str, "task": str, "dataset": str, "split": str, "operator": str, "policy_version": str,
    "metadata": dict, "crc32c": dict,
}  # fmt: skip
"""What an episode's document says beside `success`, which may be null."""
OPTIONAL = {"requested_actions": "float32", "capture_time_ns": "int64", "joint_positions": "float32"}


class Content(NamedTuple):
    """An episode ready to be written."""

    attributes: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def encode(episode: Episode, encoding: Encoding, split: str = "train") -> Content:
    """Check an episode and encode its raw frames; raises DataError naming the column or frame that cannot be right."""
    episode.validate()
    columns = {name: getattr(episode, name) for name in [*REQUIRED, *OPTIONAL] if name != "operator"}
    arrays = {
        name: np.ascontiguousarray(value, dtype={**REQUIRED, **OPTIONAL}[name])
        for name, value in columns.items()
        if value is not None
    }
    joints = arrays.get("joint_positions")
    if joints is not None and (joints.ndim != 2 or len(joints) != len(episode) or not np.isfinite(joints).all()):
        raise DataError(
            f"joint_positions has shape {joints.shape}; give finite (T, J) radians with T = {len(episode)}."
        )
    arrays["operator"] = _operator_codes(episode)
    for camera, frames in episode.images.items():
        encoded = _encoded_frames(frames, episode.spec.cameras[camera], camera, encoding)
        arrays[f"images_{camera}"] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays[f"offsets_{camera}"] = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return Content(_attributes(episode, split), arrays)


def write(folder: Path, content: Content) -> None:
    """Write a new episode folder and sync it to disk; raises OSError as the system does."""
    folder.mkdir()
    sums = {name: zarr_files.checksum(array) for name, array in content.arrays.items()}
    zarr_files.write_group(folder, {"robot_pt": {**content.attributes, "crc32c": sums}}, content.arrays)


def header(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(attributes, array documents) of an episode; raises DataError where the document is absent or incomplete."""
    group = zarr_files.read_group(folder)
    if group is None:
        raise DataError(f"{folder} has no zarr.json: its writing was cut off.")
    attributes = group.attributes.get("robot_pt")
    if not isinstance(attributes, dict):
        raise DataError(f"{folder / 'zarr.json'} is not the document of an episode.")
    wrong = [name for name, kind in DOCUMENT.items() if not isinstance(attributes.get(name), kind)]
    if wrong or attributes.get("success", "") not in (True, False, None):
        raise DataError(f"{folder / 'zarr.json'} does not say the {(wrong or ['success'])[0]} of an episode.")
    if missing := set(REQUIRED) - set(group.arrays):
        raise DataError(f"{folder / 'zarr.json'} misses the arrays {sorted(missing)}.")
    if unsummed := set(group.arrays) - set(attributes["crc32c"]):
        raise DataError(f"{folder / 'zarr.json'} has no checksum of {sorted(unsummed)}.")
    return attributes, group.arrays


def column(folder: Path, name: str, attributes: Mapping[str, Any], arrays: Mapping[str, Any]) -> NDArray[Any]:
    """One array, checked against its checksum, its type and the number of steps; raises DataError."""
    if name not in arrays:
        raise DataError(f"{folder} has no array {name!r}; it has {sorted(arrays)}.")
    array = zarr_files.read_array(folder / name, arrays[name], attributes["crc32c"].get(name))
    dtype = {**REQUIRED, **OPTIONAL}.get(name)
    if dtype and (str(array.dtype) != dtype or len(array) != attributes["steps"]):
        raise DataError(
            f"{folder / name} is {array.dtype} {array.shape}, expected {dtype} of {attributes['steps']} steps."
        )
    if name.startswith("offsets_") and (
        len(array) != attributes["steps"] + 1 or array[0] or (np.diff(array) < 0).any()
    ):
        raise DataError(f"{folder / name} does not ascend from 0 over {attributes['steps']} frames: it is damaged.")
    return array


def read(folder: Path, spec: Spec, labels: Mapping[str, Any] | None = None) -> Episode:
    """Everything `encode` was given, frames encoded, with `labels` over the recorded ones; raises DataError."""
    attributes, arrays = header(folder)
    values: dict[str, Any] = {
        name: column(folder, name, attributes, arrays) for name in [*REQUIRED, *(n for n in OPTIONAL if n in arrays)]
    }
    codes = values.pop("operator")
    frames: dict[str, list[bytes]] = {}
    for camera in spec.cameras:
        flat = column(folder, f"images_{camera}", attributes, arrays).tobytes()
        at = column(folder, f"offsets_{camera}", attributes, arrays).tolist()
        frames[camera] = [flat[a:b] for a, b in pairwise(at)]
    if codes.max(initial=0) >= len(OPERATORS):
        raise DataError(f"{folder / 'operator'} holds code {codes.max()}; codes end at {len(OPERATORS) - 1}.")
    named = {**attributes, **(labels or {})}
    if "rewards" in named:
        relabels.require_rewards(named["rewards"], attributes["steps"], f"labels of {folder}")
        values["rewards"] = np.asarray(named["rewards"], np.float32)
    return Episode(
        spec=spec,
        images=frames,
        operator=[OPERATORS[c] for c in codes] if codes.any() else None,
        **{key: named[key] for key in ("instruction", "task", "success", "dataset", "policy_version", "metadata")},
        **values,
    )


def check(folder: Path, spec: Spec) -> None:
    """Raise DataError unless every byte of the episode is there, as it was written, and every frame decodes to the spec's shape."""
    episode = read(folder, spec)
    require_sound(episode, folder)
    for camera, frames in episode.images.items():
        try:
            images.decode(list(frames), (8, 8))  # at the least size: every byte is looked at all the same
        except DataError as error:
            raise DataError(f"{folder} camera {camera!r} {error}") from None


def require_sound(episode: Episode, folder: Path) -> None:
    """Raise DataError unless an episode as `read` from `folder` is of its spec's shapes, finite, and its frames of their sizes."""
    episode.validate()
    for camera, frames in episode.images.items():
        _require_sizes(frames, episode.spec.cameras[camera], f"{folder} camera {camera!r}")


def _attributes(episode: Episode, split: str) -> dict[str, Any]:
    operators = sorted(set(episode.operator or ["unknown"]))
    attributes = {
        "steps": len(episode),
        "instruction": episode.instruction,
        "task": episode.task,
        "success": None if episode.success is None else bool(episode.success),
        "dataset": episode.dataset,
        "split": split,
        "operator": operators[0] if len(operators) == 1 else "mixed",
        "policy_version": episode.policy_version,
        "metadata": dict(episode.metadata),
    }
    try:
        same = json.loads(json.dumps(attributes, allow_nan=False)) == attributes
    except (TypeError, ValueError):
        same = False
    if not same:
        raise DataError(
            "episode metadata holds values that JSON cannot keep; give strings, finite numbers, lists and dicts."
        )
    return attributes


def _operator_codes(episode: Episode) -> NDArray[np.uint8]:
    names = episode.operator or ["unknown"] * len(episode)
    if unknown := set(names) - set(OPERATORS):
        raise DataError(f"operator holds {sorted(unknown)}; allowed are {', '.join(OPERATORS)}.")
    return np.array([OPERATORS.index(name) for name in names], np.uint8)


def _encoded_frames(frames: Image | list[bytes], size: tuple[int, int], camera: str, encoding: Encoding) -> list[bytes]:
    if not isinstance(frames, np.ndarray):
        _require_sizes(frames, size, f"camera {camera!r}")
        return [bytes(frame) for frame in frames]
    codec, quality = encoding
    return [images.encode_jpeg(f, quality) if codec == "jpeg" else images.encode_png(f) for f in frames]


def _require_sizes(frames: Any, size: tuple[int, int], name: str) -> None:
    for step, frame in enumerate(frames):
        height, width, _ = images.image_size(frame, f"{name} frame {step}")
        if (height, width) != size:
            raise DataError(f"{name} frame {step} is {height}x{width}, the spec says {size[0]}x{size[1]}.")


def frame_file(root: Path, name: str, camera: str) -> str:
    """Path of the file that holds all encoded frames of an episode and camera end to end."""
    return os.path.join(root, name, f"images_{camera}", zarr_files.chunk_name(1))
