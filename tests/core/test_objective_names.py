"""Objectives by name, what they ask of the data, and encoders of runs, as recipes use them."""

import dataclasses
from typing import get_args

import numpy as np
import pytest

from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.objectives import Needs
from robot_pt.recipes import encoders, objectives, reward
from robot_pt.recipes.algorithms import ALGORITHMS
from robot_pt.recipes.represent import RepresentSettings


def settings(**changes):
    standard = {
        "objective": "curl", "config": objectives.config_for("curl", steps=7, bf16=True), "encoder": EncoderConfig(name="small"),
        "camera": "primary", "image_size": (64, 48),
    }  # fmt: skip
    return RepresentSettings(**{**standard, **changes})


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_every_name_has_a_class_and_a_config_that_config_json_can_hold(name):
    kind, config = objectives.objective_class(name), objectives.config_for(name, steps=7, bf16=True)
    assert isinstance(kind.needs, Needs)
    assert (config.optim.total_steps, config.optim.bf16) == (7, True)
    written = settings(objective=name, config=config)
    assert RepresentSettings.from_json(written.to_json()) == written


def test_names_of_the_command_line_are_those_there_are():
    assert set(get_args(objectives.Representation)) == set(objectives.OBJECTIVES)
    assert set(get_args(objectives.Objective)) == set(objectives.OBJECTIVES) | set(objectives.ACTING)
    assert set(objectives.ACTING) <= set(ALGORITHMS)


def test_other_names_are_refused():
    with pytest.raises(UserError, match="no objective 'dino'; choose one of curl"):
        objectives.objective_class("dino")
    with pytest.raises(DataError, match="names objective 'dino'"):
        objectives.config_from_json("dino", {})
    with pytest.raises(DataError, match=r"config\.json is damaged"):
        RepresentSettings.from_json({**settings().to_json(), "image_size": None})
    with pytest.raises(DataError, match="CURLConfig has the fields"):
        RepresentSettings.from_json({**settings().to_json(), "config": {"heat": 1}})


def test_what_data_lacks_is_said_in_words(memory_source):
    robot, still = memory_source([3, 4], success=[1, 0]), memory_source([1, 1])
    video, trajectory = Needs("video"), Needs("trajectory", actions=True, returns=True)
    assert objectives.lacks(trajectory, [robot], False) is None
    assert objectives.lacks(video, [still], False) == "the order of frames in an episode"
    assert objectives.lacks(Needs("image"), [still], False) is None
    film = memory_source([3], action_names=(), proprio_names=())
    assert objectives.lacks(Needs("demonstration", actions=True), [robot, film], False) == "actions"
    unknown = memory_source([3, 4])
    assert "success labels" in str(objectives.lacks(trajectory, [unknown], False))
    assert objectives.lacks(trajectory, [unknown], True) is None
    unknown.rewards = np.array([0, 0, 1, 0, 0, 0, 0], np.float32)
    assert objectives.lacks(trajectory, [unknown], False) is None
    with pytest.raises(
        DataError,
        match="atc learns from the order of frames in an episode, which the toy data has none of; choose one of curl",
    ):
        objectives.require_data("atc", [still], assume_success=False)


def test_a_classifier_does_not_freeze_pooling_that_nothing_trained(monkeypatch, tmp_path):
    start = encoders.Start(
        str(tmp_path), tmp_path, "mae", EncoderConfig(name="small"), ("primary",), (32, 32), "backbone", 1, "v"
    )
    monkeypatch.setattr(encoders, "choose", lambda name: (start.config, start))
    with pytest.raises(UserError, match="random pooling of --encoder"):
        reward._encoder(str(tmp_path), True)
    assert reward._encoder(str(tmp_path), False) == (start.config, start)
    trained = dataclasses.replace(start, trains="encoder")
    monkeypatch.setattr(encoders, "choose", lambda name: (start.config, trained))
    assert reward._encoder(str(tmp_path), True)[1] == trained
    assert reward._image_size(0, trained) == (32, 32)
    with pytest.raises(MismatchError, match="is for 32x32 pixels; leave --image-size 64 out"):
        reward._image_size(64, trained)
