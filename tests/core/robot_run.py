"""A made-up robot for recording tests: samples of every source at their own rates, with what they should become."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from robot_pt.commands import JointCommand, PoseTarget
from robot_pt.images import encode_jpeg
from robot_pt.rotations import rpy_to_matrix
from robot_pt.samples import Frame, Gripper, Joints, Mode, Reward, Sample, ToolPose, Version
from robot_pt.samples import Request as Asked
from robot_pt.schema import Spec

SIZE = (12, 16)
SPEC = Spec(cameras={"primary": SIZE, "wrist": SIZE}, embodiment="widowx250s", control_hz=5.0)
JOINTS = [f"joint_{i + 1}" for i in range(6)]
BEGIN = 1_700_000_000_000_000_000
PERIOD = 200_000_000

Event = tuple[int, Sample]
"""(arrival [ns], sample)"""


def pose(t_s: float) -> np.ndarray:
    """Where the made-up tool is, and is commanded to be, at a time: smooth, never twice the same."""
    out = np.eye(4)
    out[:3, 3] = 0.2 + 0.05 * np.sin(t_s), 0.1 * np.cos(0.7 * t_s), 0.15 + 0.02 * t_s
    out[:3, :3] = rpy_to_matrix([0.1 * np.sin(t_s), 0.2 * np.cos(t_s), 0.3 * np.sin(0.5 * t_s)])
    return out


@lru_cache(1000)
def jpeg(number: int) -> bytes:
    """A frame that can be told from every other."""
    return encode_jpeg(np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8))


def ticks(hz: float, seconds: float, phase_ns: int = 0) -> Iterator[tuple[int, float]]:
    for i in range(int(seconds * hz)):
        stamp = BEGIN + phase_ns + round(i * 1e9 / hz)
        yield stamp, (stamp - BEGIN) / 1e9


def events(
    seconds: float = 4.0, camera_hz: float = 30.0, source: str = "policy", delay_ns: int = 0, command_hz: float = 50.0
) -> list[Event]:
    """Everything a robot says in `seconds`, each `delay_ns` after its stamp, in the order of stamps."""
    out: list[Sample] = [Mode(BEGIN - 1, source), Version(BEGIN - 1, "ab12")]
    for c, camera in enumerate(SPEC.cameras):
        for i, (stamp, _) in enumerate(ticks(camera_hz, seconds, phase_ns=3_000_000 * c)):
            out.append(Frame(stamp, camera, jpeg(1000 * c + i)))
    for stamp, t in ticks(100, seconds):
        out += [Joints(stamp, np.full(6, t)), ToolPose(stamp, pose(t))]
    out += [Gripper(stamp, 0.5 + 0.1 * np.sin(t)) for stamp, t in ticks(50, seconds)]
    for stamp, t in ticks(command_hz, seconds, phase_ns=5_000_000):
        out.append(JointCommand(stamp, np.full(6, t), 0.5 + 0.1 * np.cos(t), pose(t)))
    for stamp, t in ticks(5, seconds, phase_ns=40_000_000):  # decided 40 ms after what was seen
        seen = stamp - 40_000_000 if source == "policy" else 0
        out.append(Asked(PoseTarget(stamp, pose(t + 0.3), 0.9, seen), source))
    out.append(Reward(BEGIN + 500_000_000, 0.25))
    return sorted(((s.stamp_ns + delay_ns, s) for s in out), key=lambda e: e[0])
