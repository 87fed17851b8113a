"""WSRL: taking over another algorithm's weights, and what it asks of the loop."""

from typing import Any

import pytest
import torch
from torch import Tensor

from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.cql import CQL, CQLConfig
from robot_pt.agents.off_policy import OffPolicyAgent
from robot_pt.agents.plan import OnlinePlan
from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.agents.taking_over import take_over
from robot_pt.agents.wsrl import WSRL, WSRLConfig
from robot_pt.networks.categorical import CategoricalConfig
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Spec
from tests.core.state_batch import BOUNDS, SPEC, TASKS, state_batch

SHAPE: dict[str, Any] = {"critic_hidden": (32, 32), "actor_hidden": (32, 32)}
REDQ: dict[str, Any] = {"heads": 10, "subset": 2, "layer_norm": True, "actions": 4, **SHAPE}
KINDS = {CalQL: CalQLConfig, CQL: CQLConfig}


def build(kind: type[OffPolicyAgent], config: Any) -> Any:
    return kind.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS, config=config,
    )  # fmt: skip


def trained(kind: type[OffPolicyAgent], config: Any) -> Any:
    agent = build(kind, config)
    for step in range(3):
        agent.update(state_batch(seed=step), step)
    return agent


@pytest.mark.parametrize("kind", [CalQL, CQL])
@pytest.mark.parametrize("options", [
    REDQ,
    {"actions": 4, "actor_average": 0.05, **SHAPE},
    {"actions": 4, "target_gap": None, "backup": "plain", "categories": CategoricalConfig(low=-9, high=9, bins=16), **SHAPE},
], ids=["redq", "two_heads_lagrange_average", "categories"])  # fmt: skip
def test_the_weights_and_moments_of_a_conservative_agent_go_on(kind: Any, options: dict[str, Any]) -> None:
    before = trained(kind, KINDS[kind](**options))
    after = build(WSRL, WSRLConfig.after(before.config))
    assert not same(before.critic, after.critic)
    assert take_over(after, before.state_dict()) == []
    assert same(before.acting, after.acting)
    for name in ("actor", "critic", "target", "temperature"):
        assert same(getattr(before, name), getattr(after, name))
    ours, theirs = after.state_dict(), before.state_dict()
    moments = [n for n in ours if n.startswith("optimizer.critic.")]
    assert moments
    assert all(torch.equal(ours[n], theirs[n]) for n in moments)
    batch = state_batch(seed=9)
    torch.testing.assert_close(after.values(batch), before.values(batch))
    for step in range(5):
        metrics = after.update(batch, step)
        assert all(torch.isfinite(v) for v in metrics.values())


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def test_after_an_ensemble_the_default_config_fits() -> None:
    """What the authors pretrain with: ten LayerNorm critics, two of them backed up."""
    before = build(CalQL, CalQLConfig(heads=10, subset=2, layer_norm=True, critic_hidden=(256, 256)))
    assert take_over(build(WSRL, None), before.state_dict()) == []


def test_ptr_goes_online_with_its_own_critic() -> None:
    spec = Spec(cameras={"primary": (32, 32)}, embodiment="test")
    options: dict[str, Any] = {
        "cameras": ["primary"], "image_size": (32, 32), "task_slots": TASKS, "encoder": EncoderConfig(name="small"),
    }  # fmt: skip
    before = PTR.build(spec, config=PTRConfig(), **options)
    after = WSRL.build(spec, config=WSRLConfig.after(before.config), **options)
    assert take_over(after, before.state_dict()) == []
    assert same(before.critic, after.critic)
    assert same(before.actor, after.actor)


def test_the_update_is_cal_ql_without_its_conservative_term() -> None:
    """The same target for the critic from the same noise: the switch changes the loss, not what is backed up."""
    before = trained(CalQL, CalQLConfig(**REDQ))
    after = build(WSRL, WSRLConfig.after(before.config))
    assert take_over(after, before.state_dict()) == []
    batch, step = state_batch(seed=5), 11
    noise = after.normal(batch, step, 0, 4)
    with torch.no_grad():
        policy = before.policy({}, batch.next_proprio, batch)
        action, log_prob = policy.sample(noise)
        output = before.target(*before.state_of(before.target, {}, batch.next_proprio, batch), action)
        expected = before.backup(batch.reward, batch.discount, output, log_prob, step)
    got: Tensor = after._target(batch, {}, step)
    torch.testing.assert_close(got, expected)


def test_what_it_asks_of_the_loop() -> None:
    assert build(WSRL, None).plan == OnlinePlan(
        updates_per_step=4, warm_up_steps=5000, offline_share=0.0, batch_size=256
    )
    config = WSRLConfig()
    assert (config.heads, config.subset, config.layer_norm, config.backup_entropy) == (10, 2, True, False)
    assert (config.actor_value, config.target_entropy_factor) == ("min", 1.0)
    assert WSRLConfig.after(CalQLConfig()).backup_actions == 10  # AntMaze keeps its max backup
    assert WSRLConfig.after(CalQLConfig(backup="plain")).backup_actions == 1
    assert WSRLConfig.after(CalQLConfig(), critic_updates=1).critic_updates == 1
