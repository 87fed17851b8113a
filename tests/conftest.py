"""One thread per process in tests: workers and training side by side would otherwise wait for each other's spinning threads.

Property tests have no deadline: 200 ms per example say more about a busy machine than about the code.
"""

import os
import signal
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings  # after the variable: some tests' libraries read it when they are imported

settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell, where Ctrl-C is ignored: programs under test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def disk_that_is_not_waited_for() -> Iterator[None]:
    """Power stays on during tests: fsync still refuses what is no file, and waits for nothing. Processes under test do wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: os.fstat(file) and None)
        yield
