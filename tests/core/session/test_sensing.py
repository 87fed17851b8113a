import numpy as np
import pytest

from robot_pt.commands import ArmState
from robot_pt.errors import UserError
from robot_pt.rotations import rpy_to_matrix
from robot_pt.session.sensing import Sensed, Senses
from robot_pt.session.settings import SessionSettings

NOW = 10_000_000_000
MS = 1_000_000
Q = np.array([0.3, 0.1, 0.2, 0.0, 0.4, -1.0])


def fk(q):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rpy_to_matrix(q[3:]), q[:3]
    return pose


def senses(cameras=("primary",), **settings):
    return Senses(dict.fromkeys(cameras, (16, 24)), [f"j{i}" for i in range(6)], fk, SessionSettings(**settings))


def frame(value=0):
    out = np.full((16, 24, 3), value, np.uint8)
    out[8:] += 1
    return out


def arm(stamp, gripper=0.4, q=Q):
    return ArmState(stamp, q, gripper)


def test_an_observation_holds_frames_state_joints_and_their_times():
    seen = senses()
    assert seen.arm(arm(NOW - 10 * MS))
    assert seen.image("primary", NOW - 40 * MS, frame(7))
    sensed = seen.look(NOW)
    assert isinstance(sensed, Sensed)
    np.testing.assert_array_equal(sensed.observation.images["primary"], frame(7))
    np.testing.assert_allclose(sensed.observation.proprio, [*Q, 0.4], atol=1e-6)
    assert sensed.observation.proprio.dtype == np.float32
    np.testing.assert_allclose(sensed.observation.joint_positions, Q, atol=1e-6)
    assert sensed.observation.time_ns == NOW - 40 * MS
    assert sensed.stamps_ns == {"primary": NOW - 40 * MS, "arm": NOW - 10 * MS}
    assert sensed.ages_s == {"primary": pytest.approx(0.04), "arm": pytest.approx(0.01)}
    np.testing.assert_allclose(sensed.T_base_tool, fk(Q))


@pytest.mark.parametrize(("policy", "joint_age"), [("approx", 60), ("latest", 10)])
def test_state_is_taken_at_the_time_of_the_slowest_camera_or_newest(policy, joint_age):
    seen = senses(sync_policy=policy)
    for age in range(100, 0, -10):
        seen.arm(arm(NOW - age * MS, q=Q + age))
    for age in (95, 62):
        seen.image("primary", NOW - age * MS, frame(age))
    sensed = seen.look(NOW)
    assert sensed.stamps_ns == {"primary": NOW - 62 * MS, "arm": NOW - joint_age * MS}
    np.testing.assert_allclose(sensed.observation.joint_positions, Q + joint_age, rtol=1e-6)
    assert sensed.observation.time_ns == NOW - 62 * MS


def test_two_cameras_are_seen_at_the_time_that_both_have_reached():
    seen = senses(("primary", "wrist"))
    seen.arm(arm(NOW - 45 * MS))
    for age in (80, 47, 14):
        seen.image("primary", NOW - age * MS, frame(age))
    seen.image("wrist", NOW - 50 * MS, frame(1))
    stamps = seen.look(NOW).stamps_ns
    assert stamps == {"primary": NOW - 47 * MS, "wrist": NOW - 50 * MS, "arm": NOW - 45 * MS}


@pytest.mark.parametrize(("gripper", "seen_as"), [(-0.03, 0.0), (1.2, 1.0), (0.5, 0.5)])
def test_a_gripper_beyond_its_stops_is_at_its_stop(gripper, seen_as):
    seen = senses()
    seen.arm(arm(NOW, gripper))
    seen.image("primary", NOW, frame())
    assert seen.look(NOW).observation.proprio[6] == seen_as


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (arm(NOW, q=np.zeros(7)), "(7,) joints instead of (6,)"),
        (arm(NOW, q=np.zeros((1, 6))), "(1, 6) joints"),
        (arm(NOW, q=np.full(6, np.nan)), "NaN or Inf"),
        (arm(NOW, gripper=np.inf), "NaN or Inf"),
        (arm(0), "zero stamp"),
    ],
)
def test_a_bad_reading_is_refused_and_the_reason_reaches_the_operator(state, reason):
    seen = senses()
    assert not seen.arm(state)
    assert any(reason in name for name in seen.refused())
    assert reason in seen.look(NOW)


@pytest.mark.parametrize(
    "image",
    [np.zeros((16, 24), np.uint8), np.zeros((24, 16, 3), np.uint8), np.zeros((16, 24, 3), np.float32), np.zeros((16, 24, 4), np.uint8)],
)  # fmt: skip
def test_a_frame_that_is_not_as_announced_is_refused(image):
    seen = senses()
    seen.arm(arm(NOW))
    assert not seen.image("primary", NOW, image)
    assert sum(seen.refused().values()) == 1
    assert "instead of uint8 (16, 24, 3)" in seen.look(NOW)


def test_cameras_the_policy_does_not_look_at_are_no_matter():
    seen = senses()
    assert not seen.image("wrist", NOW, frame())
    assert seen.refused() == {}


@pytest.mark.parametrize(
    ("arm_age", "camera_age", "words"),
    [(60, 10, "the arm's joint state is 0.060 s old"), (10, 160, "camera 'primary' is 0.160 s old"), (10, 140, "")],
)
def test_an_old_source_is_named_with_its_age(arm_age, camera_age, words):
    seen = senses()
    seen.arm(arm(NOW - arm_age * MS))
    seen.image("primary", NOW - camera_age * MS, frame())
    assert seen.complaint(NOW).startswith(words)
    assert isinstance(seen.look(NOW), Sensed) == (words == "")


def test_every_camera_may_have_its_own_age_limit():
    seen = senses(("primary", "wrist"), max_obs_age_s={"wrist": 0.5})
    seen.arm(arm(NOW))
    seen.image("primary", NOW, frame())
    seen.image("wrist", NOW - 400 * MS, frame())
    assert seen.complaint(NOW) == ""


def test_an_age_limit_for_a_camera_that_is_not_there_is_refused():
    with pytest.raises(UserError, match=r"\['wirst'\].*\['primary'\]"):
        senses(max_obs_age_s={"wirst": 0.5})


def test_a_picture_that_does_not_change_is_frozen_whatever_its_stamps_say():
    seen = senses(max_frozen_s=0.5)
    for k in range(8):
        seen.arm(arm(NOW + k * 100 * MS))
        assert seen.image("primary", NOW + k * 100 * MS, frame(9))
        complaint = seen.complaint(NOW + k * 100 * MS)
        assert bool(complaint) == (k > 5)
    assert "very same picture for 0.70 s" in complaint
    seen.arm(arm(NOW + 800 * MS))
    seen.image("primary", NOW + 800 * MS, frame(10))
    assert seen.complaint(NOW + 800 * MS) == ""


def test_a_flat_picture_is_no_picture():
    seen = senses(max_frozen_s=5.0)
    assert not seen.image("primary", NOW, np.zeros((16, 24, 3), np.uint8))
    assert seen.refused() == {"primary: a flat picture": 1}
    assert senses().image("primary", NOW, np.zeros((16, 24, 3), np.uint8))  # not looked at unless asked


def test_after_clearing_an_earlier_time_may_begin():
    seen = senses(max_frozen_s=0.1)
    seen.arm(arm(NOW))
    seen.image("primary", NOW, frame())
    seen.clear()
    assert seen.arm(arm(5 * MS))
    assert seen.image("primary", 5 * MS, frame())
    assert seen.complaint(6 * MS) == ""


@pytest.mark.parametrize(("slop_s", "policy", "held"), [(0.04, "approx", True), (0.06, "approx", False), (None, "approx", False), (0.04, "latest", False)])  # fmt: skip
def test_a_source_without_a_sample_near_the_time_of_the_others_is_named(slop_s, policy, held):
    seen = senses(("primary", "wrist"), sync_slop_s=slop_s, sync_policy=policy)
    for age in range(140, 0, -10):
        seen.arm(arm(NOW - age * MS))
    seen.image("primary", NOW - 30 * MS, frame(1))
    seen.image("wrist", NOW - 80 * MS, frame(2))
    found = seen.look(NOW)
    if held:
        assert found == "primary has a sample 0.050 s from the time of the others, sync_slop_s allows 0.04 s"
        seen.image("wrist", NOW - 10 * MS, frame(3))
        found = seen.look(NOW)
        assert isinstance(found, Sensed), found
        assert found.stamps_ns["primary"] == NOW - 30 * MS
    else:
        assert isinstance(found, Sensed), found


def test_an_arm_that_was_not_heard_when_a_frame_was_taken_is_named():
    seen = senses(sync_slop_s=0.04)
    seen.arm(arm(NOW - 160 * MS))
    seen.arm(arm(NOW - 5 * MS))
    seen.image("primary", NOW - 80 * MS, frame(1))
    assert seen.look(NOW).startswith("arm has a sample 0.075 s from")
