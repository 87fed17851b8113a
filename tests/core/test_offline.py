"""What holds for IQL, AWAC, TD3+BC, ReBRAC, BRAC and advantage-weighted cloning alike: inputs, resume, noise, refusals."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robot_pt.agents.awac import AWAC, AWACConfig
from robot_pt.agents.awbc import AWBC, AWBCConfig
from robot_pt.agents.brac import BRAC, BRACConfig
from robot_pt.agents.iql import IQL, IQLConfig
from robot_pt.agents.off_policy import OffPolicyAgent
from robot_pt.agents.td3_bc import TD3BC, ReBRAC, ReBRACConfig, TD3BCConfig
from robot_pt.augment import AugmentConfig
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.categorical import CategoricalConfig
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch
from tests.core.state_batch import BOUNDS, SPEC, TASKS, state_batch

SMALL: dict[str, Any] = {"actor_hidden": (16, 16), "critic_hidden": (16, 16)}
KINDS: dict[str, tuple[type[OffPolicyAgent], Callable[..., Any], dict[str, Any]]] = {
    "iql": (IQL, IQLConfig, {"dropout": 0.1, "actor_decay_steps": 50}),
    "awac": (AWAC, AWACConfig, {"actions": 2}),
    "td3_bc": (TD3BC, TD3BCConfig, {}),
    "rebrac": (ReBRAC, ReBRACConfig, {}),
    "brac": (BRAC, BRACConfig, {"behaviour_steps": 2, "follow_steps": 2, "target_divergence": 1.0, "divergence": "mmd"}),
    "awbc": (AWBC, AWBCConfig, {"actions": 2}),
}  # fmt: skip
every = pytest.mark.parametrize("kind", list(KINDS))


def build(kind: str, *, cameras: tuple[str, ...] = (), seed: int = 0, slots: int = TASKS, **options: Any) -> Any:
    agent, config, own = KINDS[kind]
    made = agent.build(
        SPEC, cameras=cameras, image_size=(32, 32), task_slots=slots, encoder=EncoderConfig(name="small", latent=16),
        bounds=BOUNDS, config=config(**{**SMALL, **own, **options}), seed=seed,
    )  # fmt: skip
    if isinstance(made, AWBC):
        made.judge_by(made.state_dict())
    return made


def run(agent: Any, steps: range, **options: Any) -> list[dict[str, Tensor]]:
    return [agent.update(state_batch(8, seed=s, **options), s) for s in steps]


@every
@pytest.mark.parametrize("cameras", [(), ("primary",), ("primary", "wrist")])
def test_learns_from_state_and_from_images(kind: str, cameras: tuple[str, ...]) -> None:
    agent = build(kind, cameras=cameras)
    seen = run(agent, range(6), cameras=cameras)
    for metrics in seen:
        assert all(value.dim() == 0 and not value.requires_grad and value.isfinite() for value in metrics.values())
    batch = state_batch(8, cameras=cameras)
    assert agent.values(batch).shape == (8,)
    assert isinstance(agent.acting, ActorNetwork)
    acted = agent.acting.mode(batch.images, batch.proprio, batch.task, batch.language)
    assert (acted >= torch.tensor(BOUNDS.low)).all()
    assert (acted <= torch.tensor(BOUNDS.high)).all()


@every
def test_resuming_continues_bit_for_bit(kind: str) -> None:
    straight, stopped = build(kind, actor_average=0.1), build(kind, actor_average=0.1)
    run(straight, range(9))
    run(stopped, range(5))
    resumed = build(kind, seed=99, actor_average=0.1)
    resumed.load_state_dict(stopped.state_dict())
    resumed.seed = straight.seed
    run(resumed, range(5, 9))
    ours, theirs = resumed.state_dict(), straight.state_dict()
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@every
def test_the_same_seed_gives_the_same_agent_and_another_seed_another(kind: str) -> None:
    states = [agent.state_dict() for agent in (build(kind), build(kind), build(kind, seed=1))]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def rows(batch: Batch, which: Tensor) -> Batch:
    def take(value):
        if isinstance(value, dict):
            return {camera: x[which] for camera, x in value.items()}
        return None if value is None else value[which]

    return Batch(*(take(value) for value in batch))


@every
def test_an_update_does_not_depend_on_the_order_of_the_samples(kind: str) -> None:
    """Noise, views and dropout belong to the sample, not to its place in the batch."""
    orders = [torch.arange(8), torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])]
    agents = [build(kind, cameras=("primary",)) for _ in orders]
    for agent, order in zip(agents, orders, strict=True):
        for step in (1, 3, 5):
            last = agent.update(rows(state_batch(8, seed=step, cameras=("primary",)), order), step)
            agent.last = last
    for name, value in agents[0].last.items():
        torch.testing.assert_close(agents[1].last[name], value, atol=2e-4, rtol=1e-3, msg=name)


@every
def test_the_task_reaches_actor_and_critic(kind: str) -> None:
    agent, batch = build(kind), state_batch(8)
    run(agent, range(12))
    other = batch._replace(task=1 - batch.task)
    assert not torch.equal(agent.values(batch), agent.values(other))
    acted = [agent.acting.mode(b.images, b.proprio, b.task, b.language) for b in (batch, other)]
    assert not torch.equal(*acted)


@every
def test_judging_changes_nothing(kind: str) -> None:
    agent = build(kind)
    before = agent.state_dict()
    agent.values(state_batch(8))
    assert all(torch.equal(value, before[name]) for name, value in agent.state_dict().items())


@every
def test_ptrs_critic_serves_too(kind: str) -> None:
    agent = build(kind, cameras=("primary",), critic="ptr", layer_norm=False)
    seen = run(agent, range(5), cameras=("primary",))
    assert all(value.isfinite() for value in seen[-1].values())
    with pytest.raises(UserError, match="no camera"):
        build(kind, critic="ptr", layer_norm=False)


@every
def test_a_categorical_critic_stays_in_its_range(kind: str) -> None:
    own = {"brac": {"form": "policy"}, "rebrac": {"critic_penalty": 0.0}}.get(kind, {})
    agent = build(kind, categories=CategoricalConfig(low=-5, high=5, bins=16, margin_bins=2), **own)
    run(agent, range(5))
    values = agent.values(state_batch(8))
    assert values.shape == (8,)
    assert values.abs().max() <= 7.5


@every
def test_bfloat16_stays_near_float32(kind: str) -> None:
    exact, rough = (run(build(kind, bf16=on, layer_norm=False), range(1)) for on in (False, True))
    for name, value in exact[0].items():
        torch.testing.assert_close(rough[0][name], value, atol=0.15, rtol=0.15, msg=name)


@every
def test_augmentation_changes_the_views_and_can_be_left_out(kind: str) -> None:
    batch = state_batch(8, cameras=("primary",))
    losses = [
        build(kind, cameras=("primary",), augment=augment).update(batch, 5) for augment in (None, AugmentConfig())
    ]
    assert losses[0]["actor/loss"] != losses[1]["actor/loss"]


@every
def test_weights_of_other_shapes_are_refused(kind: str) -> None:
    with pytest.raises(MismatchError, match="tensor"):
        build(kind).load_state_dict(build(kind, actor_hidden=(8, 16)).state_dict())


@every
@pytest.mark.parametrize(("wrong", "said"), [
    ({"actor_learning_rate": 0.0}, "actor_learning_rate is 0.0"),
    ({"critic_learning_rate": float("nan")}, "critic_learning_rate is nan"),
    ({"tau": 1.5}, "tau is 1.5"),
    ({"heads": 0}, "heads is 0"),
    ({"action_clip": 2.0}, "action_clip is 2.0"),
    ({"critic": "mlp"}, "choose ensemble, ptr"),
    ({"critic": "ptr", "layer_norm": True}, "neither LayerNorm"),
    ({"acceleration": "fast"}, "choose none, compile, cuda_graph"),
    ({"actor_average": -0.1}, "actor_average is -0.1"),
])  # fmt: skip
def test_refusals_name_the_algorithm_and_the_field(kind: str, wrong: dict[str, Any], said: str) -> None:
    agent, config, _ = KINDS[kind]
    with pytest.raises(UserError, match=said) as refused:
        config(**wrong)
    assert str(refused.value).startswith(agent.__name__)


@every
def test_a_graph_needs_a_cuda_device(kind: str) -> None:
    with pytest.raises(UserError, match="CUDA"):
        build(kind, acceleration="cuda_graph")


@every
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_recorded_update_equals_the_plain_one(kind: str) -> None:
    agent, config, own = KINDS[kind]
    states = []
    for acceleration in ("none", "cuda_graph"):
        made = agent.build(
            SPEC, cameras=(), image_size=(32, 32), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS, device="cuda",
            config=config(**{**SMALL, **own, "acceleration": acceleration}),
        )  # fmt: skip
        if isinstance(made, AWBC):
            made.judge_by(made.state_dict())
        to = lambda b: Batch(*(v if isinstance(v, dict) else v.cuda() for v in b))  # noqa: E731
        for step in range(24):
            made.update(to(state_batch(8, seed=step)), step)
        states.append(made.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=1e-4, rtol=1e-3, msg=name)
