"""One algorithm's weights in another: what goes over, what starts fresh, what is refused."""

from typing import Any

import pytest
import torch

from robot_pt.agents.bc import BC, BCConfig
from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.rlpd import RLPD, RLPDConfig
from robot_pt.agents.taking_over import take_over
from robot_pt.agents.wsrl import WSRL, WSRLConfig
from robot_pt.errors import MismatchError
from robot_pt.networks.encoders import EncoderConfig
from tests.core.state_batch import BOUNDS, SPEC, TASKS, state_batch

SHAPE: dict[str, Any] = {"critic_hidden": (32, 32), "actor_hidden": (32, 32)}


def build(kind: Any, config: Any, seed: int = 0) -> Any:
    return kind.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS, config=config, seed=seed,
    )  # fmt: skip


def trained(kind: Any, config: Any) -> Any:
    agent = build(kind, config, seed=1)
    for step in range(3):
        agent.update(state_batch(seed=step), step)
    return agent


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], prefix: str) -> bool:
    names = [n for n in one if n.startswith(prefix)]
    return bool(names) and all(n in other and torch.equal(one[n], other[n]) for n in names)


def test_behaviour_cloning_gives_rlpd_its_actor_and_nothing_else() -> None:
    cloned = trained(BC, BCConfig(head="tanh_gaussian", std="state"))
    agent = build(RLPD, RLPDConfig(actor_hidden=(256, 256, 256), critic_hidden=(32,), actor_average=0.01))
    before = agent.state_dict()
    assert take_over(agent, cloned.state_dict()) == ["critic", "target", "temperature"]
    after = agent.state_dict()
    assert equal(cloned.state_dict(), after, "actor.")
    assert equal(cloned.state_dict(), after, "optimizer.actor.")
    assert all(torch.equal(after[f"average.{n}"], v) for n, v in cloned.actor.state_dict().items())
    for part in ("critic.", "target.", "temperature."):
        assert equal(before, after, part)
    assert not [n for n in after if n.startswith("optimizer.critic.")]
    assert torch.isfinite(agent.update(state_batch(), 19)["critic/loss"])


def test_a_critic_of_another_shape_starts_fresh_with_its_target_and_moments() -> None:
    before = trained(CalQL, CalQLConfig(actions=2, **SHAPE))
    agent = build(WSRL, WSRLConfig(**SHAPE))
    fresh = agent.state_dict()
    assert take_over(agent, before.state_dict()) == ["critic", "target"]
    after = agent.state_dict()
    assert equal(fresh, after, "critic.")
    assert equal(fresh, after, "target.")
    assert equal(before.state_dict(), after, "temperature.")
    assert not [n for n in after if n.startswith("optimizer.critic.")]


def test_what_acted_becomes_the_actor_where_no_average_is_kept() -> None:
    before = trained(CalQL, CalQLConfig(actions=2, actor_average=0.1, **SHAPE))
    agent = build(WSRL, WSRLConfig.after(before.config, actor_average=0.0))
    assert take_over(agent, before.state_dict()) == []
    assert all(torch.equal(agent.actor.state_dict()[n], v) for n, v in before.acting.state_dict().items())


def test_an_actor_that_does_not_fit_is_refused_and_nothing_changes() -> None:
    before = trained(CalQL, CalQLConfig(actions=2, actor_hidden=(16,), critic_hidden=(32, 32)))
    agent = build(WSRL, WSRLConfig(**SHAPE))
    own = agent.state_dict()
    with pytest.raises(MismatchError, match="policy network does not fit the algorithm's; choose"):
        take_over(agent, before.state_dict())
    assert equal(own, agent.state_dict(), "")
