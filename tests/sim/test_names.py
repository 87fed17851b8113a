import pytest

from robot_pt.errors import UserError
from robot_pt_sim import make
from robot_pt_sim.kitchen.tasks import find_kitchen
from robot_pt_sim.names import no_task
from robot_pt_sim.tasks import find_task


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("kitchen/put-carot-on-plate", "kitchen/put-carrot-on-plate"),
        ("put-carrot-on-plate", "kitchen/put-carrot-on-plate"),
        ("kitchen/put-carrots-on-plate@3", "kitchen/put-carrot-on-plate"),
        ("kitchen/open-draw", "kitchen/open-drawer"),
        ("lift-rad", "lift-red"),
        ("maze-mediun", "maze-medium"),
    ],
)
def test_the_nearest_task_comes_first(given, meant):
    with pytest.raises(
        UserError, match=rf"there is no task '[^@]*' \(did you mean {meant}\?\); choose one of: lift, .*{meant}"
    ):
        make(given)


@pytest.mark.parametrize("find", [find_task, find_kitchen])
def test_nothing_near_is_not_guessed(find):
    with pytest.raises(UserError, match=r"there is no task 'kitchen/xyzzy'; choose one of: "):
        find("kitchen/xyzzy")


def test_a_prefix_is_no_likeness():
    assert "did you mean" not in str(no_task("kitchen/fly", ["kitchen/open-drawer", "lift"]))
