"""One thread per process in tests: workers and training side by side would otherwise wait for each other's spinning threads."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
