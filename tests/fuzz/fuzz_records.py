"""Coverage-guided fuzzing of everything that reads bytes of a shard: framing, Example, columns, standardisation, decode.

Not part of the test run: ``pip install atheris`` (Python 3.11 to 3.13, Linux), then
``python tests/fuzz/fuzz_records.py -max_total_time=300 -rss_limit_mb=2048 -malloc_limit_mb=256``. Any error but DataError,
any allocation of 256 MB and any hang of 10 s ends the run and leaves the input in a file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris
import numpy as np

with atheris.instrument_imports(include=["robot_pt_data", "robot_pt.images"]):
    from robot_pt import images
    from robot_pt.errors import DataError
    from robot_pt_data import example, record_reader, standardize, tfrecord
    from robot_pt_data.metadata import Column, Metadata
    from robot_pt_data.oxe import ENTRIES

_NUMBER = {"kind": "tensor", "dtype": "float32"}
_FLAGS = {f"steps/is_{w}": Column(kind="tensor", shape=(), dtype="bool") for w in ("first", "last", "terminal")}


def _metadata(name: str, columns: dict[str, Column]) -> Metadata:
    return Metadata(
        name=name, version="1", file_format="tfrecord", shards={}, shard_lengths={}, columns=columns | _FLAGS
    )


_IMAGE = Column(kind="image", shape=(None, None, 3), dtype="uint8", encoding="jpeg")
_TEXT = Column(kind="text", shape=(), dtype="object")
_BRIDGE = _metadata(
    "bridge_dataset",
    {
        "steps/observation/image_0": _IMAGE,
        "steps/observation/state": Column(shape=(7,), **_NUMBER),
        "steps/action": Column(shape=(7,), **_NUMBER),
        "steps/reward": Column(shape=(), **_NUMBER),
        "steps/language_instruction": _TEXT,
    },
)
_KUKA = _metadata(
    "kuka",
    {
        "steps/observation/image": _IMAGE,
        "steps/observation/clip_function_input/base_pose_tool_reached": Column(shape=(7,), encoding="zlib", **_NUMBER),
        "steps/observation/gripper_closed": Column(shape=(1,), encoding="zlib", **_NUMBER),
        "steps/observation/natural_language_instruction": _TEXT,
        "steps/action/world_vector": Column(shape=(3,), **_NUMBER),
        "steps/action/rotation_delta": Column(shape=(3,), **_NUMBER),
        "steps/action/gripper_closedness_action": Column(shape=(1,), **_NUMBER),
        "success": Column(kind="tensor", shape=(), dtype="bool"),
    },
)
PLANS = [record_reader.plan(ENTRIES[m.name], m) for m in (_BRIDGE, _KUKA)]
READERS: dict[str, Any] = {"bytes": example.strings, "float": example.floats, "int": example.ints}


def read(data: bytes) -> None:
    """The first byte chooses the way in: a shard with checksums, or one record without."""
    if len(data) < 2:
        return
    way, body = data[0] % 3, np.frombuffer(data[1:], np.uint8)
    if way == 0:
        for record in tfrecord.scan(body, "shard"):
            assert 0 <= record.offset <= record.offset + record.length <= len(body)
        return
    try:
        for where in example.features(body, 0, len(body)).values():
            READERS[where.kind or "bytes"](body, where)
        raw = record_reader.read_record(body, 0, len(body), PLANS[way - 1])
        steps = standardize.standardize(PLANS[way - 1].mapping, raw.columns, raw.steps)
        assert np.isfinite(steps.actions).all()
        assert len(steps.actions) == raw.steps
        images.decode(
            [body[o : o + n] for o, n in zip(raw.offset[:, 0], raw.size[:, 0], strict=True)], (8, 8), threads=1
        )
    except DataError:
        pass


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)


def _message(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _seed(plan: record_reader.Plan, steps: int) -> bytes:
    """A sound record of the plan's columns."""
    import zlib

    rng = np.random.default_rng(steps)
    picture = images.encode_jpeg(rng.integers(0, 256, (16, 16, 3), np.uint8), 30)
    entries = b""
    for key, column in {**plan.columns, **dict(plan.cameras.values())}.items():
        rows = steps if key.startswith("steps/") else 1
        values = rng.random((rows, 1 if column.kind == "image" else column.size)).astype(np.float32)
        if column.kind == "image":
            feature = _message(1, _message(1, picture) * rows)
        elif column.kind == "text":
            feature = _message(1, _message(1, b"put it there") * rows)
        elif column.encoding == "zlib":
            feature = _message(1, b"".join(_message(1, zlib.compress(v.tobytes())) for v in values))
        elif column.dtype == "float32":
            feature = _message(2, _message(1, values.tobytes()))
        else:
            feature = _message(3, _message(1, bytes(rng.integers(0, 2, rows).tolist())))
        entries += _message(1, _message(1, key.encode()) + _message(2, feature))
    return _message(1, entries)


def main() -> None:
    with tempfile.TemporaryDirectory() as corpus:
        for i, plan in enumerate(PLANS, start=1):
            for steps in (1, 3):
                record = _seed(plan, steps)
                read(bytes([i]) + record)
                (Path(corpus) / f"record-{i}-{steps}").write_bytes(bytes([i]) + record)
                (Path(corpus) / f"shard-{i}-{steps}").write_bytes(b"\0" + tfrecord.frame(record) * 2)
        atheris.Setup([sys.argv[0], corpus, "-timeout=10", *sys.argv[1:]], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
