"""Clips of videos as an EpisodeSource: frames without actions, decoded when asked for."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.schema import UNKNOWN, EpisodeTable, Image, Int, Spec
from robot_pt_data.video.clips import ClipTable
from robot_pt_data.video.index import VideoIndex
from robot_pt_data.video.reader import VideoReader
from robot_pt_data.video.reading import VideoReading

CAMERA, EMBODIMENT = "primary", "video"
FAR_APART = 120
"""Frames from one place where decoding can start to the next, beyond which reading at random is slow enough to say so."""


class VideoSource:
    """EpisodeSource over clips: N frames at `spec.control_hz`, no actions and no proprio (both (N, 0)), success unknown.

    Frames are cut to the shape asked for (`VideoReading.fit`). May be pickled, forked and used in threads.

    Args:
        split: "train", "validation", "test" where the annotations tell them apart; None = all.
        skip_damaged: where a frame cannot be decoded, give the nearest one of the same file that can, say so once per file
            and count it in `damaged`; without it `images` raises.
    Raises:
        DataError: there is no such split.
    """

    def __init__(
        self, root: Path, table: ClipTable, split: str | None, reading: VideoReading, skip_damaged: bool = False
    ):
        has = sorted(set(table.split))
        if split is not None and split not in has:
            raise DataError(f"{root} has the splits {has}, not {split!r}; choose one of these.")
        self.root, self.table, self.reading = root, table, reading
        self.skip_damaged = skip_damaged
        self.damaged: dict[str, str] = {}  # file -> why a frame of it could not be decoded
        self._clips = np.array([i for i, s in enumerate(table.split) if split in (None, s)], np.int64)
        self._reader = VideoReader(root, reading.backend, reading.open_files)
        self._lock = threading.Lock()
        length = table.length[self._clips]
        self._ends = np.cumsum(length)
        rows = int(length.sum())
        self.spec = Spec(
            cameras={CAMERA: table.size},
            embodiment=EMBODIMENT,
            control_hz=table.rate_hz or table.fps or 1.0,
            action_names=(),
            proprio_names=(),
            action_unit="unknown",
        )
        self.proprio = np.zeros((rows, 0), np.float32)
        self.actions = np.zeros((rows, 0), np.float32)
        self.rewards = np.zeros(rows, np.float32)
        self.terminated = np.zeros(rows, bool)
        self.truncated = np.zeros(rows, bool)
        self.truncated[self._ends - 1] = True
        chosen = self._clips.tolist()
        self.episodes = EpisodeTable(
            start=self._ends - length,
            length=length,
            instruction=[table.caption[i] for i in chosen],
            task=[table.task[i] for i in chosen],
            success=np.full(len(chosen), UNKNOWN, np.int8),
            dataset=[table.dataset] * len(chosen),
            split=[table.split[i] for i in chosen],
            operator=["unknown"] * len(chosen),
        )

    @property
    def warnings(self) -> list[str]:
        """What to know before training on it."""
        faults, out = self.table.faults, []
        if faults:
            out.append(f"{len(faults)} damaged records are left out, the first: {faults[0]}")
        out += [f"{count} {what} are passed over." for what, count in self.table.notes.items()]
        if self.table.frames_per_start > FAR_APART:
            height, width = self.table.size
            shape = "256:-2" if height > width else "-2:256"
            out.append(
                f"a random frame is decoded from up to {self.table.frames_per_start:.0f} frames before it, at {height}x{width}: copies are read "
                f"several times faster, ffmpeg -i IN -vf scale={shape} -c:v libx264 -g 30 -bf 0 -an OUT.mp4, or robot-pt data cache."
            )
        if self.table.rate_hz > 1.01 * self.table.fps:
            out.append(
                f"rows come at {self.table.rate_hz:g} Hz and the videos run at {self.table.fps:g}: frames repeat; lower rate_hz."
            )
        return out + [f"{path} is damaged: {why}" for path, why in self.damaged.items()]

    @property
    def left_out(self) -> list[str]:
        """What was left out, and in which files frames could not be decoded so far; one sentence each."""
        return [*self.table.faults, *self.damaged.values()]

    @property
    def clip_times_s(self) -> NDArray[np.float64]:
        """(E, 2) begin and end of every episode on the clock of its file's time stamps [s]."""
        return np.stack([self.table.start_s[self._clips], self.table.end_s[self._clips]], axis=1)

    def file(self, episode: int) -> Path:
        """The video that an episode is from."""
        return self.root / self.table.files[int(self.table.video[self._clips[episode]])]

    def times_s(self, steps: Int) -> NDArray[np.float64]:
        """(n,) when the frames of these steps are shown, by their time stamps [s]."""
        out = np.empty(len(steps), np.float64)
        for _, index, at, numbers in self._by_file(np.asarray(steps, np.int64)):
            out[at] = index.times_s[numbers]
        return out

    def frame_numbers(self, steps: Int) -> Int:
        """(n,) which frame of its file each of these steps is, from 0."""
        out = np.empty(len(steps), np.int64)
        for _, _, at, numbers in self._by_file(np.asarray(steps, np.int64)):
            out[at] = numbers
        return out

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """Decode (n, H, W, 3) uint8 RGB, upright; `size` None = the size that most of the videos have.

        Files are read at a time by as many threads as there are cores, each from front to back. Raises DataError on an
        unknown camera, steps that do not exist, and frames that cannot be decoded (but see `skip_damaged`).
        """
        if camera not in self.spec.cameras:
            raise DataError(f"videos have one camera, {CAMERA!r}, not {camera!r}; choose it with --camera {CAMERA}.")
        target = size or self.spec.cameras[camera]
        out = np.empty((len(steps), *target, 3), np.uint8)

        def read(job: tuple[Path, VideoIndex, Int, Int]) -> None:
            path, index, at, numbers = job
            out[at] = self._read(path, index, numbers, target)

        jobs = list(self._by_file(np.asarray(steps, np.int64)))
        if len(jobs) < 2:
            for job in jobs:
                read(job)
            return out
        waiting = [_pool(os.cpu_count() or 1).submit(read, job) for job in jobs]
        for one in waiting:
            one.exception()  # wait for all: nobody may write to `out` after this returns
        for one in waiting:
            one.result()
        return out

    def summary(self) -> dict[str, Any]:
        """JSON values: how much film there is, how it is cut, and what was left out."""
        seconds = np.diff(self.clip_times_s, axis=1)[:, 0]
        return {
            "files": len(set(self.table.video[self._clips].tolist())),
            "hours": round(self.table.video_s / 3600, 4),
            "fps": round(self.table.fps, 3),
            "frames_per_start": round(self.table.frames_per_start, 1),
            "clip_seconds": {"min": float(seconds.min()), "mean": float(seconds.mean()), "max": float(seconds.max())},
            "captioned": sum(bool(text) for text in self.episodes.instruction),
            "backend": self._reader.backend,
            "left_out": list(self.table.faults),
            "passed_over": dict(self.table.notes),
        }

    def close(self) -> None:
        """Close all files; reading opens them again."""
        self._reader.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _by_file(self, steps: Int) -> Iterator[tuple[Path, VideoIndex, Int, Int]]:
        """(path, index, places in `steps`, frame numbers) per file."""
        rows = len(self.actions)
        if steps.size and not 0 <= int(steps.min()) <= int(steps.max()) < rows:
            raise DataError(f"steps run from 0 to {rows - 1}; {int(steps.min())} to {int(steps.max())} were asked for.")
        episode = np.searchsorted(self._ends, steps, side="right")
        file = self.table.video[self._clips[episode]] if steps.size else np.zeros(0, np.int64)
        for which in np.unique(file).tolist():
            at = np.flatnonzero(file == which)
            path = self.root / self.table.files[which]
            index = self._reader.index(path)
            numbers = np.empty(len(at), np.int64)
            for one in np.unique(episode[at]).tolist():
                mine = episode[at] == one
                numbers[mine] = self.table.numbers(
                    int(self._clips[one]), steps[at[mine]] - int(self.episodes.start[one]), index
                )
            yield path, index, at, index.check(numbers, path)

    def _read(self, path: Path, index: VideoIndex, numbers: Int, size: tuple[int, int]) -> Image:
        try:
            return self._reader.frames(path, numbers, size, self.reading.fit).images
        except DataError as error:
            if not self.skip_damaged:
                raise
            self._note(path, str(error))
        found = self._one_by_one(path, np.unique(numbers), size)
        if not found:
            starts = index.nearest(np.asarray(index.key_pts * float(index.time_base), np.float64))
            found = self._one_by_one(path, np.unique(starts), size, enough=1)
        if not found:
            raise DataError(f"no frame of {path} can be decoded; remove the file and index again.")
        good = np.array(sorted(found))
        nearest = good[np.abs(numbers[:, None] - good[None]).argmin(axis=1)]
        return np.stack([found[n] for n in nearest.tolist()])

    def _one_by_one(self, path: Path, numbers: Int, size: tuple[int, int], enough: int = 1 << 30) -> dict[int, Image]:
        """Those of the frames that can be decoded, until there are `enough`."""
        found: dict[int, Image] = {}
        for number in numbers.tolist():
            if len(found) < enough:
                with contextlib.suppress(DataError):
                    found[number] = self._reader.frames(path, [number], size, self.reading.fit).images[0]
        return found

    def _note(self, path: Path, why: str) -> None:
        with self._lock:
            known = str(path) in self.damaged
            self.damaged.setdefault(str(path), why)
        if not known:
            warnings.warn(f"{why} The nearest frame that can be decoded stands in for it.", UserWarning, stacklevel=4)


@lru_cache(maxsize=4)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="video")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has none of its parent's threads
