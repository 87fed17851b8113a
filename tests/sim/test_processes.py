import importlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import ModuleType

import pytest

from robot_pt.errors import MissingExtraError, UserError
from robot_pt_sim.processes import _death, default_workers, run_jobs


@dataclass(frozen=True)
class Doubling:
    """Setup of a worker that doubles numbers and does what the number says when it is special."""

    closed: str = ""
    loads: str = ""

    def __call__(self):
        if self.loads:
            importlib.import_module(self.loads)
        return _Doubler(self.closed)


class _Doubler:
    def __init__(self, closed):
        self._closed = closed

    def __call__(self, job):
        if job == "refuse":
            raise MissingExtraError("mujoco", "sim", "the simulator")
        if isinstance(job, str) and job.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, job))
            time.sleep(30)
        if job == "leave":
            os._exit(9)
        if job == "torch":
            return sys.modules["torch"].get_num_threads(), os.environ.get("OMP_NUM_THREADS")
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


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("SIGKILL", r"was killed by SIGKILL at lift from seed SIGKILL, most likely for lack of memory \(.*; 2 at once\): use fewer"),
        ("SIGSEGV", r"was killed by SIGSEGV at lift from seed SIGSEGV, most likely by a fault of the OpenGL .* MUJOCO_GL=osmesa;"),
        ("SIGTERM", r"was killed by SIGTERM, by somebody, or for lack of memory"),
        ("leave", r"ended with code 9 at lift from seed leave, by somebody, or for lack of memory"),
    ],
)  # fmt: skip
def test_a_worker_that_dies_is_a_sentence_about_how_and_at_what(monkeypatch, end, said):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(UserError, match=rf"^a simulation process {said}.*; what is finished is kept\.$"):
        list(run_jobs(Doubling(), [1, (2, 0.5), end, (3, 0.5), 4], 2, what="lift from seed"))


def test_a_worker_apart_dies_alone_and_what_it_did_before_is_handed_over():
    """As the one worker of `robot-pt evaluate` does."""
    jobs = run_jobs(Doubling(), [1, 2, "SIGSEGV", 3], 1, apart=True)
    (first, pid), (second, again) = next(jobs), next(jobs)
    assert (first, second) == (2, 4)
    assert pid == again != os.getpid()
    with pytest.raises(UserError, match=r"was killed by SIGSEGV at job SIGSEGV.*with a kitchen\): free some;"):
        next(jobs)


def test_a_worker_apart_has_the_threads_that_it_would_have_here():
    import torch

    here = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert list(run_jobs(Doubling(loads="torch"), ["torch"], 1, apart=True)) == [
            (3, os.environ.get("OMP_NUM_THREADS"))
        ]
    finally:
        torch.set_num_threads(here)


def test_who_died_first_and_at_what_is_told_where_that_is_known():
    assert "process was killed by SIGSEGV, most" in _death({7: -11, 8: -15}, {8: 3}, 2, "lift from seed")
    assert "process was killed by SIGTERM at job 3, " in _death({7: -15}, {7: 3}, 1, "job")
    assert "process was killed by SIGKILL at lift from seed 3, " in _death(
        {7: -15, 8: -9}, {7: 2, 8: 3}, 2, "lift from seed"
    )


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
