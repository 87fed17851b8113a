"""One record of a shard -> raw columns and the byte ranges of its images, as one `Plan` per data set says."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.images import image_size
from robot_pt.schema import Int
from robot_pt_data import example
from robot_pt_data.mapping import Mapping, Selector
from robot_pt_data.metadata import Column, Metadata

Bytes = NDArray[np.uint8]

_FLAGS = ("steps/is_first", "steps/is_last", "steps/is_terminal")


class Plan(NamedTuple):
    """What is read from every record."""

    mapping: Mapping
    columns: dict[str, Column]  # numbers and texts by record key
    cameras: dict[str, tuple[str, Column]]  # role -> (record key, column)


class RawEpisode(NamedTuple):
    """One record: T steps, C cameras in the order of the plan."""

    columns: dict[str, NDArray[Any]]  # (T, width) numbers, (1,) object bytes; T = 1 for columns of the episode
    offset: Int  # (T, C) first byte of each image in the buffer
    size: Int  # (T, C) bytes
    dummy: list[bool]  # C: every frame is the same bytes
    image_size: list[tuple[int, int]]  # C: (H, W) of the first frame
    steps: int


def plan(mapping: Mapping, metadata: Metadata) -> Plan:
    """Raises DataError naming a camera or column of the mapping that the data set does not have."""
    cameras: dict[str, tuple[str, Column]] = {}
    images = sorted(key.removeprefix("steps/") for key, c in metadata.columns.items() if c.kind == "image")
    for role, text in mapping.cameras.items():
        key = Selector.parse(text).key
        column = metadata.columns.get(key)
        if column is not None and column.kind == "image" and column.shape[-1] in (1, 3, None):
            cameras[role] = (key, column)
        elif role not in mapping.optional_cameras:
            raise DataError(
                f"camera {role} = {text!r} is no image column of {metadata.name}, which has {images}; mend the mapping."
            )
    if not cameras:
        raise DataError(f"none of the cameras {dict(mapping.cameras)} is in {metadata.name}, which has {images}.")
    columns = {key: metadata.columns[key] for key in _FLAGS if key in metadata.columns}
    wanted = mapping.selectors()
    optional = {
        mapping.reward,
        mapping.success,
        mapping.success_known,
        mapping.task,
        mapping.dataset,
        mapping.operator,
        *mapping.instruction[1:],
    }
    for text in wanted:
        key = Selector.parse(text).key
        if key in metadata.columns:
            columns[key] = metadata.columns[key]
            if columns[key].kind not in ("tensor", "text"):
                raise DataError(
                    f"the column {text!r} of {metadata.name} holds {columns[key].kind}s, not numbers or text."
                )
        elif text not in optional:
            numbers = sorted(k.removeprefix("steps/") for k, c in metadata.columns.items() if c.kind != "image")
            raise DataError(f"the mapping asks for {text!r}, {metadata.name} has {numbers}; mend the mapping.")
    return Plan(mapping, columns, cameras)


def read_record(data: Bytes, start: int, end: int, wanted: Plan) -> RawEpisode:
    """Raises DataError with the reason when the record is no sound episode."""
    found = example.features(data, start, end)
    spans = [example.byte_ranges(data, _feature(found, key)) for key, _ in wanted.cameras.values()]
    steps = len(spans[0][0])
    for (key, _), (offsets, _sizes) in zip(wanted.cameras.values(), spans, strict=True):
        if len(offsets) != steps:
            raise DataError(f"it has {len(offsets)} frames of {key!r} for {steps} steps")
    if steps == 0:
        raise DataError("it has no steps")
    columns = {key: _column(data, found, key, column, steps) for key, column in wanted.columns.items()}
    offset = np.stack([o for o, _ in spans], axis=1)
    size = np.stack([n for _, n in spans], axis=1)
    sizes = [_frame_size(data, offset[0, i], size[0, i], key, c) for i, (key, c) in enumerate(wanted.cameras.values())]
    dummy = [wanted.mapping.dummy_cameras and _constant(data, offset[:, i], size[:, i]) for i in range(len(spans))]
    return RawEpisode(columns, offset, size, dummy, sizes, steps)


def _column(data: Bytes, found: dict[str, example.Range], key: str, column: Column, steps: int) -> NDArray[Any]:
    rows = steps if key.startswith("steps/") else 1
    where = _feature(found, key)
    if column.kind == "text" or column.dtype in ("object", "str_", "bytes_", "object_"):
        texts = example.strings(data, where)
        if len(texts) < 1:
            raise DataError(f"its column {key!r} is empty")
        return np.array(texts[:1], dtype=object)
    if column.encoding != "none":
        values = _unpacked(example.strings(data, where), column)
    elif column.dtype.startswith(("float", "bfloat")):
        values = example.floats(data, where)
    else:
        values = example.ints(data, where)
    width = column.size
    if len(values) != rows * width:
        raise DataError(f"its column {key!r} has {len(values)} values, {rows} steps of {width} need {rows * width}")
    return values.reshape(rows, width)


def _unpacked(parts: list[bytes], column: Column) -> NDArray[Any]:
    """Tensors that tfds stores as raw or zlib-compressed bytes, one string per step."""
    dtype = np.dtype(column.dtype)
    expected = column.size * dtype.itemsize
    out = []
    for part in parts:
        raw = part
        if column.encoding == "zlib":
            try:
                raw = zlib.decompressobj().decompress(part, expected + 1)  # never more than the column can hold
            except zlib.error as error:
                raise DataError(f"a zlib-compressed column is damaged ({error})") from None
        if len(raw) != expected:
            raise DataError(f"a column of encoded bytes has {len(raw)} bytes, its shape needs {expected}")
        out.append(np.frombuffer(raw, dtype))
    return np.concatenate(out) if out else np.zeros(0, dtype)


def _feature(found: dict[str, example.Range], key: str) -> example.Range:
    if key not in found:
        ragged = any(k.startswith(f"{key}/ragged") for k in found)
        raise DataError(f"its column {key!r} is {'ragged' if ragged else 'missing'}")
    return found[key]


def _frame_size(data: Bytes, offset: int, size: int, key: str, column: Column) -> tuple[int, int]:
    height, width, _ = image_size(data[offset : offset + size], f"its first frame of {key!r}")
    expected = column.shape[:2]
    if any(e is not None and e != got for e, got in zip(expected, (height, width), strict=True)):
        raise DataError(
            f"its first frame of {key!r} is {height}x{width}, features.json says {expected[0]}x{expected[1]}"
        )
    return height, width


def _constant(data: Bytes, offset: Int, size: Int) -> bool:
    if len(size) < 2 or not (size == size[0]).all():
        return False
    first = data[offset[0] : offset[0] + size[0]]
    return all(bool((data[o : o + size[0]] == first).all()) for o in offset[1:].tolist())
