import numpy as np
import pytest

from robot_pt.schema import Observation, Spec
from robot_pt.simulator import StepResult
from robot_pt_sim.recording import EpisodeRecorder

SPEC = Spec(cameras={"primary": (8, 8)}, embodiment="panda")


def observation(k, joints=True):
    frame = np.full((8, 8, 3), k, np.uint8)
    return Observation(
        {"primary": frame}, np.full(7, k, np.float32), k * 100, np.full(7, k, np.float32) if joints else None
    )


def record(steps, ends, joints=True):
    recorder = EpisodeRecorder(SPEC, task="lift", instruction="lift it")
    for k in range(steps):
        last = k == steps - 1 and ends
        sent = np.full(7, 0.1 * k, np.float32)
        result = StepResult(observation(k + 1, joints), sent, float(last), last, last, False)
        recorder.add(observation(k, joints), sent + 1, result)
    return recorder


def test_each_step_holds_what_was_seen_before_its_action():
    episode = record(4, ends=True).episode(operator="scripted", metadata={"seed": 3})
    episode.validate()
    assert [int(frame[0, 0, 0]) for frame in episode.images["primary"]] == [0, 1, 2, 3]
    np.testing.assert_allclose(episode.proprio[:, 0], [0, 1, 2, 3])
    np.testing.assert_allclose(episode.requested_actions - episode.actions, 1, atol=1e-6)
    np.testing.assert_array_equal(episode.capture_time_ns, [0, 100, 200, 300])
    assert episode.operator == ["scripted"] * 4
    assert (episode.task, episode.instruction, episode.dataset) == ("lift", "lift it", "robosuite")


@pytest.mark.parametrize("ends", [True, False])
def test_the_last_step_is_terminated_or_truncated_never_both(ends):
    episode = record(3, ends).episode(operator="policy", metadata={}, policy_version="v1")
    assert episode.success is ends
    np.testing.assert_array_equal(episode.terminated, [False, False, ends])
    np.testing.assert_array_equal(episode.truncated, [False, False, not ends])
    np.testing.assert_array_equal(episode.rewards, [0, 0, float(ends)])
    assert episode.policy_version == "v1"


def test_a_step_of_somebody_else_is_under_their_name():
    recorder = record(2, ends=False)
    result = StepResult(observation(3), np.zeros(7, np.float32), 1.0, True, True, False)
    recorder.add(observation(2), np.zeros(7, np.float32), result, driver="intervention")
    episode = recorder.episode(operator="policy", metadata={})
    episode.validate()
    assert episode.operator == ["policy", "policy", "intervention"]


def test_missing_joint_positions_are_left_out():
    assert record(2, ends=True, joints=False).episode(operator="policy", metadata={}).joint_positions is None
    assert record(2, ends=True).episode(operator="policy", metadata={}).joint_positions.shape == (2, 7)


def test_an_episode_without_steps_is_our_mistake():
    with pytest.raises(AssertionError):
        EpisodeRecorder(SPEC, task="lift", instruction="").episode(operator="policy", metadata={})
