"""Kitchen tasks go the ways that every other task goes."""

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.simulated import version_in
from robot_pt_sim import collect, expert, make, rollouts, task_names
from robot_pt_sim.simulators import check_variant, spec_of, task_and_scene, version_of

CARROT = "kitchen/put-carrot-on-plate"


def test_they_are_among_the_tasks():
    assert CARROT in task_names()
    assert "lift" in task_names()
    assert task_and_scene(f"{CARROT}@3") == (CARROT, 3)
    assert task_and_scene(CARROT) == (CARROT, 1)
    assert task_and_scene("lift") == ("lift", None)


def test_the_scene_is_part_of_the_name_or_a_variant():
    assert check_variant(f"{CARROT}@3", {}) == check_variant(CARROT, {"scene": 3})
    assert check_variant(CARROT, {"scene": 3, "horizon": 9}).horizon == 9


@pytest.mark.parametrize(
    ("task", "variant", "words"),
    [
        ("kitchen/knit", {}, "there is no task 'kitchen/knit'; choose one of: .*kitchen/put-carrot-on-plate"),
        (f"{CARROT}@7", {}, "there is no scene 7; choose one of: 1, 2, 3, 4, 5, 6"),
        (CARROT, {"placement_m": 0.1}, "placement_m cannot be changed"),
        ("lift@2", {}, "lift has one scene"),
        ("maze-u@2", {}, "maze-u has one scene"),
    ],
)
def test_what_is_unknown_is_said(task, variant, words):
    with pytest.raises(UserError, match=words):
        check_variant(task, variant)


def test_spec_and_simulator_agree():
    simulator = make(f"{CARROT}@2", render=False, image_size=(32, 48))
    assert simulator.spec == spec_of(f"{CARROT}@2", ["primary"], (32, 48))
    simulator.close()


@pytest.mark.parametrize(("rate", "every"), [(7.0, 1), (2.5, 1), (50.0, 0)])
def test_rates_that_do_not_fit_are_refused(rate, every):
    with pytest.raises(UserError, match=r"give \(5, 10, 20"):
        make(CARROT, control_hz=rate, camera_every=every)


def test_demonstrations_are_collected_with_their_scene_and_paths():
    episodes = []
    report = collect(f"{CARROT}@3", 2, episodes.append, workers=1, camera=())
    assert report.successes == 2
    for seed, episode in enumerate(episodes):
        assert (episode.task, episode.dataset, episode.success) == (CARROT, "kitchen", True)
        start = episode.metadata["initial_conditions"]
        assert (start["seed"], start["scene"]) == (seed, 3)
        assert (
            version_in("", episode.metadata)
            == version_of(CARROT)
            == ("kitchen", str(episode.metadata["controller"]["twin"]))
        )
        assert np.abs(episode.actions[:, :3]).max() <= 0.05 + 1e-6


def test_mixed_demonstrations_hold_successes_and_failures():
    episodes = []
    collect(CARROT, 12, episodes.append, workers=1, camera=(), noise="mixed")
    assert {bool(episode.success) for episode in episodes} == {True, False}
    assert len({episode.metadata["style"] for episode in episodes}) >= 3


@pytest.mark.parametrize("style", ["noisy", "hesitant", "recover", "failed"])
def test_every_style_knows_every_family(style):
    for task in (CARROT, "kitchen/open-drawer", "kitchen/take-lid-off-pot"):
        for seed in range(3):
            expert(task, noise=style, seed=seed)


class Still:
    """A policy that stays where it is."""

    version = "still"

    def reset(self, task):
        self.task = task

    def act(self, history):
        return np.array([[0, 0, 0, 0, 0, 0, 1.0]], np.float32)


def test_policies_are_rolled_out():
    (result,) = rollouts(Still, f"{CARROT}@4", [5], workers=1, camera=(), horizon=6)
    assert (result.steps, result.success, result.initial_conditions["scene"]) == (6, False, 4)
