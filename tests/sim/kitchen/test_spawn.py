import numpy as np
import pytest

from robot_pt_sim.kitchen import spawn
from robot_pt_sim.kitchen.fixtures import unit_box
from robot_pt_sim.kitchen.layouts import LAYOUTS, find_layout
from robot_pt_sim.kitchen.model import COUNTER
from robot_pt_sim.kitchen.tasks import find_kitchen, tasks_of
from robot_pt_sim.kitchen.things import THINGS


def drawn(name, seed, fits=lambda starts: True):
    task = find_kitchen(f"kitchen/{name}")
    return task, spawn.draw(task, find_layout(task.scene), np.random.default_rng(seed), fits)


@pytest.mark.parametrize("scene", LAYOUTS)
def test_every_task_of_every_scene_has_room(scene):
    layout = find_layout(scene)
    for task in tasks_of(scene).values():
        for seed in range(5):
            starts = spawn.draw(task, layout, np.random.default_rng(seed), lambda starts: True).starts
            assert set(starts) == set(task.things)
            for name, start in starts.items():
                inside = layout.free if name in task.needed else COUNTER
                assert inside.x[0] <= start.x <= inside.x[1]
                assert inside.y[0] <= start.y <= inside.y[1]
                taken = [layout.sink, layout.stove, *([unit_box(layout)] if task.fixture else [])]
                assert min(spawn.distance_to(box, start.x, start.y) for box in taken) > 0


def test_things_keep_apart_and_the_one_to_take_more_so():
    for seed in range(20):
        _, (starts, _) = drawn("put-egg-in-bowl", seed)
        names = list(starts)
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                one, other = starts[first], starts[second]
                apart = np.hypot(one.x - other.x, one.y - other.y)
                circles = sum(THINGS[n].opening_m or min(THINGS[n].radius_m, 0.030) for n in (first, second))
                assert apart > circles + (0.020 if "egg" in (first, second) else 0.012) - 1e-12


def test_an_arrangement_that_does_not_fit_is_drawn_again_and_counted():
    answers = iter([False, False, True])
    _, (starts, rejected) = drawn("put-egg-in-bowl", 3, lambda starts: next(answers))
    assert rejected >= 2
    assert starts
    with pytest.raises(AssertionError, match="no room for egg, bowl"):
        drawn("put-egg-in-bowl", 3, lambda starts: False)


def test_the_seed_decides():
    assert drawn("put-egg-in-bowl", 3)[1] == drawn("put-egg-in-bowl", 3)[1] != drawn("put-egg-in-bowl", 4)[1]


def test_a_lid_to_be_taken_off_starts_on_its_pot():
    for seed in range(5):
        _, (starts, _) = drawn("take-lid-off-pot", seed)
        lid, pot = starts["lid"], starts["pot"]
        assert (lid.x, lid.y) == (pot.x, pot.y)
        assert 0.03 < lid.height < THINGS["pot"].height_m


def test_handles_point_at_the_robot():
    yaws = [drawn("put-pot-on-stove", seed)[1].starts["pot"].yaw for seed in range(20)]
    assert np.abs(yaws).max() <= spawn.HANDLE_YAW
    assert np.ptp(yaws) > 0.5


def test_a_start_is_a_pose_over_the_counter():
    x, y, z, *quaternion = spawn.Start(0.2, 0.1, np.pi / 2).qpos()
    assert (x, y) == (0.2, 0.1)
    assert z == pytest.approx(-0.019)
    np.testing.assert_allclose(quaternion, [np.sqrt(0.5), 0, 0, np.sqrt(0.5)])


def test_distance_to_a_box():
    box = LAYOUTS[1].sink
    x, y = box.centre
    assert spawn.distance_to(box, x, y) == 0
    assert spawn.distance_to(box, box.x[1] + 0.03, box.y[1] + 0.04) == pytest.approx(0.05)
