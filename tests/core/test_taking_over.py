"""What goes over from one algorithm to another, and what is said to start fresh."""

import pytest
import torch

from robot_pt.agents.bc import BC, BCConfig
from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.cql import CQL
from robot_pt.agents.ptr import PTR
from robot_pt.agents.rlpd import RLPD, RLPDConfig
from robot_pt.agents.taking_over import take_over
from robot_pt.errors import MismatchError
from robot_pt.networks.encoders import EncoderConfig
from tests.core.state_batch import BOUNDS, SPEC, TASKS, state_batch


def build(kind, config=None, seed: int = 0):
    return kind.build(
        SPEC,
        cameras=(),
        image_size=(0, 0),
        task_slots=TASKS,
        encoder=EncoderConfig(name="small"),
        config=config,
        bounds=BOUNDS,
        seed=seed,
    )


def mode(agent) -> torch.Tensor:
    batch = state_batch()
    return agent.acting(batch.images, batch.proprio, batch.task, batch.language).mode()


def test_cql_goes_over_into_cal_ql_whole() -> None:
    before, after = build(CQL), build(CalQL, seed=1)
    batch = state_batch()
    assert take_over(after, before.state_dict()) == []
    assert torch.equal(mode(after), mode(before))
    assert torch.equal(after.values(batch), before.values(batch))
    after.update(batch, 0)


def test_a_critic_of_another_shape_starts_fresh_with_its_target() -> None:
    before = build(CQL)
    config = RLPDConfig(actor_hidden=(256, 256), scaled_log_std=True, critic_hidden=(32, 32), heads=3)
    after = build(RLPD, config, seed=1)
    own = {k: v.clone() for k, v in after.state_dict().items() if k.startswith(("critic.", "target."))}
    assert take_over(after, before.state_dict()) == ["critic", "target"]
    assert torch.equal(mode(after), mode(before))
    assert all(torch.equal(after.state_dict()[k], v) for k, v in own.items())


def test_a_fresh_critic_keeps_the_encoder_it_looked_through() -> None:
    spec = type(SPEC)(**{**SPEC.to_json(), "cameras": {"primary": (16, 16)}})
    parts = {"cameras": ("primary",), "image_size": (16, 16), "task_slots": TASKS, "bounds": BOUNDS}
    small = EncoderConfig(name="small", latent=8)
    before = PTR.build(spec, **parts, encoder=small)
    shape = {"actor_hidden": (256, 256, 256), "scaled_log_std": False, "critic_hidden": (16,), "layer_norm": True}
    after = CalQL.build(spec, **parts, encoder=small, config=CalQLConfig(**shape), seed=1)
    heads = after.critic.q.state_weight.clone()
    assert take_over(after, before.state_dict()) == ["critic", "target", "multiplier"]
    for part in (after.critic, after.target):
        for name, value in before.critic.encoder.state_dict().items():
            assert torch.equal(part.encoder.state_dict()[name], value)
        assert torch.equal(part.q.state_weight, heads)
    wider = EncoderConfig(name="small", latent=12)
    other = CalQL.build(spec, **parts, encoder=wider, config=CalQLConfig(**shape), seed=1)
    with pytest.raises(MismatchError, match="policy network does not fit"):
        take_over(other, before.state_dict())


def test_a_cloned_policy_keeps_its_mean_and_gets_a_deviation_of_its_own() -> None:
    before = build(BC, BCConfig(head="tanh_gaussian", augment=None))
    after = build(CalQL, CalQLConfig(actor_hidden=(256, 256, 256), scaled_log_std=False, action_clip=0.99), seed=1)
    fresh = take_over(after, before.state_dict())
    assert fresh[0] == "the policy's deviation"
    assert "critic" in fresh
    assert torch.equal(mode(after), mode(before))


def test_a_running_average_becomes_the_actor() -> None:
    before = build(BC, BCConfig(head="tanh_gaussian", std="state", actor_average=0.5, augment=None))
    before.update(state_batch(), 0)
    after = build(CalQL, CalQLConfig(actor_hidden=(256, 256, 256), scaled_log_std=False), seed=1)
    take_over(after, before.state_dict())
    assert torch.equal(mode(after), mode(before))


def test_a_policy_of_another_shape_is_refused() -> None:
    with pytest.raises(MismatchError, match="policy network does not fit"):
        take_over(build(CalQL, CalQLConfig(actor_hidden=(16,))), build(CQL).state_dict())
