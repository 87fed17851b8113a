"""LeRobot v3.0: frames as rows of Parquet, cameras as H.264 MP4, many episodes per file.

Written from src/lerobot/datasets/{dataset_metadata,dataset_writer,utils,compute_stats}.py of huggingface/lerobot (0.4.4 and
later): ``meta/{info.json, stats.json, tasks.parquet}``, ``meta/episodes/chunk-000/file-000.parquet``,
``data/chunk-XXX/file-XXX.parquet``, ``videos/<key>/chunk-XXX/file-XXX.mp4``. Video is lossy; the columns are exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import DataError, MissingExtraError
from robot_pt.images import decode
from robot_pt.schema import Spec
from robot_pt_data.export import ExportEpisode, spec_document
from robot_pt_data.export_columns import COLUMNS
from robot_pt_data.export_stats import Histogram, array_stats
from robot_pt_data.export_video import CODEC, VideoFiles, pixel_format

DATA_BYTES = 100 << 20
VIDEO_BYTES = 200 << 20
FILES_PER_CHUNK = 1000
PATTERN = "chunk-{chunk:03d}/file-{file:03d}"
_BATCH = 100  # episodes per row group of the episode table


@dataclass
class _Written:
    """What is known after some episodes; the episode table is flushed in batches, the rest is small."""

    tasks: dict[str, int] = field(default_factory=dict)
    splits: dict[str, list[int]] = field(default_factory=dict)  # name -> [first, end) episode
    columns: dict[str, list[Any]] = field(default_factory=dict)  # step columns, for the quantiles of all data
    images: dict[str, Histogram] = field(default_factory=dict)
    also: dict[str, tuple[int, ...]] = field(default_factory=dict)  # recorded columns beside the canonical ones
    frames: int = 0
    episodes: int = 0


def write_lerobot(episodes: Iterable[ExportEpisode], spec: Spec, folder: Path) -> None:
    """Write a LeRobot data set into `folder`, episode by episode. Raises MissingExtraError, DataError, OSError."""
    try:
        import av  # noqa: F401
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError(str(error.name), "lerobot", "Writing LeRobot data sets") from None
    fps = round(spec.control_hz)
    if abs(fps - spec.control_hz) > 1e-6:
        raise DataError(
            f"the source runs at {spec.control_hz} Hz; LeRobot stores whole frames per second, export as rlds."
        )
    written = _Written()
    (folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    table = _Rolling(pq, folder / "data", DATA_BYTES)
    listing = _Rolling(pq, folder / "meta" / "episodes", 1 << 62)
    videos = {
        camera: VideoFiles(folder / "videos" / video_key(camera), size, fps, VIDEO_BYTES)
        for camera, size in spec.cameras.items()
    }
    try:
        for episode in episodes:
            columns = step_columns(episode, written, fps)
            where = table.write(pa.table(_arrow(pa, columns)))
            written.also = {name: column.shape[1:] for name, column in episode.columns.items()}
            rows.append(_episode_row(episode, written, columns, where, videos))
            if len(rows) == _BATCH:
                listing.write(pa.Table.from_pylist(rows))
                rows.clear()
        if rows:
            listing.write(pa.Table.from_pylist(rows))
    finally:
        table.close()
        listing.close()
        for files in videos.values():
            files.close()
    _write_meta(pa, pq, folder / "meta", spec, fps, written)


def video_key(camera: str) -> str:
    """Feature name of a camera."""
    return f"observation.images.{camera}"


def step_columns(episode: ExportEpisode, written: _Written, fps: int) -> dict[str, Any]:
    """Feature -> (T, ...) array of one episode, the default features of LeRobot included."""
    steps = len(episode)
    task = written.tasks.setdefault(episode.instruction or episode.task, len(written.tasks))
    last = np.arange(steps) == steps - 1
    columns = {
        "action": episode.actions,
        "next.reward": episode.rewards,
        "next.done": last | episode.terminated | episode.truncated,
        "next.terminated": episode.terminated,
        "timestamp": (np.arange(steps) / fps).astype(np.float32),
        "frame_index": np.arange(steps),
        "episode_index": np.full(steps, written.episodes),
        "index": written.frames + np.arange(steps),
        "task_index": np.full(steps, task),
    }
    columns |= {COLUMNS[name].lerobot: column for name, column in episode.columns.items()}
    return {**({"observation.state": episode.proprio} if episode.proprio.shape[1] else {}), **columns}


def _episode_row(
    episode: ExportEpisode,
    written: _Written,
    columns: dict[str, Any],
    where: tuple[int, int],
    videos: dict[str, VideoFiles],
) -> dict[str, Any]:
    """The episode's row of meta/episodes; encodes its video and counts it in `written`."""
    numbers = {key: value for key, value in columns.items() if value.dtype.kind != "U"}
    stats = {key: array_stats(value) for key, value in numbers.items()}
    first = written.frames
    row: dict[str, Any] = {
        "episode_index": written.episodes,
        "tasks": [episode.instruction or episode.task],
        "length": len(episode),
        "dataset_from_index": first,
        "dataset_to_index": first + len(episode),
        "data/chunk_index": where[0],
        "data/file_index": where[1],
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
        "success": episode.success,
        "operator": episode.operator,
        "policy_version": str(episode.recorded.get("policy_version", "")),
        "file_path": str(episode.recorded.get("file_path", "")),
    }
    for camera, files in videos.items():
        key, frames = video_key(camera), decode(episode.frames[camera])
        clip = files.write(frames)
        row |= {f"videos/{key}/{name}": value for name, value in clip._asdict().items()}
        counts = Histogram.of(frames)
        written.images[key] = written.images[key] + counts if key in written.images else counts
        stats[key] = counts.stats()
    for key, values in stats.items():
        row |= {f"stats/{key}/{name}": value for name, value in values.items()}
    for key, column in numbers.items():
        written.columns.setdefault(key, []).append(column)
    span = written.splits.setdefault(episode.split, [written.episodes, 0])
    written.frames, written.episodes = first + len(episode), written.episodes + 1
    span[1] = written.episodes
    return row


class _Rolling:
    """Parquet files of about `limit` bytes, numbered as LeRobot does, one row group per write."""

    def __init__(self, pq: Any, folder: Path, limit: int):
        self._pq, self._folder, self._limit = pq, folder, limit
        self._number, self._bytes = -1, 0
        self._writer: Any = None

    def write(self, table: Any) -> tuple[int, int]:
        """Returns (chunk, file) of the table."""
        if self._writer is None or self._bytes + table.nbytes > self._limit:
            self.close()
            self._number, self._bytes = self._number + 1, 0
            path = self._folder / (PATTERN.format(chunk=self._chunk, file=self._file) + ".parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._pq.ParquetWriter(path, table.schema, compression="snappy")
        self._writer.write_table(table)
        self._bytes += table.nbytes
        return self._chunk, self._file

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @property
    def _chunk(self) -> int:
        return self._number // FILES_PER_CHUNK

    @property
    def _file(self) -> int:
        return self._number % FILES_PER_CHUNK


def _arrow(pa: Any, columns: dict[str, Any]) -> dict[str, Any]:
    out = {}
    for key, value in columns.items():
        flat = pa.array(np.ascontiguousarray(value).ravel())
        out[key] = flat if value.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, value.shape[1])
    return out


def _write_meta(pa: Any, pq: Any, meta: Path, spec: Spec, fps: int, written: _Written) -> None:
    stats = {key: array_stats(np.concatenate(parts)) for key, parts in written.columns.items()}
    stats |= {key: counts.stats() for key, counts in written.images.items()}
    (meta / "stats.json").write_text(json.dumps(stats, indent=4))
    info = {
        "codebase_version": "v3.0",
        "robot_type": spec.embodiment,
        "total_episodes": written.episodes,
        "total_frames": written.frames,
        "total_tasks": len(written.tasks),
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": DATA_BYTES >> 20,
        "video_files_size_in_mb": VIDEO_BYTES >> 20,
        "fps": fps,
        "splits": {name: f"{first}:{end}" for name, (first, end) in written.splits.items()},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" if spec.cameras else None,
        "features": features(spec, fps, written.also),
    }
    (meta / "info.json").write_text(json.dumps(info, indent=4))
    (meta / "robot_pt.json").write_text(json.dumps(spec_document(spec), indent=4))
    tasks = pa.table({"task_index": list(written.tasks.values()), "task": list(written.tasks)})
    described = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": described, "pandas_version": "2.0.0"}
    pq.write_table(tasks.replace_schema_metadata({"pandas": json.dumps(pandas)}), meta / "tasks.parquet")


def features(spec: Spec, fps: int, also: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The ``features`` of info.json; `also`: shapes of the recorded columns beside the canonical ones."""

    def column(dtype: str, names: list[str] | None = None) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [len(names) if names else 1], "names": names}

    out = {"action": column("float32", list(spec.action_names))}
    if spec.proprio_names:
        out["observation.state"] = column("float32", list(spec.proprio_names))
    for camera, (height, width) in spec.cameras.items():
        details = {
            "video.height": height,
            "video.width": width,
            "video.codec": CODEC,
            "video.pix_fmt": pixel_format((height, width)),
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        }
        names = ["height", "width", "channels"]
        out[video_key(camera)] = {"dtype": "video", "shape": [height, width, 3], "names": names, "info": details}
    out |= {"next.reward": column("float32"), "next.done": column("bool"), "next.terminated": column("bool")}
    out |= {"timestamp": column("float32")}
    for name, shape in also.items():
        joints = [f"joint_{i}" for i in range(shape[0])] if shape else None
        of_step = list(spec.action_names) if name == "requested_actions" else joints
        out[COLUMNS[name].lerobot] = column(COLUMNS[name].dtype.replace("str", "string"), of_step)
    return out | {key: column("int64") for key in ("frame_index", "episode_index", "index", "task_index")}
