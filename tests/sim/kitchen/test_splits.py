import pytest

from robot_pt_sim.kitchen.splits import KNOWN_TASKS, NEW_TASKS, SPLITS
from robot_pt_sim.kitchen.tasks import find_kitchen


@pytest.mark.parametrize("name", SPLITS)
def test_every_entry_is_a_task_and_no_target_was_pretrained_on(name):
    pretraining, targets = SPLITS[name]
    for entry in (*pretraining, *targets):
        find_kitchen(entry)
    assert len(set(pretraining)) == len(pretraining)
    assert not set(pretraining) & set(targets)
    assert not {entry.partition("@")[2] for entry in pretraining} & {entry.partition("@")[2] for entry in targets}


def test_new_tasks_are_new_and_known_ones_known():
    seen = {entry.partition("@")[0].partition("/")[2] for entry in SPLITS["new-task-new-scene"].pretraining}
    assert not seen & set(NEW_TASKS)
    assert set(KNOWN_TASKS) <= seen
    assert len(seen) >= 24
