"""The one-time index of one split: for every step and camera where the encoded image lies, and all canonical columns.

Built by one pass over the shards with every checksum proved; afterwards any step of any episode is one slice and one
decode away. `index_files` keeps it on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.schema import Bool, Float, Int
from robot_pt_data import tfrecord
from robot_pt_data.files import Files
from robot_pt_data.mapping import Mapping
from robot_pt_data.metadata import Metadata
from robot_pt_data.record_reader import Plan, RawEpisode, plan, read_record
from robot_pt_data.standardize import Steps, standardize

Progress = Callable[[int, int], None]
"""Called with (records done, records expected)."""


class Fault(NamedTuple):
    """A record that is left out, and why, in one sentence."""

    shard: str
    record: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class StepIndex:
    """N stored steps, E sound episodes, C cameras, P proprio values. Arrays may be memory maps."""

    start: Int  # (E,) first row; steps that are left out at the start are already skipped
    length: Int  # (E,)
    success: NDArray[np.int8]  # (E,)
    dummy: Bool  # (E, C) the camera was not there: one image throughout
    proprio: Float  # (N, P)
    actions: Float  # (N, 7) as commanded
    rewards: Float  # (N,)
    terminated: Bool  # (N,)
    truncated: Bool  # (N,)
    shard: NDArray[np.int32]  # (N,) row of `shards`
    record: NDArray[np.int32]  # (N,) record in the shard
    offset: Int  # (N, C) first byte of the image, in the shard (tfrecord) or in the record (array_record)
    size: NDArray[np.int32]  # (N, C) bytes of the image
    instruction: list[str]  # E
    task: list[str]  # E
    dataset: list[str]  # E
    operator: list[str]  # E
    shards: list[str]
    cameras: dict[str, tuple[int, int]]  # role -> (H, W), in the order of C
    faults: list[Fault]
    info: dict[str, Any] = field(default_factory=dict)  # name, version, split, file_format, bytes, mapping

    @classmethod
    def array_names(cls) -> list[str]:
        return [f.name for f in fields(cls) if "list" not in str(f.type) and "dict" not in str(f.type)]


def build(
    files: Files,
    metadata: Metadata,
    split: str,
    mapping: Mapping,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
) -> StepIndex:
    """Scan the shards of one split.

    Raises:
        DataError: naming shard and record of the first damaged one, or, with `skip_corrupt`, when no episode is left.
    """
    wanted = plan(mapping, metadata)
    shards = metadata.shards[split]
    expected = sum(metadata.shard_lengths[split])
    rows: list[tuple[int, int, RawEpisode, Steps]] = []
    faults: list[Fault] = []
    for done, (i, (number, outcome)) in enumerate(_episodes(files, metadata, split, wanted), start=1):
        if isinstance(outcome, Fault):
            faults.append(outcome)
            if not skip_corrupt:
                raise refusal(files, outcome)
        else:
            rows.append((i, number, *outcome))
        if progress is not None:
            progress(done, max(expected, done))
    if not rows:
        detail = f" ({len(faults)} records are damaged, the first: {faults[0].reason})" if faults else ""
        raise DataError(f"split {split!r} of {files.place} holds no episodes{detail}; give another split or folder.")
    info = {
        "name": metadata.name,
        "version": metadata.version,
        "split": split,
        "file_format": metadata.file_format,
        "bytes": sum(max(files.stamp(s)[0], 0) for s in shards),
        "mapping": mapping.to_json(),
    }
    return _assemble(rows, wanted, shards, faults, info)


def refusal(files: Files, fault: Fault) -> DataError:
    """The error for a fault that the user has not agreed to skip."""
    return DataError(
        f"{fault.reason} (in {files.place}); fetch the file again, or leave out what is damaged with --skip-corrupt (skip_corrupt=True)."
    )


Outcome = tuple[RawEpisode, Steps] | Fault


def _episodes(files: Files, metadata: Metadata, split: str, wanted: Plan) -> Iterator[tuple[int, tuple[int, Outcome]]]:
    """(shard row, (record number, episode or fault)) of every record of a split."""
    lengths = metadata.shard_lengths[split]
    for i, name in enumerate(metadata.shards[split]):
        count = 0
        if files.stamp(name)[0] < 0:
            yield i, (0, Fault(name, 0, f"the shard {name} is missing"))
            continue
        scan = _scan_tfrecord if metadata.file_format == "tfrecord" else _scan_array_record
        for number, outcome in scan(files, name, wanted):
            count += 1
            yield i, (number, outcome)
        if lengths and count < lengths[i]:
            reason = f"{name} ends after {count} of {lengths[i]} records"
            yield i, (count, Fault(name, count, reason))


def _scan_tfrecord(files: Files, name: str, wanted: Plan) -> Iterator[tuple[int, Outcome]]:
    data = files.load(name)
    for record in tfrecord.scan(data, name):
        if record.fault:
            yield record.number, Fault(name, record.number, record.fault)
        else:
            end = record.offset + record.length
            yield record.number, _episode(data, record.offset, end, wanted, name, record.number)


def _scan_array_record(files: Files, name: str, wanted: Plan) -> Iterator[tuple[int, Outcome]]:
    try:
        shard = files.array_record(name)
    except DataError as error:
        yield 0, Fault(name, 0, str(error))
        return
    for number, payload in shard:
        if isinstance(payload, DataError):
            yield number, Fault(name, number, str(payload))
        else:
            yield number, _episode(payload, 0, len(payload), wanted, name, number)


def _episode(data: tfrecord.Bytes, start: int, end: int, wanted: Plan, shard: str, number: int) -> Outcome:
    try:
        raw = read_record(data, start, end, wanted)
        return raw, standardize(wanted.mapping, raw.columns, raw.steps)
    except DataError as error:
        return Fault(shard, number, f"record {number} of {shard} is no sound episode: {str(error).rstrip('.')}")


def _assemble(
    rows: list[tuple[int, int, RawEpisode, Steps]],
    wanted: Plan,
    shards: list[str],
    faults: list[Fault],
    info: dict[str, Any],
) -> StepIndex:
    steps = np.array([raw.steps for _, _, raw, _ in rows], np.int64)
    skipped = np.array([s.drop_first for _, _, _, s in rows], np.int64)
    sizes = rows[0][2].image_size
    info["mixed_sizes"] = any(raw.image_size != sizes for _, _, raw, _ in rows)
    return StepIndex(
        start=np.cumsum(steps) - steps + skipped,
        length=steps - skipped,
        success=np.array([s.success for _, _, _, s in rows], np.int8),
        dummy=np.array([raw.dummy for _, _, raw, _ in rows], bool),
        proprio=np.concatenate([s.proprio for _, _, _, s in rows]),
        actions=np.concatenate([s.actions for _, _, _, s in rows]),
        rewards=np.concatenate([s.rewards for _, _, _, s in rows]),
        terminated=np.concatenate([s.terminated for _, _, _, s in rows]),
        truncated=np.concatenate([s.truncated for _, _, _, s in rows]),
        shard=np.repeat(np.array([i for i, *_ in rows], np.int32), steps),
        record=np.repeat(np.array([n for _, n, *_ in rows], np.int32), steps),
        offset=np.concatenate([raw.offset for _, _, raw, _ in rows]),
        size=np.concatenate([raw.size for _, _, raw, _ in rows]).astype(np.int32),
        instruction=[s.instruction for _, _, _, s in rows],
        task=[s.task for _, _, _, s in rows],
        dataset=[s.dataset or str(info["name"]) for _, _, _, s in rows],
        operator=[s.operator for _, _, _, s in rows],
        shards=list(shards),
        cameras=dict(zip(wanted.cameras, sizes, strict=True)),
        faults=faults,
        info=info,
    )
