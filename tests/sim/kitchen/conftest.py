"""Kitchens are compiled once per session and without pictures where only physics is asked for."""

import pytest

pytest.importorskip("mujoco")


@pytest.fixture(scope="session")
def kitchen():
    """kitchen(task): a simulator without images, kept for the session."""
    from robot_pt_sim.kitchen.tasks import find_kitchen
    from robot_pt_sim.kitchen.twin import KitchenSimulator

    kept = {}

    def get(task):
        if task not in kept:
            kept[task] = KitchenSimulator(find_kitchen(f"kitchen/{task}"), render=False)
        return kept[task]

    yield get
    for simulator in kept.values():
        simulator.close()
