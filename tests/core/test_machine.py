"""The machine is described from what the system says, and "unknown" where it says nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

from robot_pt.machine import describe, versions

ROOT = Path(__file__).parents[2]


def made(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_fields_are_read_from_the_system_files(tmp_path):
    root = made(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: Example CPU @ 2: 0 GHz\nmodel name\t: second\n",
            "proc/meminfo": "MemTotal:       25165824 kB\nMemFree: 1 kB\n",
            "proc/driver/nvidia/gpus/0000:01/information": "Model: \t\t NVIDIA H200\nIRQ: 1\n",
            "proc/driver/nvidia/gpus/0000:02/information": "Model: \t\t NVIDIA H200\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
        },
    )
    found = describe(root)
    assert found["processor"] == "Example CPU @ 2: 0 GHz"
    assert found["memory"] == "24 GiB"
    assert found["accelerator"] == "NVIDIA H200, NVIDIA H200"
    assert found["cores"] == "0.5"


def test_an_unlimited_group_leaves_the_affinity_mask(tmp_path):
    root = made(tmp_path, {"sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert describe(root)["cores"] == f"{len(os.sched_getaffinity(0))}"


def test_a_silent_system(tmp_path):
    found = describe(tmp_path)
    assert found["memory"] == "unknown"
    assert found["accelerator"] == "none"
    assert float(found["cores"]) >= 1


def test_versions_name_what_is_installed():
    found = versions()
    assert found["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert "numpy" in found
    assert all(found.values())


def test_command_prints_one_json_object():
    script = [sys.executable, str(ROOT / "benchmarks/machine.py")]
    printed = json.loads(subprocess.run([*script, "--json"], capture_output=True, text=True, check=True).stdout)
    assert printed["versions"]["Python"] == versions()["Python"]
    assert printed["machine"].keys() == describe().keys()
    line = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert line.count("\n") == 1
    assert describe()["processor"] in line
