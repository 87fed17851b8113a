"""Threads, forked and spawned workers, and what thousands of reads leave behind."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import robot_pt_data
from robot_pt_data.video.reader import VideoReader
from tests.data.video.video_files import Clip, number_of, numbers_of, write_video


class Numbers(Dataset[Any]):
    """Row -> (row, the number its frame carries)."""

    def __init__(self, source: Any):
        self.source = source

    def __len__(self) -> int:
        return len(self.source.actions)

    def __getitem__(self, row: int) -> tuple[int, int]:
        return row, number_of(self.source.images(np.array([row]), "primary")[0])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_after_the_parent_has_read(plain_folder: Path, method: str) -> None:
    source = robot_pt_data.open(plain_folder, mapping={"rate_hz": 0})
    wanted = numbers_of(source.images(np.arange(195), "primary"))  # opens decoders and threads before the fork
    loader = DataLoader(
        Numbers(source),
        batch_size=13,
        num_workers=4 if method == "fork" else 1,  # a spawned one imports torch
        multiprocessing_context=method,
        timeout=60,
    )
    found = torch.cat([torch.stack(batch, 1) for batch in loader])
    assert found[:, 0].tolist() == list(range(195))
    assert found[:, 1].tolist() == wanted
    assert numbers_of(source.images(np.array([0, 194]), "primary")) == [wanted[0], wanted[194]]


def test_a_child_that_is_forked_while_threads_decode_goes_on(long_gop: Path) -> None:
    reader = VideoReader(long_gop.parent, open_files=2)
    stop = False

    def busy(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not stop:
            reader.frames(long_gop, rng.integers(0, 100, 2))

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(busy, n) for n in range(2)]
        try:
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    good = number_of(reader.frames(long_gop, [42]).images[0]) == 42
                    os._exit(0 if good else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            stop = True
    for job in jobs:
        job.result()


def test_many_threads_on_one_file_and_on_many(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", Clip(frames=60, gop=20), first=100 * n) for n in range(4)]
    reader = VideoReader(tmp_path, open_files=3)

    def check(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(15):
            n, asked = int(rng.integers(4)) if seed % 2 else 0, rng.integers(0, 60, 3)
            assert numbers_of(reader.frames(paths[n], asked).images) == (100 * n + asked).tolist()

    with ThreadPoolExecutor(6) as pool:
        for job in [pool.submit(check, seed) for seed in range(6)]:
            job.result()
    assert len(reader._idle._held) <= 3


def test_memory_and_handles_stay_flat(tmp_path: Path) -> None:
    assert_flat(tmp_path, files=8, clips=500, most_mb=12)


@pytest.mark.slow
def test_memory_and_handles_stay_flat_over_many(tmp_path: Path) -> None:
    assert_flat(tmp_path, files=40, clips=10_000, most_mb=25)


def assert_flat(folder: Path, files: int, clips: int, most_mb: float) -> None:
    """`clips` of 5 frames; every file is closed and opened again all the time, since only 4 stay open."""
    paths = [write_video(folder / f"{n}.mp4", Clip(frames=30, gop=10), first=n) for n in range(files)]
    reader = VideoReader(folder, open_files=4)
    rng = np.random.default_rng(0)

    def read(count: int) -> None:
        for _ in range(count):
            reader.frames(paths[int(rng.integers(files))], rng.integers(0, 30, 5), (32, 32))

    read(clips // 5)
    gc.collect()
    memory, handles = anonymous_mb(), len(os.listdir("/proc/self/fd"))
    read(clips)
    gc.collect()
    assert anonymous_mb() - memory < most_mb
    assert len(os.listdir("/proc/self/fd")) <= handles + 1


def anonymous_mb() -> float:
    """Memory of this process that is no file's [MB]."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no RssAnon in /proc/self/status")
