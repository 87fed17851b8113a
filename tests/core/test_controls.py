"""Controls see nothing, or act on nothing, and are picklable for rollout workers."""

import pickle

import numpy as np
import pytest

from robot_pt.controls import ImageBlanked, OpenLoopReplay, blanked, mean_images, replay
from robot_pt.errors import DataError
from robot_pt.schema import EpisodeTable, Observation, Spec


class Looking:
    """Acts on the brightness of every camera and on proprioception."""

    version = "looking-1"

    def __init__(self):
        self.task = None

    def reset(self, task):
        self.task = task

    def act(self, history):
        return np.array([[float(i.mean()) for i in h.images.values()] + [h.proprio[0]] for h in history], np.float32)


class Source:
    """Two episodes of 3 and 2 steps; a frame's brightness is 10 x its step."""

    spec = Spec(cameras={"primary": (4, 4)}, embodiment="panda")
    episodes = EpisodeTable(
        start=np.array([0, 3]), length=np.array([3, 2]), instruction=["", ""], task=["t", "t"],
        success=np.array([1, 0], np.int8), dataset=["d", "d"], split=["train", "train"], operator=["scripted"] * 2,
    )  # fmt: skip
    actions = np.arange(35, dtype=np.float32).reshape(5, 7)
    proprio = np.zeros((5, 7), np.float32)

    def images(self, steps, camera, size=None):
        return np.stack([np.full((4, 4, 3), 10 * s, np.uint8) for s in steps])


def observation(brightness, x):
    images = {"primary": np.full((4, 6, 3), brightness, np.uint8), "wrist": np.full((2, 2, 3), brightness, np.uint8)}
    return Observation(images=images, proprio=np.full(7, x, np.float32))


def test_blanked_policy_answers_the_same_whatever_the_cameras_show():
    policy = ImageBlanked(Looking(), {"primary": np.full((8, 12, 3), 50, np.uint8)})
    policy.reset("lift")
    dark, bright = policy.act([observation(0, 1.0)]), policy.act([observation(255, 1.0)])
    np.testing.assert_array_equal(dark, bright)
    np.testing.assert_allclose(dark, [[50, 0, 1]])  # the mean image resized; black where none was given


def test_blanked_policy_still_feels_where_the_arm_is():
    policy = ImageBlanked(Looking())
    assert policy.act([observation(9, 0.25), observation(9, 0.5)])[:, -1].tolist() == [0.25, 0.5]


def test_blanked_policy_passes_the_task_and_tells_its_version():
    inner = Looking()
    policy = ImageBlanked(inner)
    policy.reset("door")
    assert inner.task == "door"
    assert policy.version == "looking-1+blanked"


def test_blanking_leaves_the_observation_itself_alone():
    seen = observation(200, 0.0)
    ImageBlanked(Looking()).act([seen])
    assert seen.images["primary"].mean() == 200


def test_replay_plays_the_episode_then_holds():
    make = pickle.loads(pickle.dumps(replay(Source(), 1)))
    policy = make()
    for _ in range(2):
        policy.reset(None)
        played = np.concatenate([policy.act([]) for _ in range(5)])
        np.testing.assert_array_equal(played[:2], Source.actions[3:5])
        np.testing.assert_array_equal(played[2:], np.tile([0, 0, 0, 0, 0, 0, Source.actions[4, -1]], (3, 1)))
    assert played.dtype == np.float32


@pytest.mark.parametrize("episode", [-1, 2])
def test_replay_of_an_episode_that_is_not_there(episode):
    with pytest.raises(DataError, match="give 0 to 1"):
        replay(Source(), episode)


@pytest.mark.parametrize("actions", [np.zeros((0, 7)), np.zeros(7), np.full((2, 7), np.nan)])
def test_replay_needs_finite_actions(actions):
    with pytest.raises(DataError, match="open-loop replay needs"):
        OpenLoopReplay(actions)


def test_blanked_factory_is_picklable_and_makes_a_new_policy_each_time():
    make = pickle.loads(pickle.dumps(blanked(OpenLoopFactory(), {"primary": np.zeros((2, 2, 3), np.uint8)})))
    first, second = make(), make()
    assert first is not second
    assert first.version == "open-loop-replay+blanked"


class OpenLoopFactory:
    def __call__(self):
        return OpenLoopReplay(np.zeros((1, 7), np.float32))


def test_mean_image_is_the_mean_of_all_frames_when_few():
    assert np.unique(mean_images(Source(), ["primary"])["primary"]).tolist() == [20]


def test_mean_image_samples_only_the_episodes_shown():
    class Second(Source):
        episodes = Source.episodes.select([1])

    assert np.unique(mean_images(Second(), ["primary"], frames=9)["primary"]).tolist() == [35]


def test_mean_image_of_nothing():
    class Empty(Source):
        episodes = Source.episodes.select(np.zeros(0, np.int64))

    with pytest.raises(DataError, match="at least one step"):
        mean_images(Empty(), ["primary"])
