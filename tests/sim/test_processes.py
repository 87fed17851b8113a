import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import ModuleType

import pytest

from robot_pt.errors import MissingExtraError, UserError
from robot_pt_sim.processes import default_workers, run_jobs


@dataclass(frozen=True)
class Doubling:
    """Setup of a worker that doubles numbers and does what the number says when it is special."""

    closed: str = ""

    def __call__(self):
        return _Doubler(self.closed)


class _Doubler:
    def __init__(self, closed):
        self._closed = closed

    def __call__(self, job):
        if job == "refuse":
            raise MissingExtraError("mujoco", "sim", "the simulator")
        if job == "die":
            os._exit(9)
        if job == "threads":
            return os.environ["OMP_NUM_THREADS"], signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        if isinstance(job, tuple):
            time.sleep(job[1])
            job = job[0]
        return job * 2, os.getpid()

    def close(self):
        if self._closed:
            with open(self._closed, "a") as file:
                file.write("closed\n")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """Children unpickle this module by name, which --import-mode=importlib does not put on the path."""
    here = os.path.dirname(__file__)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(here)
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "test_processes", module)
    for kind in (Doubling, _Doubler):
        monkeypatch.setattr(kind, "__module__", "test_processes")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_jobs(workers):
    jobs = [(5, 0.3), (1, 0.0), (2, 0.0), (3, 0.0), (4, 0.0), (6, 0.0), (7, 0.0)]
    results = list(run_jobs(Doubling(), jobs, workers))
    assert [double for double, _ in results] == [10, 2, 4, 6, 8, 12, 14]
    here = {pid for _, pid in results} == {os.getpid()}
    assert here is (workers == 1)


def test_a_process_with_tensorflow_leaves_even_one_worker_to_a_child(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    ((double, pid),) = run_jobs(Doubling(), [4], 1)
    assert double == 8
    assert pid != os.getpid()


def test_no_jobs_build_no_worker(tmp_path):
    assert list(run_jobs(Doubling(str(tmp_path / "log")), [], 2)) == []
    assert not (tmp_path / "log").exists()


def test_a_worker_in_this_process_is_closed_however_it_ends(tmp_path):
    log = tmp_path / "log"
    jobs = run_jobs(Doubling(str(log)), [1, 2, 3], 1)
    next(jobs)
    jobs.close()
    assert log.read_text() == "closed\n"
    with pytest.raises(UserError):
        list(run_jobs(Doubling(str(log)), ["refuse"], 1))
    assert log.read_text() == "closed\n" * 2


def test_children_have_one_thread_and_leave_ctrl_c_to_the_parent():
    before = os.environ.get("OMP_NUM_THREADS")
    assert list(run_jobs(Doubling(), ["threads", "threads"], 2)) == [("1", True)] * 2
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_what_a_worker_refuses_is_said_here():
    with pytest.raises(UserError, match="mujoco, which is not installed"):
        list(run_jobs(Doubling(), [1, "refuse", 2], 2))


def test_a_worker_that_dies_is_a_sentence_about_memory():
    with pytest.raises(UserError, match="fewer workers"):
        list(run_jobs(Doubling(), [1, "die", 2, 3], 2))


def test_closing_drops_what_has_not_begun():
    jobs = run_jobs(Doubling(), [(k, 0.2) for k in range(100)], 2)
    next(jobs)
    start = time.monotonic()
    jobs.close()
    assert time.monotonic() - start < 5  # 100 jobs would take 10 s


def test_children_leave_with_a_parent_that_is_killed(tmp_path):
    script = (
        "from test_processes import Doubling\nfrom robot_pt_sim.processes import run_jobs\n"
        "if __name__ == '__main__':\n"
        "    for _, pid in run_jobs(Doubling(), [(k, 0.2) for k in range(1000)], 2):\n"
        "        print(pid, flush=True)\n"
    )
    path = tmp_path / "killed.py"
    path.write_text(script)
    parent = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    children: set[int] = set()
    while len(children) < 2:
        children.add(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    until = time.monotonic() + 30
    while any(map(_runs, children)) and time.monotonic() < until:
        time.sleep(0.05)
    left = list(filter(_runs, children))
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def _runs(pid):
    """Neither gone nor waiting for somebody to ask how it ended."""
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_fewer_than_one_worker_is_refused():
    with pytest.raises(UserError, match="at least 1"):
        next(run_jobs(Doubling(), [1], 0))


def test_the_default_is_one_per_core():
    assert 1 <= default_workers() <= (os.cpu_count() or 1)
