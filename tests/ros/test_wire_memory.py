"""Freed blocks stay in the process, unless its user said otherwise."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from robot_pt_ros.wire.memory import keep_freed_blocks

kept = keep_freed_blocks()
for _ in range(20):
    bytearray(1_000_000)[::4096] = bytes(245)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    bytearray(1_000_000)[::4096] = bytes(245)
print(kept, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 200)
"""


def run(**environment: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_block_freed_is_used_again_without_page_faults() -> None:
    kept, faults = run()
    if kept == "True":  # musl has no mallopt
        assert faults < 20
    kept, faults = run(MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="65536")
    assert kept == "False"
    assert faults > 100
