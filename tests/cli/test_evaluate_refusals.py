"""`evaluate` says what it cannot play before any simulator starts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("mujoco")

from robot_pt.errors import MismatchError, UserError
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import evaluate
from robot_pt.safe_files import write_json
from robot_pt.schema import Spec
from robot_pt.tasks import TaskTable


def checkpoint_of(folder: Path, embodiment: str, tasks: Sequence[str] = ("lift-red",)) -> Path:
    """A RUN with no weights: what is refused is refused from policy.json alone."""
    spec = Spec(cameras={"primary": (32, 32)}, embodiment=embodiment)
    network = {"cameras": ["primary"], "image_size": [32, 32]}
    record = PolicyRecord.of(agent="bc", network=network, spec=spec, tasks=TaskTable.of(tasks))
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


def test_a_task_the_run_has_another_name_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Played(Exception):
        pass

    def play(factory: object, *_: object, settings: object, **__: object) -> None:
        asked.append(settings)
        raise Played

    monkeypatch.setattr(evaluate, "play", play)
    run = checkpoint_of(tmp_path / "bridge", "widowx250s", ["put carrot on plate", "open drawer"])
    task = "kitchen/put-carrot-on-plate@3"
    with pytest.raises(UserError, match=r"it knows 'open drawer', 'put carrot on plate': say by --known-as which"):
        evaluate.evaluate_runs([run], task)
    with pytest.raises(UserError, match="knows no task 'put carrots on plate'"):
        evaluate.evaluate_runs([run], task, known_as="put carrots on plate")
    with pytest.raises(Played):
        evaluate.evaluate_runs([run], task, known_as="put carrot on plate")
    assert asked[0]["known as"] == "put carrot on plate"  # type: ignore[index]
    with pytest.raises(Played):  # of two, one may know it by the simulator's
        evaluate.evaluate_runs(
            [checkpoint_of(tmp_path / "twin", "widowx250s", [task[:-2]]), run], task, known_as="put carrot on plate"
        )
    assert "known as" not in asked[1]  # type: ignore[operator]


def test_the_policy_is_asked_for_the_task_by_its_own_name() -> None:
    class Knowing:
        version, window, hears = "v", 1, True

        def reset(self, task: str, instruction: str) -> None:
            self.told = (task, instruction)

    knowing = Knowing()
    evaluate.KnownAs(knowing, "put carrot on plate").reset("kitchen/put-carrot-on-plate", "put the carrot on the plate")  # type: ignore[arg-type]
    assert knowing.told == ("put carrot on plate", "put the carrot on the plate")
