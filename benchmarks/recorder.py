"""Recorder: 4 cameras 640x480 JPEG at 30 Hz with joint states, poses and commands, in real time, on a disk.

Run: ``python benchmarks/recorder.py [--quick] [--out FOLDER]``. A process of its own records what a made-up robot says, each
message at its time, as it comes off the wire; the benchmark asks for no message dropped and less than one core. Then the same
messages once more as fast as they are taken, to say how far that is from the end. Prints a table, then one JSON object.

Messages are made ahead of time, so that the core counted is the recorder's: its own processor time (user and system, all
threads, fsync included) over the time the episode took. `stop` is timed apart: steps into the store, journal closed, counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.commands import JointCommand
from robot_pt.disk import DiskLimits
from robot_pt.images import encode_jpeg
from robot_pt.machine import describe, versions
from robot_pt.messages import Message, encode
from robot_pt.recorder import Recorder
from robot_pt.recording import Limits
from robot_pt.samples import Frame, Gripper, Joints, Mode, ToolPose, Version
from robot_pt.schema import Spec

CAMERAS = ("primary", "secondary", "wrist", "top")
SIZE = (480, 640)
QUALITY = 90
FRAMES = 30  # different ones per camera
CORES = 1.0
JOINTS = [f"joint_{i}" for i in range(6)]

Stream = list[tuple[int, Message]]


def frames(camera: int) -> list[bytes]:
    """JPEGs of the size that a cluttered table gives: smooth shapes with some grain."""
    rng = np.random.default_rng(camera)
    out = []
    for _ in range(FRAMES):
        coarse = rng.integers(0, 256, (16, 20, 3)).astype(np.float32)
        image = np.kron(coarse, np.ones((30, 32, 1), np.float32)) + rng.normal(0, 6, (*SIZE, 3))
        out.append(encode_jpeg(np.clip(image, 0, 255).astype(np.uint8), QUALITY))
    return out


def stream(seconds: float, begin_ns: int) -> Stream:
    """Every message with the time it comes at [ns]: 120 frames and 500 others a second."""
    pose, out = np.eye(4), list[tuple[int, Message]]()
    pose[:3, 3] = 0.3, 0.0, 0.2
    sources = {name: frames(i) for i, name in enumerate(CAMERAS)}

    def add(hz: float, make: Any) -> None:
        for i in range(int(seconds * hz)):
            stamp = begin_ns + round(i * 1e9 / hz)
            out.extend((stamp, m._replace(cdr=bytes(m.cdr))) for m in encode(make(stamp, i), JOINTS))

    for camera, images in sources.items():
        add(30, lambda t, i, c=camera, f=images: Frame(t, c, f[i % FRAMES]))
    add(100, lambda t, i: Joints(t, np.full(6, i * 1e-3)))
    add(100, lambda t, i: ToolPose(t, pose))
    add(50, lambda t, i: Gripper(t, 0.5))
    add(50, lambda t, i: JointCommand(t, np.full(6, i * 1e-3), 0.5, pose))
    add(2, lambda t, i: Mode(t, "teleop"))
    add(0.1, lambda t, i: Version(t, "00"))
    return sorted(out, key=lambda e: e[0])


def seconds_of_cpu() -> float:
    """User and system time of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def record(folder: Path, seconds: float, paced: bool) -> dict[str, Any]:
    """One episode, in real time or as fast as it goes."""
    begin = time.time_ns()
    messages = stream(seconds, begin)
    spec = Spec(cameras=dict.fromkeys(CAMERAS, SIZE), embodiment="widowx250s", control_hz=5.0)
    limits = Limits(DiskLimits(1_000_000_000, 100_000_000))
    recorder = Recorder(folder / "store", spec, joint_names=JOINTS, limits=limits)
    recorder.start("benchmark", now_ns=begin)
    late, most, cpu, start = 0.0, 0, seconds_of_cpu(), time.perf_counter()
    for stamp, message in messages:
        wait = (stamp - begin) / 1e9 - (time.perf_counter() - start)
        if paced and wait > 0:
            time.sleep(wait)
        late = max(late, -wait)
        while not paced and recorder.status().queued_bytes > 32_000_000:
            time.sleep(0.001)
        recorder.feed_message(message, stamp)
        if message.topic.startswith("camera/top"):
            most = max(most, recorder.status().queued_bytes)
    fed, cpu = time.perf_counter() - start, seconds_of_cpu() - cpu
    stopping, cpu_stop = time.perf_counter(), seconds_of_cpu()
    report = recorder.stop("success", end_ns=messages[-1][0])
    stop_s, cpu_stop = time.perf_counter() - stopping, seconds_of_cpu() - cpu_stop
    recorder.close()
    size = (folder / "store/journals/benchmark.mcap").stat().st_size
    return {
        "seconds": seconds,
        "wall_s": fed + (0 if paced else stop_s),
        "messages": len(messages),
        "written": sum(report.written.values()),
        "dropped": sum(report.dropped.values()),
        "frames": sum(n for topic, n in report.written.items() if topic.startswith("camera/")),
        "steps": report.steps,
        "faults": report.faults,
        "megabytes": size / 1e6,
        "cores": cpu / fed,
        "cores_with_stop": (cpu + cpu_stop) / (fed + stop_s),
        "stop_s": stop_s,
        "most_queued_mb": most / 1e6,
        "latest_feed_ms": late * 1e3 if paced else None,
    }


def child(out: Path, seconds: float, paced: bool) -> dict[str, Any]:
    """`record` in a process of its own."""
    folder = Path(tempfile.mkdtemp(dir=out, prefix="recorder-"))
    try:
        command = [sys.executable, __file__, "--child", str(folder), str(seconds), str(int(paced))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 seconds instead of 30")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()), help="folder on the disk to record to")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        folder, seconds, paced = options.child
        print(json.dumps(record(Path(folder), float(seconds), paced == "1")))
        return
    before, seconds = describe(), 5.0 if options.quick else 30.0
    results = {"real time": child(options.out, seconds, True), "unthrottled": child(options.out, seconds, False)}
    columns = (
        "cores",
        "cores_with_stop",
        "dropped",
        "frames",
        "written",
        "megabytes",
        "most_queued_mb",
        "stop_s",
        "wall_s",
    )
    print(f"{'':>12}" + "".join(f"{c:>16}" for c in columns))
    for name, r in results.items():
        print(f"{name:>12}" + "".join(f"{r[c]:16.3f}" for c in columns))
    live, fast = results["real time"], results["unthrottled"]
    met = live["dropped"] == 0 and live["written"] == live["messages"] and live["cores"] < CORES
    print(
        f"no drop at < {CORES:g} core: {'yes' if met else 'NO'}; {seconds / fast['wall_s']:.1f} x real time unthrottled"
    )
    found = {"benchmark": "recorder", "cases": results, "limit_cores": CORES, "met": met,
             "times_real_time": seconds / fast["wall_s"], "machine": before, "load_after": describe()["load"],
             "versions": versions()}  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
