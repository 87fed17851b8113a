"""benchmarks/ptr_look.py: a policy that is shown frames sees what it was trained on, camera by camera, and aims."""

import sys
from pathlib import Path

import numpy as np
import pytest

from robot_pt.networks.encoders import EncoderConfig
from robot_pt.recipes.origins import Origin
from robot_pt.schema import Observation
from robot_pt.store import DemoStore
from robot_pt_sim import collect

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ptr_aim
import ptr_look


def look_of(*cameras: str) -> ptr_look.Look:
    config = EncoderConfig(name="small", latent=16)
    return ptr_look.Look(
        tuple(Origin("random", config, camera, ptr_look.SIZE, seed=n) for n, camera in enumerate(cameras))
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory):
    from robot_pt_sim.simulators import spec_of

    task, cameras = "kitchen/put-carrot-on-plate@5", ("primary", "wrist")
    store = DemoStore.create(tmp_path_factory.mktemp("look") / "demos", spec_of(task, cameras, (96, 96)))
    collect(task, 1, store, workers=1, camera=cameras, image_size=(96, 96))
    return store.source()


class Imitator:
    """Aims as the demonstration did, and keeps what it saw."""

    version, window = "imitator", 1

    def __init__(self, actions):
        self._actions, self.shown = iter(actions), []

    def reset(self, task) -> None:
        pass

    def act(self, history):
        self.shown.append(history[-1].proprio)
        return next(self._actions)[None]


def test_a_policy_sees_what_it_was_trained_on_and_aims(source, tmp_path) -> None:
    look = look_of("primary", "wrist")
    through = look.through(source, tmp_path)
    assert through.proprio.shape[1] == 7 + 2 * 16
    assert through.spec.cameras == {}
    inner = Imitator(through.actions)
    policy = ptr_look.LookingPolicy(ptr_aim.AimedPolicy(inner), look.eyes())
    policy.reset(None)
    size, rows = source.spec.cameras["wrist"], np.arange(len(source.actions))
    frames = {camera: source.images(rows, camera, size) for camera in source.spec.cameras}
    ordered = [
        policy.act([Observation({camera: seen[row] for camera, seen in frames.items()}, source.proprio[row])])[0]
        for row in rows
    ]
    np.testing.assert_allclose(np.stack(inner.shown), through.proprio, atol=0.02)
    blind = ptr_aim.AimedPolicy(Imitator(through.actions))
    blind.reset(None)
    np.testing.assert_array_equal(ordered, [blind.act([Observation({}, row)])[0] for row in source.proprio])


def test_views_are_further_episodes_of_which_the_first_is_as_it_is(source, tmp_path) -> None:
    look = look_of("primary", "wrist")
    plain, twice = look.through(source, tmp_path), look.through(source, tmp_path, views=2)
    rows = len(plain.proprio)
    assert len(twice.episodes) == 2 * len(plain.episodes)
    np.testing.assert_array_equal(twice.proprio[:rows], plain.proprio)
    np.testing.assert_array_equal(twice.actions[rows:], plain.actions)
    np.testing.assert_array_equal(twice.proprio[rows:, :7], plain.proprio[:, :7])
    assert np.abs(twice.proprio[rows:, 7:] - plain.proprio[:, 7:]).max() > 0.1


def test_a_camera_that_changes_changes_its_own_features_alone(source, tmp_path) -> None:
    both, wrist = look_of("primary", "wrist"), look_of("wrist", "wrist")
    one, other = (look.through(source, tmp_path).proprio for look in (both, wrist))
    np.testing.assert_array_equal(one[:, 7 + 16 :], other[:, 7 + 16 :])
    assert np.abs(one[:, 7:23] - other[:, 7:23]).max() > 0.1


def test_the_gripper_is_ordered_open_or_closed(source) -> None:
    orders = np.zeros((2, 7), np.float32)
    orders[:, 6] = 0.7, 0.2
    policy = ptr_look.LookingPolicy(Imitator(orders), look_of("wrist").eyes())
    shown = Observation({"wrist": np.zeros((96, 96, 3), np.uint8)}, source.proprio[0])
    assert [policy.act([shown])[0, 6] for _ in orders] == [1.0, 0.0]
