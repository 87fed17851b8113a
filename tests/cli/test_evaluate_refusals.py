"""`evaluate` says what it cannot play before any simulator starts."""

from pathlib import Path

import pytest

pytest.importorskip("mujoco")

from robot_pt.errors import MismatchError, UserError
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import evaluate
from robot_pt.safe_files import write_json
from robot_pt.schema import Spec
from robot_pt.tasks import TaskTable


def checkpoint_of(folder: Path, embodiment: str) -> Path:
    """A RUN with no weights: what is refused is refused from policy.json alone."""
    spec = Spec(cameras={"primary": (32, 32)}, embodiment=embodiment)
    network = {"cameras": ["primary"], "image_size": [32, 32]}
    record = PolicyRecord.of(agent="bc", network=network, spec=spec, tasks=TaskTable.of(["lift-red"]))
    (folder / "latest").mkdir(parents=True)
    write_json(folder / "latest" / "policy.json", record.to_json(1, "0" * 64))
    return folder


def test_another_robots_checkpoint_and_one_run_named_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def play(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be played")

    monkeypatch.setattr(evaluate, "play", play)
    run = checkpoint_of(tmp_path / "arm", "my_arm")
    with pytest.raises(MismatchError, match="trained for 'my_arm' and would drive 'panda'"):
        evaluate.evaluate_runs([run], "lift-red")
    with pytest.raises(UserError, match="name two different ones to compare"):
        evaluate.evaluate_runs([run, tmp_path / "." / "arm"], "lift-red")
