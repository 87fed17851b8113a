"""The critic heads against a plain, unbatched writing of the same layers."""

import math

import pytest
import torch
import torch.nn.functional as F

from robot_pt.networks.conditioning import task_context
from robot_pt.networks.critics import CriticNetwork, QHeads
from robot_pt.networks.encoders import EncoderConfig

GEN = torch.Generator().manual_seed(0)


def dense_layers(heads: QHeads, head: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(weight, bias) of each layer of one head over the concatenated input [task or hidden, action, features]."""
    out, start = [], 0
    for layer, width in enumerate(heads.widths):
        columns = slice(start + head * width, start + (head + 1) * width)
        ahead = (
            heads.context_weight[:, head * width : (head + 1) * width]
            if layer == 0
            else heads.hidden_weight[layer - 1][head]
        )
        reads = layer == 0 or heads._refeed
        acts = heads.action_weight[:, columns] if reads else heads.action_weight[:0, :width]
        out.append((torch.cat([ahead, acts, heads.feature_weight[:, columns]]), heads.bias[columns]))
        start += heads.heads * width
    return out


def plain(heads: QHeads, feature: torch.Tensor, context: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Every state repeated for every action, every layer fed by concatenation, one head at a time."""
    batch, count, _ = action.shape
    repeat = lambda x: x[:, None].expand(-1, count, -1).reshape(batch * count, -1)  # noqa: E731
    feature, context, action = repeat(feature), repeat(context), action.reshape(batch * count, -1)
    out = []
    for head in range(heads.heads):
        hidden = context
        layers = dense_layers(heads, head)
        for i, (weight, bias) in enumerate(layers):
            fed = [hidden, action, feature] if i == 0 or heads._refeed else [hidden, feature]
            hidden = torch.cat(fed, dim=1) @ weight + bias
            hidden = F.relu(hidden) if i < len(layers) - 1 else hidden
        out.append(hidden.view(batch, count))
    return torch.stack(out)


def inputs(batch: int = 5, count: int = 4, features: int = 11, context: int = 6, actions: int = 7) -> tuple:
    return (
        torch.randn(batch, features, generator=GEN),
        torch.randn(batch, context, generator=GEN),
        torch.randn(batch, count, actions, generator=GEN),
    )


@pytest.mark.parametrize("refeed", [True, False])
@pytest.mark.parametrize("hidden", [(16,), (16, 8), (32, 32, 32)])
@pytest.mark.parametrize("count_heads", [1, 2, 5])
def test_batched_heads_equal_concatenated_layers(hidden: tuple[int, ...], count_heads: int, refeed: bool) -> None:
    heads = QHeads(11, 6, 7, hidden, count_heads, refeed_actions=refeed)
    torch.nn.init.normal_(heads.bias)
    arguments = inputs()
    got = heads(*arguments)
    assert got.shape == (count_heads, 5, 4)
    torch.testing.assert_close(got, plain(heads, *arguments), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("refeed", [True, False])
def test_gradients_equal_those_of_concatenated_layers(refeed: bool) -> None:
    heads = QHeads(11, 6, 7, (16, 16, 16), 2, refeed_actions=refeed)
    feature, context, action = inputs()
    feature.requires_grad_()
    action.requires_grad_()
    wanted = [feature, action, *heads.parameters()]
    weight = torch.randn(2, 5, 4, generator=GEN)
    ours = torch.autograd.grad((heads(feature, context, action) * weight).sum(), wanted)
    theirs = torch.autograd.grad((plain(heads, feature, context, action) * weight).sum(), wanted)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_every_layer_reads_action_and_features() -> None:
    heads = QHeads(256, 20, 7, (256, 256, 256), 2)
    widths = [weight.shape for weight, _ in dense_layers(heads, 0)]
    assert widths == [(20 + 7 + 256, 256), (519, 256), (519, 256), (519, 1)]


def test_without_refeeding_the_first_layer_alone_reads_the_action() -> None:
    heads = QHeads(256, 20, 7, (256, 256, 256), 2, refeed_actions=False)
    widths = [weight.shape for weight, _ in dense_layers(heads, 0)]
    assert widths == [(20 + 7 + 256, 256), (512, 256), (512, 256), (512, 1)]
    assert heads.action_weight.shape == (7, 2 * 256)
    assert QHeads(256, 20, 7, (256, 256, 256), 2).action_weight.shape == (7, 2 * (3 * 256 + 1))


@pytest.mark.parametrize("refeed", [True, False])
@pytest.mark.parametrize("head", [0, 1])
def test_layers_start_orthogonal(head: int, refeed: bool) -> None:
    heads = QHeads(64, 5, 7, (32, 32), 2, refeed_actions=refeed)
    for (weight, bias), gain in zip(dense_layers(heads, head), (math.sqrt(2), math.sqrt(2), 1e-2), strict=True):
        torch.testing.assert_close(weight.T @ weight, gain**2 * torch.eye(weight.shape[1]), atol=1e-5, rtol=1e-4)
        assert bias.abs().max() == 0


def test_heads_start_different() -> None:
    q = QHeads(11, 6, 7, (16, 16), 2)(*inputs())
    assert not torch.allclose(q[0], q[1])


def critic(language: int = 0) -> CriticNetwork:
    torch.manual_seed(0)
    return CriticNetwork(
        encoder=EncoderConfig(name="small"),
        cameras=("primary",),
        image_size=(32, 32),
        task_slots=5,
        language_size=language,
        action_size=7,
    )


def test_one_encoder_for_both_heads_and_no_proprio() -> None:
    network = critic()
    assert sum("pool.kernel" in name for name, _ in network.named_parameters()) == 1
    assert network.q.heads == 2
    assert network.q.feature_weight.shape[0] == 256  # the image feature, nothing else


def test_task_and_language_change_the_value() -> None:
    network = critic(language=3)
    image = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=GEN)
    feature = network.features({"primary": image})
    action = torch.zeros(2, 1, 7)
    value = lambda task, words: network(feature, network.context(torch.tensor(task), torch.tensor(words)), action)  # noqa: E731
    same = [[0.0, 1, 0], [0.0, 1, 0]]
    assert not torch.allclose(value([0, 0], same), value([1, 1], same))
    assert not torch.allclose(value([0, 0], same), value([0, 0], [[1.0, 0, 0]] * 2))


def test_context_is_one_hot_then_language_cut_to_size() -> None:
    context = task_context(torch.tensor([2, 0]), torch.tensor([[5.0, 6, 7]] * 2), 3, 2)
    assert context.tolist() == [[0, 0, 1, 5, 6], [1, 0, 0, 5, 6]]
    assert task_context(torch.tensor([1]), torch.zeros(1, 256), 2, 0).tolist() == [[0, 1]]
