"""Images come and go as blocks of a megabyte, which glibc gives back to the kernel each time and pays for page by page when the next
one arrives: 1.2 to 1.9 ms of processor time per 640x480 image instead of 0.35 (read on one machine). Keeping them costs up to 64 MiB.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
KEPT_BYTES = 64 << 20
LARGEST_BLOCK_BYTES = 32 << 20  # the most that glibc takes from its heap


@functools.cache
def keep_freed_blocks() -> bool:
    """Let malloc keep what is freed; once per process. False: no glibc, or $MALLOC_TRIM_THRESHOLD_ or _MMAP_ says otherwise already."""
    if sys.platform != "linux" or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False  # musl
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    return bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES))
