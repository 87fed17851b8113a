import json

import numpy as np
import pytest

from robot_pt.errors import DataError, UserError
from robot_pt.tasks import SPARE_SLOTS, TaskTable


def test_slots_follow_the_sorted_union_with_sixteen_spare():
    table = TaskTable.of(["stack", "lift", "stack", "door"])
    assert table.names == ("door", "lift", "stack")
    assert table.slots == 3 + SPARE_SLOTS == 19
    assert [table[n] for n in table.names] == [0, 1, 2]


def test_filling_never_moves_a_slot():
    table = TaskTable.of(["stack", "lift"])
    before = {n: table[n] for n in table.names}
    assert table.fill("aaa sorts first") == 2
    assert table.fill("lift") == before["lift"]
    assert {n: table[n] for n in before} == before
    assert table.names[-1] == "aaa sorts first"


def test_a_full_table_refuses_new_names_only():
    table = TaskTable.of(["a"], spare=1)
    table.fill("b")
    assert table.fill("a") == 0
    with pytest.raises(UserError, match="no free slot for task 'c'"):
        table.fill("c")


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(UserError, match="'lift'"):
        TaskTable.of(["lift"])["lfit"]
    with pytest.raises(UserError, match="and 2 more"):
        TaskTable.of([str(i) for i in range(10)])["x"]


def test_json_round_trip_keeps_order_and_free_slots():
    table = TaskTable.of(["b", "c"])
    table.fill("a")
    again = TaskTable.from_json(json.loads(json.dumps(table.to_json())))
    assert again.names == ("b", "c", "a")
    assert again.slots == table.slots
    np.testing.assert_array_equal(again.lookup(["a", "b", "a"]), [2, 0, 2])
    assert "a" in again
    assert "d" not in again


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"names": "abc", "slots": 3},
        {"names": [1], "slots": 3},
        {"names": ["a"], "slots": "3"},
        {"names": ["a"], "slots": True},
        {"names": ["a"], "slots": 10**12},
        {"names": ["a", "b"], "slots": 1},
        {"names": ["a", "a"], "slots": 3},
    ],
)
def test_damaged_json_is_a_data_error(values):
    with pytest.raises(DataError):
        TaskTable.from_json(values)


def test_a_task_in_some_place_is_the_task_unless_the_place_has_a_name_of_its_own() -> None:
    table = TaskTable.of(["open", "open@2", "shut"])
    assert [table[name] for name in ("open", "open@2", "open@3", "shut@9")] == [0, 1, 0, 2]
    assert "shut@1" in table
    assert table.fill("shut@1") == 2
    assert "push@1" not in table
    with pytest.raises(UserError, match="'push@1' is not in the run's task table"):
        table["push@1"]
    assert table.fill("push@1") == 3
    assert table.names == ("open", "open@2", "shut", "push@1")
