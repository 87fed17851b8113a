"""Agents whose image encoders stay as they are, whatever else is learned."""

import pytest
import torch

from robot_pt.agents.bc import BC
from robot_pt.agents.bet import BeT, BeTConfig
from robot_pt.agents.cql import CQL
from robot_pt.agents.freezing import freeze_encoders
from robot_pt.agents.ptr import PTR
from robot_pt.networks.encoders import EncoderConfig
from tests.core.state_batch import BOUNDS, SPEC, state_batch


def build(kind, norm="group"):
    spec = type(SPEC)(**{**SPEC.to_json(), "cameras": {"primary": (32, 32)}})
    return kind.build(
        spec, cameras=("primary",), image_size=(32, 32), task_slots=2, encoder=EncoderConfig(name="small", latent=16, norm=norm),
        bounds=BOUNDS,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [PTR, CQL, BC])
@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("part", ["encoder", "backbone"])
def test_encoders_stay_and_everything_else_learns(kind, norm, part) -> None:
    agent = build(kind, norm)
    freeze_encoders(agent, part)
    before = agent.state_dict()
    for step in range(2):
        agent.update(state_batch(seed=step, cameras=("primary",)), step)
    after = {n: v for n, v in agent.state_dict().items() if not n.startswith("optimizer.")}
    encoders = [n for n in after if ".encoder." in n and (part == "encoder" or ".backbone." in n)]
    assert encoders
    assert all(torch.equal(before[n], after[n]) for n in encoders)
    bottleneck = [n for n in after if n.startswith("actor.encoder.") and n.endswith("bottleneck.0.weight")]
    assert all(torch.equal(before[n], after[n]) == (part == "encoder") for n in bottleneck)
    assert not torch.equal(before["actor.body.0.weight"], after["actor.body.0.weight"])
    if kind is not BC:
        assert any(not torch.equal(before[n], after[n]) for n in after if n.startswith("critic.") and n not in encoders)


def test_a_frozen_agent_goes_on_from_its_state_bit_for_bit() -> None:
    agent, other = build(PTR), build(PTR)
    for one in (agent, other):
        freeze_encoders(one, "encoder")
    agent.update(state_batch(cameras=("primary",)), 0)
    other.load_state_dict(agent.state_dict())
    batch = state_batch(seed=1, cameras=("primary",))
    assert torch.equal(agent.update(batch, 1)["critic/bellman"], other.update(batch, 1)["critic/bellman"])
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in agent.state_dict().items())


def test_nothing_frozen_is_an_agent_as_it_was() -> None:
    agent = build(BC)
    freeze_encoders(agent, "nothing")
    assert all(p.requires_grad for p in agent.actor.parameters())


def test_weight_decay_leaves_a_frozen_encoder_alone() -> None:
    agent = build(BeT)
    agent.fit(state_batch(64).action.numpy())
    freeze_encoders(agent, "encoder")
    before = {n: v.clone() for n, v in agent.actor.encoder.state_dict().items()}
    batch = state_batch(4, cameras=("primary",))
    images = {"primary": batch.images["primary"][:, None]}
    window = batch._replace(
        images=images,
        proprio=batch.proprio[:, None],
        action=batch.action[:, None],
        valid=torch.ones(4, 1, dtype=torch.bool),
    )
    assert BeTConfig().weight_decay > 0
    agent.update(window, 0)
    assert all(torch.equal(v, before[n]) for n, v in agent.actor.encoder.state_dict().items())
