from contextlib import closing
from functools import partial

import numpy as np
import pytest

from robot_pt.controls import ImageBlanked, OpenLoopReplay
from robot_pt.errors import UserError
from robot_pt.online.policies import Exploring
from robot_pt_sim import collect, expert, make, rollouts
from robot_pt_sim.collection import recorder_of
from robot_pt_sim.rollouts import Stage, play_episode


class Still:
    """Sees and keeps everything, asks for nothing."""

    version = "still"

    def __init__(self, chunk=2):
        self.chunk, self.histories, self.tasks = chunk, [], []

    def reset(self, task):
        self.tasks.append(task)

    def act(self, history):
        self.histories.append([seen.time_ns for seen in history])
        return np.array([[0, 0, 0, 0, 0, 0, 1]] * self.chunk, np.float32)


class Constant:
    def __init__(self, value, version="constant"):
        self.value, self.version = value, version

    def reset(self, task):
        pass

    def act(self, history):
        return self.value


class Listening(Still):
    """Is told what to do in words."""

    hears, window = True, 1

    def reset(self, task, instruction=None):
        self.tasks.append((task, instruction))

    def explore(self, history, rng, std):
        return self.act(history)


@pytest.mark.parametrize("wrap", [lambda p: p, ImageBlanked, partial(Exploring, seed=0, std=0.1, on_act=lambda: None)])
def test_what_stands_before_a_policy_hands_the_sentence_on(wrap):
    """An actor that heard the task's name would act on other words than the learner trains on."""
    simulator, policy = make("maze-u", camera=()), Listening(chunk=1)
    policy.act = lambda history: np.zeros((1, len(simulator.spec.action_names)), np.float32)
    play_episode(simulator, wrap(policy), 3, recorder_of(simulator))
    assert policy.tasks == [("maze-u", simulator.instruction)]


def run(policy, seeds, **settings):
    return list(
        rollouts(lambda: policy, "lift-red", seeds, workers=1, **{"image_size": (16, 16), "horizon": 7, **settings})
    )


def test_results_name_the_start_the_policy_and_the_outcome(backend):
    results = run(Still(), [5, 3], keep_frames=True)
    assert [result.seed for result in results] == [5, 3]
    for result in results:
        assert not result.success
        assert (result.steps, result.total_reward, result.policy_version) == (7, 0.0, "still")
        assert result.frames.shape == (7, 16, 16, 3)  # every control step
        assert result.initial_conditions["seed"] == result.seed
    assert results[0].initial_conditions["objects"] != results[1].initial_conditions["objects"]


def test_frames_are_dropped_unless_asked_for(backend):
    assert run(Still(), [1])[0].frames is None


@pytest.mark.parametrize(("play", "calls"), [(None, 4), (1, 7), (2, 4)])
def test_chunks_are_played_as_far_as_asked(backend, play, calls):
    policy = Still(chunk=2)
    run(policy, [1], play=play)
    assert len(policy.histories) == calls
    assert policy.tasks == ["lift-red"]


def test_the_history_ends_with_now_and_is_bounded(backend):
    policy = Still(chunk=1)
    run(policy, [1, 2], history=3)
    first = policy.histories[:7]
    assert [len(times) for times in first] == [1, 2, 3, 3, 3, 3, 3]
    assert all(np.diff(times).tolist() == [200_000_000] * (len(times) - 1) for times in first)
    assert len(policy.histories[7]) == 1  # a new episode has no past


def test_episodes_go_to_a_store_with_their_policy(backend):
    kept = []
    run(Still(), [1, 2], out=kept)
    assert [episode.metadata["seed"] for episode in kept] == [1, 2]
    for episode in kept:
        episode.validate()
        assert episode.operator == ["policy"] * 7
        assert episode.policy_version == "still"


def test_processes_give_the_results_of_one(backend):
    """A picklable factory; results in the order of the seeds, equal to those of this process."""
    factory = partial(OpenLoopReplay, np.array([[0.02, 0, -0.01, 0, 0, 0, 1]] * 4, np.float32))
    settings = {"image_size": (16, 16), "horizon": 6, "keep_frames": True}
    seeds, seen = [4, 9, 2, 7], []
    many = list(rollouts(factory, "lift-red", seeds, workers=2, progress=lambda *n: seen.append(n), **settings))
    one = list(rollouts(factory, "lift-red", seeds, workers=1, **settings))
    assert many == one
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for a, b in zip(many, one, strict=True):
        np.testing.assert_array_equal(a.frames, b.frames)


def test_a_simulator_that_is_kept_gives_the_results_of_a_new_one(backend):
    """Another policy before, another task between: the same starts, steps and outcomes."""
    factory = partial(Constant, np.array([[0.02, 0, -0.03, 0, 0, 0, 1]], np.float32))
    fresh = list(rollouts(factory, "lift-red", [4, 9], workers=1, image_size=(16, 16)))
    with closing(Stage(camera="primary", image_size=(16, 16))) as stage:
        before = list(stage(partial(Still, 1), "lift-red", [9]))
        kept = stage._kept
        assert list(stage(factory, "lift-red", [4, 9])) == fresh != before
        assert stage._kept is kept
        list(stage(partial(Constant, np.zeros((1, 2), np.float32)), "maze-u", [1]))
        assert list(stage(factory, "lift-red", [4, 9])) == fresh
        with pytest.raises(UserError, match="NaN or Inf"):
            list(stage(partial(Constant, np.full((1, 7), np.nan, np.float32)), "lift-red", [4]))
        assert stage._kept is None
    assert stage._kept is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.full((1, 7), np.nan), "NaN"),
        (np.zeros(7), "shape (7,)"),
        (np.zeros((0, 7)), "shape (0, 7)"),
        (np.zeros((1, 6)), "shape (6,)"),
    ],
)
def test_actions_that_cannot_be_played_are_refused(backend, value, words):
    with pytest.raises(UserError) as raised:
        run(Constant(value.astype(np.float32)), [1])
    assert words in str(raised.value)


@pytest.mark.parametrize("change", [{"play": 0}, {"history": 0}, {"camera": "overhead"}, {"weather": 1}])
def test_settings_that_cannot_be_are_refused_before_anything_runs(change):
    with pytest.raises(UserError):
        rollouts(Still, "lift-red", [1], **change)


def test_open_loop_replay_of_a_demonstration_does_not_solve_the_task(backend):
    """The demonstration's own start is solved by replaying it; the other starts ask for eyes."""
    demos = []
    collect("lift-red", 1, demos, workers=1, seed=0, image_size=(16, 16))
    actions = demos[0].actions
    replayed = [
        result.success
        for result in rollouts(partial(OpenLoopReplay, actions), "lift-red", range(12), workers=1, image_size=(16, 16))
    ]
    assert replayed[0]
    assert sum(replayed[1:]) <= 3

    simulator = make("lift-red", render=False)
    solved = 0
    for seed in range(12):
        simulator.reset(seed)
        driver = expert("lift-red", seed=seed)
        ends = (simulator.step(driver(simulator.state())) for _ in range(simulator.horizon))
        solved += any(result.terminated and result.success for result in ends)
    simulator.close()
    assert solved >= 11
