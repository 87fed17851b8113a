"""Scenes are built once per session: the first robosuite scene on a machine compiles numba kernels for 5 to 22 s."""

import importlib.util

import pytest

from robot_pt.errors import UserError


@pytest.fixture(scope="session")
def robosuite():
    if importlib.util.find_spec("robosuite") is None:
        pytest.skip("robosuite is not installed: pip install --no-deps robosuite==1.5.2")
    from robot_pt_sim.installation import import_robosuite

    return import_robosuite(render=False)


@pytest.fixture(scope="session")
def backend(robosuite):
    from robot_pt_sim.rendering import choose_backend

    try:
        return choose_backend()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def scene(robosuite):
    """scene(task): a simulator without images, kept for the session."""
    from robot_pt_sim.panda import PandaSimulator
    from robot_pt_sim.tasks import find_task

    kept = {}

    def get(task):
        if task not in kept:
            kept[task] = PandaSimulator(find_task(task), render=False)
        return kept[task]

    yield get
    for simulator in kept.values():
        simulator.close()


@pytest.fixture(scope="session")
def pictured(backend):
    """A rendering simulator of lift-green with all three cameras."""
    from robot_pt_sim import make

    simulator = make("lift-green", camera=["primary", "secondary", "wrist"], image_size=(48, 64))
    yield simulator
    simulator.close()
