"""Any backbone meets any objective: ResNets with GroupNorm and vision transformers, whose every layer its gradient reaches."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from robot_pt.clips import Clips
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.resnet import STAGES
from robot_pt.networks.vit import SIZES
from robot_pt.recipes import objectives, trajectories
from robot_pt.recipes.objectives import OBJECTIVES
from robot_pt.replay import to_device
from tests.objectives.test_action_objectives import SIDE, SMALLER, TASKS, source

DECODER = {"decoder_width": 32, "decoder_heads": 4, "decoder_blocks": 1}
QUICK = {"resnet18": ("mae", "r3m"), "vit_tiny": ("curl",)}
"""The others are slow; tests of single objectives have both kinds."""


def two_updates(name: str, encoder: str) -> tuple[Any, float]:
    """(the objective after updates on batches of 3, its last loss).

    Two, since a block of a ResNet-50 begins as its shortcut: the first gradient reaches its last norm alone.
    """
    smaller = SMALLER.get(name, DECODER if name == "mae" else {})
    config = replace(
        trajectories.fitted(objectives.config_for(name, steps=20, bf16=False), [source()], False), **smaller
    )
    objective = objectives.objective_class(name).build(
        source().spec, image_size=(SIDE, SIDE), task_slots=TASKS.slots, encoder=EncoderConfig(name=encoder, latent=32), config=config,
    )  # fmt: skip
    rewards = {n: getattr(config, n) for n in ("reward", "gamma") if hasattr(config, n)}
    clips = Clips(
        [source()], [1.0], objective.plan, cameras=["primary"], image_size=(SIDE, SIDE), batch_size=3, seed=5, task_table=TASKS,
        actions=objective.needs.actions, language_dim=objective.needs.language, **rewards,
    )  # fmt: skip
    for step in range(2):
        loss = objective.update(to_device(clips.batch(step), "cpu"), step)["objective/loss"]
    return objective, float(loss)


EVERY = [
    pytest.param(encoder, name, marks=() if name in QUICK.get(encoder, ()) else pytest.mark.slow)
    for encoder in (*STAGES, *SIZES)
    for name in OBJECTIVES
]


@pytest.mark.parametrize(("encoder", "name"), EVERY)
def test_any_backbone_learns_by_any_objective(encoder: str, name: str) -> None:
    objective, loss = two_updates(name, encoder)
    assert np.isfinite(loss)
    parameters = [(n, p) for n, p in objective.encoder.named_parameters() if n.startswith("backbone.")]
    assert not [n for n, p in parameters if p.grad is None or not p.grad.any()]
    norms = [m for m in objective.encoder.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert bool(norms) == (encoder in STAGES)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in objective.encoder.modules())
