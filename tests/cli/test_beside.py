"""Work in a second process: it runs, its failure is told, and it never outlives what started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robot_pt.errors import UserError
from robot_pt.recipes.beside import beside

CORES = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores: with one, the work runs in this process")


def leave_a_mark(path: Path) -> None:
    sys.stdout.write("working\n")
    path.write_text(str(os.getpid()))


def fail(_path: Path) -> None:
    raise UserError("the data is gone; bring it back.")


def stay(path: Path) -> None:
    leave_a_mark(path)
    time.sleep(120)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def eventually(reached, seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not reached() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(reached())


@CORES
def test_both_work_and_the_other_speaks_into_its_log(tmp_path: Path) -> None:
    with beside(leave_a_mark, tmp_path / "mark", log=tmp_path / "other.log"):
        pass
    assert int((tmp_path / "mark").read_text()) != os.getpid()
    assert "working" in (tmp_path / "other.log").read_text()


@CORES
def test_a_failure_of_the_other_is_one_sentence_that_names_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"other\.log"),
        beside(fail, tmp_path / "mark", log=tmp_path / "other.log"),
    ):
        pass
    assert "the data is gone" in (tmp_path / "other.log").read_text()


@CORES
def test_the_other_is_stopped_when_this_one_fails(tmp_path: Path) -> None:
    def fail_here() -> None:
        with beside(stay, tmp_path / "mark", log=tmp_path / "other.log"):
            assert eventually((tmp_path / "mark").exists)
            raise RuntimeError("here")

    with pytest.raises(RuntimeError, match="here"):
        fail_here()
    assert eventually(lambda: not alive(int((tmp_path / "mark").read_text())))


@CORES
def test_the_other_leaves_when_this_one_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom test_beside import stay\n"
        "from robot_pt.recipes.beside import beside\n"
        "if __name__ == '__main__':\n"
        f"    with beside(stay, Path({str(tmp_path / 'mark')!r}), log=Path({str(tmp_path / 'other.log')!r})):\n"
        "        time.sleep(120)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    main = subprocess.Popen([sys.executable, str(script)], env=environment)
    try:
        assert eventually(lambda: (tmp_path / "mark").exists() and (tmp_path / "mark").read_text())
    finally:
        main.send_signal(signal.SIGKILL)
        main.wait()
    other = int((tmp_path / "mark").read_text())
    assert eventually(lambda: not alive(other))
