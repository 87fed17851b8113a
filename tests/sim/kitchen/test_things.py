import numpy as np
import pytest

from robot_pt.robots import load
from robot_pt.rotations import rpy_to_matrix
from robot_pt_sim.kitchen.things import THINGS


def corners(part):
    """(N, 3) points of a part's outline in the frame of its thing, none of them inside it by more than 2 percent."""
    a, *rest = part.size
    if part.shape == "box":
        points = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * part.size
    else:
        turns = 2 * np.pi * np.arange(32) / 32
        circle = np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
        if part.shape == "ellipsoid":
            points = np.concatenate([circle * part.size, [[0, 0, rest[1]], [0, 0, -rest[1]]]])
        else:
            ends = [circle * a + [0, 0, z] for z in (rest[0], -rest[0])]
            poles = [[[0, 0, z * (rest[0] + a)] for z in (1, -1)]] if part.shape == "capsule" else []
            points = np.concatenate([*ends, *poles])
    return points @ rpy_to_matrix(part.rpy).T + np.array(part.position)


def test_there_are_enough_of_them():
    assert len(THINGS) >= 16
    assert sum(bool(thing.opening_m) for thing in THINGS.values()) >= 4


@pytest.mark.parametrize("name", THINGS)
def test_sizes_in_the_table_are_those_of_the_shapes(name):
    thing = THINGS[name]
    points = np.concatenate([corners(part) for part in thing.parts])
    assert abs(points[:, 2].min()) < 2e-4, "its frame is at its lowest point"
    assert points[:, 2].max() == pytest.approx(thing.height_m, abs=0.007)
    reach = np.linalg.norm(points[:, :2], axis=1).max()
    assert reach < thing.radius_m + 0.004, "the circle round it is too small"
    assert 0.01 <= thing.mass_kg <= 0.15


@pytest.mark.parametrize("name", [name for name, thing in THINGS.items() if not thing.opening_m])
def test_fingers_open_wider_than_what_they_close_on(name):
    """Across the hold, everything that the fingertips pass on their way down."""
    thing, arm = THINGS[name], load("wx250s")
    q = arm.home_rad
    tips = arm.points(q, 1.0)
    gap = np.linalg.norm(tips["left_finger"] - tips["right_finger"]) - 0.012  # a finger is 12 mm thick
    x, y, z = thing.hold.at
    held = [corners(part) for part in thing.parts if abs(part.position[0] - x) < 0.0125]
    above = np.concatenate([c for c in held if c[:, 2].max() > z - 0.0144])
    assert 2 * np.abs(above[:, 1] - y).max() < gap - 0.004
