import json
from dataclasses import replace
from pathlib import Path

import pytest

from robot_pt.comparison.protocol import Cell, Outcome, Protocol, read_protocol
from robot_pt.errors import DataError, UserError


def test_the_standard_protocol_reads_and_survives_json():
    protocol = read_protocol()
    assert [d.name for d in protocol.distances] == ["in distribution", "near", "far"]
    assert Protocol.from_json(json.loads(json.dumps(protocol.to_json())), "x") == protocol
    in_data = {m.task for m in protocol.pretraining}
    assert set(protocol.distances[0].tasks) <= in_data
    assert not in_data & {t for d in protocol.distances[1:] for t in d.tasks}
    assert protocol.distance_of(protocol.distances[2].tasks[0]) == "far"
    assert max(m.episodes for m in protocol.pretraining) < 1000  # seeds of two tasks' data stay apart


@pytest.mark.parametrize("name", ["table_top", "kitchen"])
def test_the_tasks_of_the_projects_own_exist(name):
    simulators = pytest.importorskip("robot_pt_sim.simulators")
    protocol = read_protocol(Path(name))
    for task in {*protocol.tasks, *(m.task for m in protocol.pretraining)}:
        assert simulators.check_variant(task, {}).name == task.partition("@")[0]


def test_kitchens_are_near_by_the_task_and_far_by_task_and_kitchen():
    protocol = read_protocol(Path("kitchen"))
    assert read_protocol() == read_protocol(Path("table_top"))
    split = lambda names: ({n.partition("@")[0] for n in names}, {n.partition("@")[2] for n in names})  # noqa: E731
    tasks, scenes = split([m.task for m in protocol.pretraining])
    same, near, far = (split(distance.tasks) for distance in protocol.distances)
    assert same[0] <= tasks
    assert same[1] <= scenes
    assert near[0] <= tasks
    assert not near[1] & scenes
    assert not far[0] & tasks
    assert not far[1] & (scenes | near[1])


def test_a_cell_of_a_kitchen_is_one_file_in_its_folder():
    names = {Cell("atc", f"kitchen/open-drawer@{scene}", 10, 0).file for scene in (1, 2)}
    assert len(names) == 2
    assert not any("/" in name for name in names)


def test_another_protocol_comes_from_a_file(tmp_path):
    path = tmp_path / "kitchen.json"
    kitchen = {
        "name": "kitchen", "pretraining": [{"task": "a", "episodes": 3, "quality": "clean"}],
        "distances": [{"name": "near", "rule": "same", "tasks": ["b", "c"]}], "demos": [5], "online_episodes": 7,
    }  # fmt: skip
    path.write_text(json.dumps(kitchen))
    found = read_protocol(path)
    assert (found.tasks, found.demos, found.online_episodes, found.pretraining[0].quality) == (
        ("b", "c"),
        (5,),
        7,
        "clean",
    )


def test_quick_is_smaller_in_everything_that_takes_time():
    whole = replace(read_protocol(), online_episodes=30)
    quick = whole.quick()
    assert len(quick.tasks) == len(quick.distances) == 3
    for name in ("pretrain_steps", "head_updates", "scratch_updates", "evaluation_episodes", "online_episodes"):
        assert 1 <= getattr(quick, name) < getattr(whole, name)
    assert max(quick.demos) < min(whole.demos)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pretraining": []}, "one is empty"),
        ({"demos": []}, "one is empty"),
        ({"demos": [0]}, "demos"),
        ({"head_updates": 0}, "head_updates"),
        ({"online_episodes": -1}, "below what can be done"),
        ({"pretraining": [{"task": "a", "episodes": 0}]}, "below what can be done"),
        (
            {"distances": [{"name": "x", "rule": "", "tasks": ["a"]}, {"name": "y", "rule": "", "tasks": ["a"]}]},
            "twice",
        ),
        ({"distances": [{"name": "x", "rule": "", "tasks": []}]}, "one is empty"),
    ],
)
def test_what_cannot_be_compared_is_said(change, words):
    with pytest.raises(UserError, match=words):
        Protocol.from_json({**read_protocol().to_json(), **change}, "x.json")


@pytest.mark.parametrize(
    "change", [{"weather": 1}, {"distances": [{"name": "x"}]}, {"demos": "many"}, {"pretraining": 3}]
)
def test_a_file_that_is_no_protocol_is_named(change):
    with pytest.raises(DataError, match=r"x\.json"):
        Protocol.from_json({**read_protocol().to_json(), **change}, "x.json")


def test_a_cell_has_a_file_of_its_own_and_its_outcome_survives_json():
    cell = Cell("atc", "lift-red", 10, 2)
    assert cell.file == "atc-lift-red-10-2.json"
    outcome = Outcome(cell=cell, successes=3, episodes=20, online_successes=5, seconds={"all": 1.5})
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json())), "x") == outcome


@pytest.mark.parametrize(
    "change", [{"successes": 21}, {"successes": -1}, {"cell": {"method": "a"}}, {"episodes": None}]
)
def test_a_damaged_cell_is_named(change):
    whole = Outcome(cell=Cell("atc", "lift", 10, 0), successes=3, episodes=20).to_json()
    with pytest.raises(DataError, match=r"cells/x\.json"):
        Outcome.from_json({**whole, **change}, "cells/x.json")
