"""On what something was read: processor, memory, accelerator, versions. Imports the standard library only."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("robot-pt", "torch", "numpy", "opencv-python-headless", "zarr", "mujoco", "robosuite", "mink", "av",
            "tensorflow-datasets", "tensorflow-cpu", "tensorflow", "d3rlpy", "cyclonedds", "rosbags", "mcap")  # fmt: skip


def versions() -> dict[str, str]:
    """Python and those of `PACKAGES` that are installed."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe(root: Path = Path("/")) -> dict[str, str]:
    """Processor, cores this process may use, memory, accelerators, system, load of the last minute; "unknown" where hidden.

    `root` is where /proc and /sys lie.
    """
    cpu = _field(root / "proc/cpuinfo", "model name") or platform.processor() or "unknown"
    memory_kb = (_field(root / "proc/meminfo", "MemTotal") or "").removesuffix(" kB")
    gpus = [_field(path, "Model") or "unknown" for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information"))]
    return {
        "processor": cpu,
        "cores": f"{_usable_cores(root):g}",
        "memory": f"{int(memory_kb) / 2**20:.0f} GiB" if memory_kb.isdigit() else "unknown",
        "accelerator": ", ".join(gpus) or "none",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _usable_cores(root: Path) -> float:
    """Cores of the affinity mask, or fewer where a cgroup (v2) limits the time on them."""
    cores = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else min(cores, int(quota) / int(period))


def _field(path: Path, name: str) -> str | None:
    """Value of the first ``name: value`` line."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
