"""Kitchen tasks go the ways that every other task goes."""

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.simulated import version_in
from robot_pt_sim import collect, expert, make, rollouts, task_names
from robot_pt_sim.experts import ScriptedExpert
from robot_pt_sim.kitchen.experts import Habit, kitchen_phases
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
        (f"{CARROT}@-1", {}, "there is no scene -1; choose one of: 1, 2, 3, 4, 5, 6"),
        (f"{CARROT}@", {}, "there is no scene ''; choose one of: 1, 2, 3, 4, 5, 6"),
        (f"{CARROT}@2", {"scene": 3}, "is given as '2' and 3; give one number, as in kitchen/put-carrot-on-plate@1"),
        ("lift@2", {}, "lift has one scene; leave scene 2 out"),
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


@pytest.mark.parametrize("style", ["clean", "hesitant"])
@pytest.mark.parametrize("task", [f"{CARROT}@3", "kitchen/open-drawer@4", "kitchen/take-lid-off-pot"])
def test_what_an_expert_drew_is_in_the_log(task, style):
    """A script made from the log alone asks for what was recorded, but for the noise whose deviation is told, and the pauses."""
    recorded = []
    report = collect(task, 1, recorded.append, workers=1, camera=(), noise={style: 1.0}, seed=5)
    (episode,) = recorded
    log, asked = episode.metadata["expert"], np.asarray(episode.requested_actions)
    phases = kitchen_phases(check_variant(task, {}), Habit(**log["habit"]))
    again = ScriptedExpert(phases, max_step_m=0.05, speed=log["speed"])
    pauses = {at + k for at, steps in log["pauses"] for k in range(steps)}
    assert (style == "clean") == (log["noise_m"] == 0) == (not pauses)
    simulator = make(task, camera=(), seed=5)
    for step in range(len(episode)):
        if step not in pauses:
            wanted = again(simulator.state())
            np.testing.assert_allclose(wanted[:3], asked[step, :3], atol=5 * log["noise_m"] + 2e-4)
        simulator.step(asked[step])
    assert report.rejected_starts == episode.metadata["initial_conditions"]["rejected_starts"]


def test_where_a_failure_went_wrong_is_in_the_log():
    told = {"drop": "lifted_steps", "give_up": "stays_steps"}
    episodes = []
    collect(CARROT, 12, episodes.append, workers=1, camera=(), noise="failed", strength=0.0)
    assert {"beside", "misplace"} <= {episode.metadata["flaw"] for episode in episodes}
    for episode in episodes:
        log, flaw = episode.metadata["expert"]["flaw"], episode.metadata["flaw"]
        assert told.get(flaw, "offset_m") in log
        if flaw == "beside":
            closing = int(np.argmax(np.asarray(episode.requested_actions)[:, 6] < 0.5))
            carrot = np.array(episode.metadata["object_positions"]["carrot"][closing])
            away = np.asarray(episode.proprio)[closing, :2] - carrot[:2]
            assert np.linalg.norm(away - log["offset_m"][:2]) < 0.02


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
