"""Pools of actor processes: started, started again, given up, asked to end; on this machine and through Ray."""

import os
import signal
import sys
import time

import pytest

from robot_pt.errors import MissingExtraError, UserError
from robot_pt.online.actor import lock_of, store_of
from robot_pt.online.locks import held
from robot_pt.online.pools import LocalStarter, RobotCrew, SupervisedPool
from robot_pt.store import DemoStore
from tests.online.toys import STATE, make_episode


def script(run, index: int, body: str) -> list[str]:
    return [sys.executable, "-c", f"import time, os\nRUN, I = {str(run)!r}, {index}\n{body}"]


def until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_one_that_dies_is_started_again_and_said(tmp_path) -> None:
    starter = LocalStarter()
    pool = SupervisedPool(tmp_path, [script(tmp_path, 0, "time.sleep(60)")], [1], starter, pause_s=0.0)
    try:
        pool.start()
        first = starter.pid(0)
        os.kill(first, signal.SIGKILL)
        until(lambda: not starter.running(0))
        (sentence,) = pool.check()
        assert "actor 0 was killed by SIGKILL and is started again" in sentence
        assert starter.running(0)
        assert starter.pid(0) != first
        assert not pool.finished()
    finally:
        pool.stop()
    assert not starter.running(0)


def test_one_that_cannot_live_is_given_up_with_its_log(tmp_path) -> None:
    starter = LocalStarter()
    pool = SupervisedPool(
        tmp_path, [script(tmp_path, 0, "print('no GPU', flush=True); os._exit(3)")], [1], starter, pause_s=0.0
    )
    pool.start()

    def tried() -> bool:
        pool.check()
        return False

    with pytest.raises(UserError, match=r"actor 0 died 5 times in a row without an episode; see .*actor_0.log"):
        until(tried)
    assert (tmp_path / "logs" / "actor_0.log").read_text().count("no GPU") == 5
    pool.stop()


def test_one_whose_share_is_done_is_left_alone(tmp_path) -> None:
    store = DemoStore.create(store_of(tmp_path, 0), STATE)
    starter = LocalStarter()
    pool = SupervisedPool(tmp_path, [script(tmp_path, 0, "time.sleep(60)")], [1], starter)
    store.append(make_episode(0))
    pool.start()
    assert not starter.running(0)
    assert pool.finished()


def test_one_that_outlived_its_learner_is_not_doubled(tmp_path) -> None:
    starter = LocalStarter()
    pool = SupervisedPool(tmp_path, [script(tmp_path, 0, "time.sleep(60)")], [1], starter, pause_s=0.0)
    try:
        with held(lock_of(tmp_path, 0), "actor 0"):
            pool.start()
            assert not starter.running(0)
        pool.check()
        assert starter.running(0)
    finally:
        pool.stop()


def test_one_that_ignores_being_asked_is_killed(tmp_path) -> None:
    starter = LocalStarter()
    body = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(RUN + '/up', 'w').close(); time.sleep(60)"
    )
    starter.start(0, script(tmp_path, 0, body), tmp_path / "log")
    until((tmp_path / "up").exists)
    began = time.monotonic()
    starter.end(0.3)
    assert not starter.running(0)
    assert time.monotonic() - began < 20


def test_a_robot_s_episodes_have_no_end_of_their_own(tmp_path) -> None:
    robot = RobotCrew(tmp_path)
    assert robot.check() == []
    assert not robot.finished()
    assert robot.reported_steps() == 0


def test_ray_runs_ends_and_reports_actors(tmp_path) -> None:
    pytest.importorskip("ray", reason="actors over many machines: pip install 'robot-pt[scale]'")
    from robot_pt.online.ray_starter import RayStarter

    starter = RayStarter(None)
    body = "open(RUN + '/up%d' % I, 'w').close(); time.sleep(600 if I else 0)\nif not I: os._exit(4)"
    pool = SupervisedPool(tmp_path, [script(tmp_path, i, body) for i in range(2)], [1, 1], starter, pause_s=1e9)
    try:
        pool.start()
        until(lambda: (tmp_path / "up0").exists() and (tmp_path / "up1").exists(), 120)
        until(lambda: not starter.running(0), 60)
        assert starter.exit_code(0) == 4
        assert starter.running(1)
        assert "ended with code 4" in pool.check()[0]
    finally:
        pool.stop()
    assert not starter.running(1)
    import ray

    ray.shutdown()


def test_without_ray_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    from robot_pt.online.ray_starter import RayStarter

    with pytest.raises(MissingExtraError, match=r"robot-pt\[scale\]"):
        RayStarter()
