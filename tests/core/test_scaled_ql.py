"""Scaled Q-learning's recipe: features of length 1, whatever feeds them, and what happens to them without it."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.agents.scaled_ql import ScaledQL
from robot_pt.networks.critics import QHeads
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.resnet import resnet
from robot_pt.recipes import algorithms
from robot_pt.schema import Batch, Spec

SPEC = Spec(cameras={"primary": (16, 16)}, embodiment="test")
SIZES = {"features": 5, "context": 3, "actions": 2, "hidden": (8, 6), "heads": 2}


def build(config: PTRConfig | None = None) -> PTR:
    return ScaledQL.build(
        SPEC,
        cameras=("primary",),
        image_size=(16, 16),
        task_slots=2,
        encoder=EncoderConfig(name="small", latent=32),
        config=config,
    )


def heads(normalize: bool) -> QHeads:
    torch.manual_seed(0)
    return QHeads(**SIZES, outputs=4, normalize=normalize)


def inputs(count: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    drawn = lambda *shape: torch.randn(count, *shape, generator=generator)  # noqa: E731
    return drawn(5), drawn(3), drawn(4, 2)


def test_what_the_last_layer_reads_has_length_one() -> None:
    torch.testing.assert_close(heads(True).penultimate(*inputs()).norm(dim=-1), torch.ones(2, 7, 4))
    assert (heads(False).penultimate(*inputs()).norm(dim=-1) - 1).abs().max() > 0.3


def test_without_it_the_layers_are_the_same_but_for_the_division() -> None:
    with_it, without = heads(True), heads(False)
    plain = without.penultimate(*inputs())
    torch.testing.assert_close(with_it.penultimate(*inputs()), F.normalize(plain, dim=-1))
    feature, _, action = inputs()
    last = slice(-with_it.heads * 4, None)
    fed = torch.einsum("ebkh,eho->ebko", F.normalize(plain, dim=-1), with_it.hidden_weight[-1])
    again = (feature @ with_it.feature_weight[:, last] + with_it.bias[last])[:, None] + action @ with_it.action_weight[
        :, last
    ]
    torch.testing.assert_close(with_it(*inputs()), fed + again.unflatten(-1, (2, 4)).permute(2, 0, 1, 3))


@torch.no_grad()
def scaled_tenfold(q: QHeads) -> QHeads:
    """The layer before the last gives ten times the features."""
    first, second = q.heads * q.widths[0], q.heads * q.widths[1]
    for columns in (q.feature_weight, q.action_weight, q.bias):
        columns[..., first : first + second] *= 10
    q.hidden_weight[0] *= 10
    return q


def test_ten_times_the_features_are_the_same_q() -> None:
    torch.testing.assert_close(scaled_tenfold(heads(True))(*inputs()), heads(True)(*inputs()), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(scaled_tenfold(heads(False))(*inputs()), heads(False)(*inputs()), atol=1e-3)


def srank(feature_NH: Tensor, share: float = 0.99) -> int:
    """Singular values that make up `share` of their sum (Kumar et al., arXiv 2010.14498)."""
    value = torch.linalg.svdvals(feature_NH.double()).numpy()
    return int(np.searchsorted(np.cumsum(value) / value.sum(), share) + 1)


def two_tasks(count: int, first_key: int) -> Batch:
    """Two tasks on noise images: the same action is rewarded in one and not in the other, and every episode goes on."""
    generator = torch.Generator().manual_seed(first_key)
    task = torch.arange(count) % 2
    images, following = (
        {"primary": torch.randint(0, 256, (count, 16, 16, 3), generator=generator, dtype=torch.uint8)} for _ in range(2)
    )
    side = torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1
    action = 0.01 * torch.randn(count, 7, generator=generator)
    action[:, 0] = 0.03 * side
    reward = torch.where(side == 2.0 * task - 1, 10.0, -1.0)
    zeros = torch.zeros(count)
    return Batch(
        images=images, proprio=torch.zeros(count, 7), task=task, language=torch.zeros(count, 0), action=action, reward=reward,
        discount=torch.where(reward > 0, 0.0, 0.96), next_images=following, next_proprio=torch.zeros(count, 7), return_to_go=zeros,
        sample_key=torch.arange(first_key, first_key + count), source=torch.zeros(count, dtype=torch.int64),
    )  # fmt: skip


def features(agent: PTR, batch: Batch) -> Tensor:
    """(N, H) of the data's actions, first head."""
    with torch.no_grad():
        state = agent.critic.state(batch.images, batch.proprio, batch.task, batch.language)
        return agent.critic.penultimate(*state, agent.actor.normalizer.encode(batch.action)[:, None])[0, :, 0]


@cache
def lengths(normalize: bool, updates: int) -> tuple[list[float], int]:
    """(mean length of features at four times, their srank at the end)."""
    squared = PTRConfig(alpha=0.1, augment=None, critic_learning_rate=1e-3)
    agent = build(replace(ScaledQL.defaults(), augment=None, critic_learning_rate=1e-3) if normalize else squared)
    held_out, out = two_tasks(64, 10**6), []
    for step in range(updates):
        if step % (updates // 4) == 0:
            out.append(float(features(agent, held_out).norm(dim=1).mean()))
        agent.update(two_tasks(16, 100 * step), step)
    found = features(agent, held_out)
    return [*out, float(found.norm(dim=1).mean())], srank(found)


def test_features_grow_under_a_squared_error_and_do_not_with_the_recipe() -> None:
    grown, _ = lengths(False, 40)
    assert grown[-1] > 1.5 * grown[0]
    kept, rank = lengths(True, 40)
    assert kept == pytest.approx([1.0] * 5, abs=1e-5)
    assert rank > 2


@pytest.mark.slow
def test_many_updates_neither_lengthen_nor_flatten_the_features() -> None:
    kept, rank = lengths(True, 400)
    assert kept == pytest.approx([1.0] * 5, abs=1e-5)
    assert rank >= 10
    assert lengths(False, 400)[0][-1] > 12


def test_the_recipe_is_c51_on_the_returns_of_the_labels() -> None:
    config = ScaledQL.defaults()
    assert config.categories is not None
    assert (config.categories.kind, config.categories.bins) == ("c51", 51)
    assert (config.categories.low, config.categories.high) == (pytest.approx(-25.0), 10.0)
    agent = build()
    assert isinstance(agent, PTR)
    assert agent.critic.q.widths[-1] == 51
    assert not PTRConfig().normalize_features


def test_it_is_an_algorithm_by_name_whose_config_survives_json() -> None:
    import json
    from dataclasses import asdict

    assert algorithms.agent_class("scaled_ql") is ScaledQL
    plain = json.loads(json.dumps(asdict(algorithms.default_config("scaled_ql"))))
    assert algorithms.config_from_json("scaled_ql", plain) == ScaledQL.defaults()


def test_groupnorm_and_spatial_embeddings_come_with_the_encoder() -> None:
    """What the paper adds to the plain ResNet is PTR's default."""
    assert EncoderConfig().norm == "group"
    assert EncoderConfig().pooling == "spatial_embeddings"
    network = resnet("resnet18", lambda channels: torch.nn.GroupNorm(4, channels))[0]
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
