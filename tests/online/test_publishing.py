"""Publishing: whole, checked, never a bad one; a full disk and a kill leave the last good policy; one command back."""

import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt import checkpoint
from robot_pt.errors import DataError, UserError
from robot_pt.online import serving
from robot_pt.online.policies import Exploring, ServedPolicy
from robot_pt.online.publishing import CheckLimits, Publisher, check_actions
from robot_pt.online.serving import read_serving, release, rollback, versions
from robot_pt.policy import Policy
from robot_pt.replay import to_device
from robot_pt.schema import Batch, Observation
from tests.online.toys import STATE


@pytest.fixture
def observations(store, tasks, reward, episode) -> Batch:
    from robot_pt.online.replay import OnlineReplay

    name = store.append(episode(0, steps=12))
    replay = OnlineReplay(
        {},
        online=1.0,
        spec=STATE,
        cameras=(),
        image_size=(0, 0),
        batch_size=16,
        reward=reward,
        gamma=0.9,
        task_table=tasks,
        seed=0,
    )
    replay.append(store.read(name), store.path / name)
    return to_device(replay.batch(0, 1), "cpu")


def events(run) -> list[dict]:
    return [json.loads(line) for line in (run / "publications.jsonl").read_text().splitlines()]


def nudge(agent, by: float = 0.01) -> None:
    with torch.no_grad():
        for weight in agent.acting.parameters():
            weight += by


def action(run) -> np.ndarray:
    policy = Policy.load(run)
    policy.reset("go")
    return policy.act([Observation({}, np.array([1.0, 2.0], np.float32))])


def test_what_is_published_is_what_acts(tmp_path, agent, record, observations) -> None:
    publisher = Publisher(tmp_path, record)
    assert publisher.publish(5, agent, observations)
    now = read_serving(tmp_path)
    assert (now.number, now.step, now.held) == (1, 5, False)
    assert Policy.load(now.path(tmp_path)).version == now.version == Policy.load(tmp_path).version
    before = action(tmp_path)
    nudge(agent)
    assert publisher.publish(6, agent, observations)
    assert read_serving(tmp_path).number == 2
    assert not np.array_equal(action(tmp_path), before)
    assert checkpoint.resolve(tmp_path) == (tmp_path / "versions" / "000002").resolve()
    assert [e["event"] for e in events(tmp_path)] == ["published", "published"]
    assert events(tmp_path)[1]["check"]["change"] > 0
    assert events(tmp_path)[1]["check"]["observations"] == 16


class Killed(BaseException):
    """The process is gone."""


def test_what_was_killed_between_serving_and_noting_is_noted_by_the_next_learner(
    tmp_path, agent, record, observations, monkeypatch
) -> None:
    """Every action is traced to its version by publications.jsonl; a line that the kill tore spoils none after it."""

    def torn(run, event) -> None:
        with (run / "publications.jsonl").open("ab") as file:
            file.write(b'{"event": "publ')
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("robot_pt.online.publishing.note", torn)
        with pytest.raises(Killed):
            Publisher(tmp_path, record).publish(5, agent, observations)
    served = read_serving(tmp_path)
    again = Publisher(tmp_path, record)
    nudge(agent)
    assert again.publish(6, agent, observations)
    Publisher(tmp_path, record)
    first, *whole = (tmp_path / "publications.jsonl").read_text().splitlines()
    assert first == '{"event": "publ'
    assert [json.loads(line)["version"] for line in whole] == [served.version, again.serving.version]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_published(tmp_path, agent, record, observations, bad: float) -> None:
    publisher = Publisher(tmp_path, record)
    publisher.publish(1, agent, observations)
    good = action(tmp_path)
    with torch.no_grad():
        agent.actor.mean.bias[0] = bad
    assert not publisher.publish(2, agent, observations)
    assert "update 2 was not published: its weight mean.bias is NaN or infinite" in publisher.trouble
    assert read_serving(tmp_path).number == 1
    assert np.array_equal(action(tmp_path), good)
    assert versions(tmp_path) == [1]
    assert events(tmp_path)[-1]["event"] == "refused"


def test_actions_that_overflow_are_refused_though_every_weight_is_finite(tmp_path, agent, record, observations) -> None:
    publisher = Publisher(tmp_path, record)
    publisher.publish(1, agent, observations)
    with torch.no_grad():
        for layer in (agent.actor.body[0], agent.actor.body[2], agent.actor.body[4], agent.actor.mean):
            layer.weight.fill_(3e38)
    assert not publisher.publish(2, agent, observations)
    assert "not finite" in publisher.trouble
    assert read_serving(tmp_path).number == 1


def test_limits_refuse_actions_at_the_bounds_and_sudden_changes(tmp_path, agent, record, observations) -> None:
    publisher = Publisher(tmp_path, record, CheckLimits(bound_share=0.4, change=0.5))
    assert publisher.publish(1, agent, observations)
    with torch.no_grad():
        agent.actor.mean.bias[0] = 50.0
    assert not publisher.publish(2, agent, observations)
    assert "50% of its actions" in publisher.trouble
    with torch.no_grad():
        agent.actor.mean.bias[:] = 0.9
    assert not publisher.publish(3, agent, observations)
    assert "half ranges from those of the policy that serves" in publisher.trouble
    with torch.no_grad():
        agent.actor.mean.bias[:] = 0.1
    assert publisher.publish(4, agent, observations)
    assert publisher.trouble == ""


def test_checks_in_closed_form() -> None:
    actions = torch.tensor([[0.99, 0.0], [-1.0, 0.5]])
    check = check_actions(actions, torch.zeros(2, 2), CheckLimits())
    assert check.bound_share == 0.5
    assert check.change == pytest.approx(((0.99**2 + 1 + 0.25) / 4) ** 0.5)
    assert check_actions(torch.zeros(0, 1), None, CheckLimits()).refusal == ""
    assert "not finite" in check_actions(torch.tensor([[float("nan")]]), None, CheckLimits()).refusal


def test_a_full_disk_stops_publishing_and_the_last_policy_serves_on(
    tmp_path, agent, record, observations, monkeypatch
) -> None:
    publisher = Publisher(tmp_path, record)
    publisher.publish(1, agent, observations)
    good = action(tmp_path)
    nudge(agent)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for where in ("robot_pt.checkpoint.write_tensors", "robot_pt.online.publishing.serve"):
        with monkeypatch.context() as patched:
            patched.setattr(where, full)
            assert not publisher.publish(2, agent, observations)
            assert "No space left on device; the last policy serves on" in publisher.trouble
        assert np.array_equal(action(tmp_path), good)
    assert publisher.publish(3, agent, observations)  # there is room again
    assert read_serving(tmp_path).step == 3
    assert not list((tmp_path / "versions").glob(".*"))


def full_for(monkeypatch, name: str) -> None:
    """The disk has no room for files of that name, whoever opens them."""
    opened = Path.open

    def refusing(path: Path, *args: object, **options: object):
        if path.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refusing)


def test_a_version_whose_line_the_disk_refuses_serves_and_is_noted_by_the_next(
    tmp_path, agent, record, observations, monkeypatch
) -> None:
    publisher = Publisher(tmp_path, record)
    publisher.publish(1, agent, observations)
    before = action(tmp_path)
    nudge(agent)
    with monkeypatch.context() as patched:
        full_for(patched, "publications.jsonl")
        assert publisher.publish(2, agent, observations)
        assert publisher.trouble.startswith(
            f"version 2 serves, but {tmp_path / 'publications.jsonl'} lacks its line: No space left"
        )
        assert publisher.trouble.endswith("free disk space, the next publication writes what is missing.")
        assert read_serving(tmp_path) == publisher.serving
        assert not np.array_equal(action(tmp_path), before)
        with torch.no_grad():
            agent.actor.mean.bias[0] = math.nan
        assert not publisher.publish(3, agent, observations)
        assert "update 3 was not published: its weight" in publisher.trouble  # why it does not serve, not the disk
    assert len(events(tmp_path)) == 1
    with torch.no_grad():
        agent.actor.mean.bias[0] = 0.0
    assert publisher.publish(4, agent, observations)
    assert publisher.trouble == ""
    assert [(e["event"], e["step"]) for e in events(tmp_path)] == [
        ("published", 1), ("published", 2), ("refused", 3), ("published", 4)
    ]  # fmt: skip


def test_a_pointer_that_swapped_serves_though_the_link_beside_it_could_not_follow(
    tmp_path, agent, record, observations, monkeypatch
) -> None:
    publisher = Publisher(tmp_path, record)
    publisher.publish(1, agent, observations)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "symlink_to", full)
        assert publisher.publish(2, agent, observations)
        assert f"version 2 serves, but {tmp_path / 'selected'} could not be moved: No space left" in publisher.trouble
        assert read_serving(tmp_path).number == 2
    assert publisher.publish(3, agent, observations)
    assert (tmp_path / "selected").resolve() == (tmp_path / "versions" / "000003").resolve()


def test_a_rollback_whose_line_the_disk_refuses_says_what_serves(
    tmp_path, agent, record, observations, monkeypatch
) -> None:
    publisher = Publisher(tmp_path, record)
    for step in (1, 2):
        publisher.publish(step, agent, observations)
    with monkeypatch.context() as patched:
        full_for(patched, "publications.jsonl")
        with pytest.raises(
            DataError, match=r"version 1 serves now and is held, but .*do not ask for the rollback again"
        ):
            rollback(tmp_path)
        with pytest.raises(DataError, match="version 1 serves now and is released, but"):
            release(tmp_path)
    assert (read_serving(tmp_path).number, read_serving(tmp_path).held) == (1, False)


def test_rollback_serves_the_version_before_until_it_is_released(tmp_path, agent, record, observations) -> None:
    publisher = Publisher(tmp_path, record)
    actions = []
    for step in range(3):
        publisher.publish(step, agent, observations)
        actions.append(action(tmp_path))
        nudge(agent)
    back = rollback(tmp_path)
    assert (back.number, back.step, back.held) == (2, 1, True)
    assert np.array_equal(action(tmp_path), actions[1])
    assert not publisher.publish(9, agent, observations)
    assert "held after a rollback" in publisher.trouble
    assert rollback(tmp_path).number == 1
    with pytest.raises(UserError, match="has no earlier version"):
        rollback(tmp_path)
    assert not release(tmp_path).held
    with pytest.raises(UserError, match="nothing to release"):
        release(tmp_path)
    assert publisher.publish(9, agent, observations)
    assert read_serving(tmp_path).number == 4  # numbers are never used twice
    with pytest.raises(UserError, match="published no policy"):
        rollback(tmp_path / "elsewhere")


def test_old_versions_go_the_serving_one_stays(tmp_path, agent, record, observations) -> None:
    publisher = Publisher(tmp_path, record, keep=3)
    for step in range(6):
        publisher.publish(step, agent, observations)
    assert versions(tmp_path) == [4, 5, 6]
    with pytest.raises(UserError, match="keep at least 2"):
        Publisher(tmp_path, record, keep=1)


@pytest.mark.parametrize("text", ["{", "[]", '{"number": 1}', '{"number": 1, "version": "v", "step": 1, "folder": "../x"}',
                                  '{"number": "1", "version": "v", "step": 1, "folder": "versions/000001"}'])  # fmt: skip
def test_a_damaged_pointer_is_said_and_rollback_mends_it(tmp_path, agent, record, observations, text: str) -> None:
    Publisher(tmp_path, record).publish(1, agent, observations)
    (tmp_path / "serving.json").write_text(text)
    with pytest.raises(DataError):
        read_serving(tmp_path)
    assert rollback(tmp_path).number == 1
    assert read_serving(tmp_path).number == 1


def test_a_kill_between_version_and_pointer_leaves_what_served(
    tmp_path, agent, record, observations, monkeypatch
) -> None:
    publisher = Publisher(tmp_path, record)
    publisher.publish(1, agent, observations)
    monkeypatch.setattr("robot_pt.online.publishing.serve", lambda *_: os._exit(9))
    pid = os.fork()
    if pid == 0:
        publisher.publish(2, agent, observations)
    os.waitpid(pid, 0)
    monkeypatch.undo()
    assert read_serving(tmp_path).number == 1
    (tmp_path / "versions" / ".000007.part").mkdir()
    again = Publisher(tmp_path, record)
    assert not (tmp_path / "versions" / ".000007.part").exists()
    assert again.publish(3, agent, observations)
    assert read_serving(tmp_path).number == 3


def test_an_actor_takes_a_new_version_when_it_asks(tmp_path, agent, record, observations) -> None:
    served = ServedPolicy(tmp_path, STATE)
    assert served.follow() is None
    publisher = Publisher(tmp_path, record)
    publisher.publish(1, agent, observations)
    first = served.follow()
    assert first is served.follow()
    nudge(agent)
    publisher.publish(2, agent, observations)
    second = served.follow()
    assert second.version == read_serving(tmp_path).version != first.version
    assert served.swap_s < 5
    (tmp_path / "serving.json").write_text("{")
    assert served.follow() is second
    assert "damaged" in served.trouble


def test_drawn_actions_are_the_same_for_the_same_start_and_stay_within_bounds(
    tmp_path, agent, record, observations
) -> None:
    Publisher(tmp_path, record).publish(1, agent, observations)
    policy = Policy.load(tmp_path)
    seen = [Observation({}, np.array([1.0, 2.0], np.float32))]
    calls = []

    def play(seed: int, std: float | None) -> np.ndarray:
        one = Exploring(policy, seed, std=std, on_act=lambda: calls.append(1))
        one.reset("go")
        return np.concatenate([one.act(seen) for _ in range(50)])

    assert np.array_equal(play(1, None), play(1, None))
    assert not np.array_equal(play(1, None), play(2, None))
    assert np.abs(play(1, None)).max() <= 0.2 + 1e-6
    greedy = play(1, 0)
    assert (greedy == greedy[0]).all()
    assert play(1, 0.1).std(0) == pytest.approx(0.1 * 0.2, rel=0.4)
    assert len(calls) == 7 * 50
    with pytest.raises(UserError, match="exploration noise"):
        Exploring(policy, 1, std=2.0, on_act=lambda: None)


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="check limits"):
        CheckLimits(bound_share=1.5)
    with pytest.raises(UserError, match="check limits"):
        CheckLimits(change=float("nan"))


def test_the_pointer_module_needs_no_torch() -> None:
    import subprocess
    import sys

    code = f"import sys, {serving.__name__}, robot_pt.online.hearts, robot_pt.online.alarms; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_disk_that_refuses_a_rollback_leaves_what_serves(tmp_path, agent, record, observations, monkeypatch) -> None:
    publisher = Publisher(tmp_path, record)
    for step in (1, 2):
        assert publisher.publish(step, agent, observations)

    def full(path, content) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("robot_pt.zarr_files.replace_file", full)
        with pytest.raises(
            DataError, match="No space left on device; free disk space, what served before still serves"
        ):
            rollback(tmp_path)
    assert (read_serving(tmp_path).number, read_serving(tmp_path).held) == (2, False)
    assert rollback(tmp_path).number == 1
