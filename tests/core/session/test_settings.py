import pytest

from robot_pt.errors import UserError
from robot_pt.session import SessionSettings


def test_defaults_are_those_of_the_parameters():
    settings = SessionSettings()
    assert settings.max_obs_age_s == {"image": 0.15, "joint": 0.05}
    assert settings.inference_mode == "sync"


def test_ages_that_are_not_given_keep_their_defaults():
    assert SessionSettings(max_obs_age_s={"wrist": 0.3}).max_obs_age_s == {"image": 0.15, "joint": 0.05, "wrist": 0.3}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"inference_mode": "rtc"}, "sync, async"),
        ({"sync_policy": "exact"}, "approx, latest"),
        ({"chunk_execute_steps": 0}, "chunk_execute_steps is 0"),
        ({"history": 0}, "history is 0"),
        ({"max_stale_s": 0.0}, "max_stale_s is 0.0"),
        ({"max_frozen_s": -1.0}, "max_frozen_s is -1.0"),
        ({"sync_slop_s": 0.0}, "sync_slop_s is 0.0"),
        ({"max_executed_age_s": float("nan")}, "max_executed_age_s is nan"),
        ({"max_obs_age_s": {"image": float("inf")}}, "max_obs_age_s of image is inf"),
        ({"max_obs_age_s": {"joint": 0.0}}, "max_obs_age_s of joint is 0.0"),
        ({"executed_lag_s": -0.1}, "executed_lag_s is -0.1"),
        ({"same_m": float("nan")}, "same_m is nan"),
        ({"same_rad": -1e-9}, "same_rad"),
    ],
)
def test_a_value_that_cannot_be_meant_is_one_sentence(wrong, words):
    with pytest.raises(UserError) as raised:
        SessionSettings(**wrong)
    assert words in str(raised.value)
