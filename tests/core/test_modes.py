"""Evaluating a network leaves it as it was: layer by layer, and after errors too."""

import pytest
import torch
from torch import nn

from robot_pt.networks.modes import evaluating


def network():
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Sequential(nn.BatchNorm2d(4)))
    made[3].eval()  # a part that is frozen while the rest learns
    return made


def modes(made):
    return [layer.training for layer in made.modules()]


def test_inside_all_layers_evaluate_and_afterwards_each_has_its_mode_again():
    made, other = network(), network().eval()
    before = modes(made), modes(other)
    assert set(before[0]) == {True, False}
    with evaluating(made, other):
        assert not any(modes(made) + modes(other))
    assert (modes(made), modes(other)) == before


def test_statistics_stay_and_dropout_is_off():
    made, x = network(), torch.randn(5, 3, 8, 8)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with evaluating(made), torch.no_grad():
        torch.testing.assert_close(made(x)[:1], made(x[:1]))  # no sample depends on its batch
    torch.testing.assert_close(dict(made.state_dict()), before, rtol=0, atol=0)
    made(x)
    assert not torch.equal(made.state_dict()["1.running_mean"], before["1.running_mean"])


def test_an_error_inside_restores_too():
    made = network()
    before = modes(made)
    with pytest.raises(RuntimeError, match="inside"), evaluating(made):
        raise RuntimeError("inside")
    assert modes(made) == before
