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
from robot_pt_sim.kitchen.splits import Split
from robot_pt_sim.kitchen.tasks import find_kitchen
from robot_pt_sim.kitchen.twin import KitchenSimulator

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ptr_aim
import ptr_arrangements
import ptr_look
import ptr_told


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
    policy = ptr_look.LookingPolicy(ptr_aim.AimedPolicy(inner), look.extractors(), look.kind)
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


def test_places_are_told_from_where_the_hand_is_and_turned() -> None:
    names = ("x", "y", "z", "roll", "pitch", "yaw", "gripper", "thing_x", "thing_y", "thing_z", "thing_cos", "thing_sin", "goal_x", "goal_y", "goal_z")  # fmt: skip
    state = np.zeros((1, len(names)), np.float32)
    for name, value in {
        "x": 0.2,
        "y": 0.1,
        "yaw": np.pi / 2,
        "thing_x": 0.2,
        "thing_y": 0.15,
        "thing_cos": -1.0,
        "goal_x": 0.3,
    }.items():
        state[0, names.index(name)] = value
    told = dict(zip(ptr_told.NAMES, ptr_told.places(state, names)[0], strict=True))
    assert (told["thing_ahead"], told["thing_aside"]) == pytest.approx((0.05, 0.0), abs=1e-6)
    assert (told["goal_ahead"], told["goal_aside"]) == pytest.approx((-0.1, -0.1), abs=1e-6)
    assert (told["yaw_cos"], told["yaw_sin"]) == pytest.approx((-1.0, 0.0), abs=1e-6), "a quarter turn, twice"


def test_a_camera_that_changes_changes_its_own_features_alone(source, tmp_path) -> None:
    both, wrist = look_of("primary", "wrist"), look_of("wrist", "wrist")
    one, other = (look.through(source, tmp_path).proprio for look in (both, wrist))
    np.testing.assert_array_equal(one[:, 7 + 16 :], other[:, 7 + 16 :])
    assert np.abs(one[:, 7:23] - other[:, 7:23]).max() > 0.1


def test_arrangements_show_things_where_they_are_told_and_are_made_once(source, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        ptr_arrangements, "SPLITS", {"a": Split(("kitchen/put-carrot-on-plate@1", "kitchen/open-door@1"), ())}
    )
    monkeypatch.setattr(ptr_arrangements, "EACH", 2)
    found = ptr_arrangements.Arrangements(source.spec, tmp_path)
    assert found.episodes.task == ["kitchen/put-carrot-on-plate"] * 2, "doors have no arrangements"
    assert found.images(np.arange(4), "wrist", ptr_look.SIZE).shape == (4, 64, 64, 3)
    simulator = KitchenSimulator(find_kitchen("kitchen/put-carrot-on-plate@1"), cameras=())
    for episode in range(2):
        simulator.reset(ptr_arrangements.FIRST_SEED + episode)
        carrot = simulator.state().objects["carrot"].position
        np.testing.assert_allclose(found.actions[2 * episode, :3], carrot, atol=1e-6)
    assert np.linalg.norm(found.proprio[1, :3] - found.proprio[0, :3]) > 0.005, "the hand went somewhere"
    before = (tmp_path / "arrangements.npz").stat().st_mtime_ns
    again = ptr_arrangements.Arrangements(source.spec, tmp_path)
    np.testing.assert_array_equal(again.actions, found.actions)
    assert (tmp_path / "arrangements.npz").stat().st_mtime_ns == before
