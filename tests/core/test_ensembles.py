"""Ensemble heads against a loop over plain layers; critics and actors of the state alone."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.ensembles import EnsembleCritic, EnsembleHeads
from robot_pt.networks.policies import ActorConfig, ActorNetwork
from robot_pt.normalize import BRIDGE_BOUNDS

GEN = torch.Generator().manual_seed(0)


def randomised(heads: EnsembleHeads) -> EnsembleHeads:
    for parameter in heads.parameters():
        nn.init.normal_(parameter, std=0.5)
    return heads


def plain(heads: EnsembleHeads, head: int, layer_norm: bool) -> nn.Sequential:
    """One head as nn.Linear, nn.LayerNorm and nn.ReLU on [state, action], with that head's weights."""
    width = heads.state_weight.shape[1] // heads.heads
    columns = slice(head * width, (head + 1) * width)
    first = torch.cat([heads.state_weight[:, columns], heads.action_weight[:, columns]])
    affine = [(first, heads.first_bias[columns])]
    affine += [(w[head], b[head, 0]) for w, b in zip(heads.weight, heads.bias, strict=True)]
    layers: list[nn.Module] = []
    for number, (weight, bias) in enumerate(affine):
        linear = nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.detach().T.clone(), bias.detach().clone()
        layers.append(linear)
        if number == len(affine) - 1:
            continue
        if layer_norm:
            norm = nn.LayerNorm(weight.shape[1])
            norm.weight.data = heads.scale[number][head, 0].detach().clone()
            norm.bias.data = heads.shift[number][head, 0].detach().clone()
            layers.append(norm)
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def looped(networks: list[nn.Sequential], state: Tensor, action: Tensor) -> Tensor:
    """(E, B, K, outputs): every state repeated for every action, one head and one action at a time."""
    per_head = [
        torch.stack([net(torch.cat([state, action[:, k]], dim=1)) for k in range(action.shape[1])], 1)
        for net in networks
    ]
    return torch.stack(per_head)


@pytest.mark.parametrize("hidden", [(16,), (16, 8), (12, 12, 12)])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize(("count_heads", "outputs"), [(1, 1), (2, 1), (5, 1), (2, 3)])
def test_heads_and_their_gradients_equal_a_loop_over_plain_layers(
    hidden: tuple[int, ...], layer_norm: bool, count_heads: int, outputs: int
) -> None:
    heads = randomised(EnsembleHeads(11, 7, hidden, count_heads, outputs=outputs, layer_norm=layer_norm))
    networks = [plain(heads, e, layer_norm) for e in range(count_heads)]
    state = torch.randn(5, 11, generator=GEN, requires_grad=True)
    action = torch.randn(5, 4, 7, generator=GEN, requires_grad=True)
    ours, theirs = heads(state, action), looped(networks, state, action)
    theirs = theirs[..., 0] if outputs == 1 else theirs
    assert ours.shape == theirs.shape == ((count_heads, 5, 4) if outputs == 1 else (count_heads, 5, 4, outputs))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    batched = heads._batched(state, action)  # what a GPU runs
    torch.testing.assert_close(
        batched.view(looped(networks, state, action).shape), looped(networks, state, action), atol=1e-4, rtol=1e-4
    )
    upstream = torch.randn(ours.shape, generator=GEN)
    own = torch.autograd.grad((ours * upstream).sum(), [state, action, *heads.parameters()])
    (theirs * upstream).sum().backward()
    torch.testing.assert_close(own[0], state.grad, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(own[1], action.grad, atol=1e-3, rtol=1e-3)
    squares = sum(float(p.grad.square().sum()) for net in networks for p in net.parameters() if p.grad is not None)
    assert sum(float(g.square().sum()) for g in own[2:]) == pytest.approx(squares, rel=1e-4)


def test_both_ways_through_the_layers_have_the_same_gradients_also_in_pieces() -> None:
    heads = randomised(EnsembleHeads(6, 3, (8, 8), 3, layer_norm=True))
    state, action = (
        torch.randn(300, 6, generator=GEN),
        torch.randn(300, 10, 3, generator=GEN),
    )  # 300 x 10 rows: several pieces
    upstream = torch.randn(3, 300, 10, generator=GEN)
    ways = [way(state, action).view(3, 300, 10) for way in (heads._by_head, heads._batched)]
    torch.testing.assert_close(*ways, atol=1e-4, rtol=1e-4)
    one, other = (torch.autograd.grad((q * upstream).sum(), list(heads.parameters())) for q in ways)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-3)


def test_layers_start_orthogonal_over_state_and_action_together() -> None:
    heads = EnsembleHeads(40, 7, (32, 24), 3, layer_norm=True)
    for head in range(3):
        linear = [layer for layer in plain(heads, head, True) if isinstance(layer, nn.Linear)]
        for layer, gain in zip(linear, (math.sqrt(2), math.sqrt(2), 1e-2), strict=True):
            weight = layer.weight @ layer.weight.T
            torch.testing.assert_close(weight, gain**2 * torch.eye(len(weight)), atol=1e-5, rtol=1e-4)
            assert layer.bias.abs().max() == 0
    assert not torch.equal(heads.weight[0][0], heads.weight[0][1])
    assert all((scale == 1).all() for scale in heads.scale)


def test_layer_norm_bounds_what_far_actions_can_do() -> None:
    """The reason it is there: Q of an action a thousand times as far away stays on its scale (arXiv 2302.02948)."""
    torch.manual_seed(0)
    state, action = torch.randn(4, 6, generator=GEN), torch.randn(4, 1, 3, generator=GEN)
    spread = {}
    for layer_norm in (False, True):
        heads = EnsembleHeads(6, 3, (32, 32), 1, layer_norm=layer_norm)
        far, near = (heads(state, scale * action).detach().abs().max() for scale in (1000, 1))
        spread[layer_norm] = float(far / near)
    assert spread[False] > 50
    assert spread[True] < 10


def test_without_actions_it_is_a_function_of_the_state_that_adam_can_train() -> None:
    value = EnsembleHeads(6, 0, (16, 16), 2)
    adam = torch.optim.Adam(value.parameters(), 1e-2, fused=True)
    state = torch.randn(32, 6, generator=GEN)
    goal = state[:, 0].square()
    first = last = torch.zeros(())
    for step in range(150):
        v = value(state, state.new_zeros(32, 1, 0))
        assert v.shape == (2, 32, 1)
        last = (v[:, :, 0] - goal).square().mean()
        first = last.detach() if step == 0 else first
        adam.zero_grad()
        last.backward()
        adam.step()
    assert last < 0.1 * first


def critic(cameras: tuple[str, ...] = (), language: int = 0, **options: object) -> EnsembleCritic:
    torch.manual_seed(0)
    return EnsembleCritic(
        task_slots=4, action_size=7, proprio_mean=(1.0, 2.0), proprio_std=(2.0, 4.0), hidden=(16, 16), language_size=language,
        encoder=EncoderConfig(name="small", latent=16), cameras=cameras, image_size=(32, 32), **options,
    )  # fmt: skip


def test_state_critic_standardises_proprio_and_appends_the_task() -> None:
    network = critic()
    (state,) = network.state({}, torch.tensor([[3.0, -2.0]]), torch.tensor([2]), torch.zeros(1, 0))
    assert state.tolist() == [[1.0, -1.0, 0, 0, 1, 0]]
    assert network(state, torch.zeros(1, 3, 7)).shape == (2, 1, 3)
    assert not any("encoder" in name for name, _ in network.named_parameters())


def test_each_input_of_a_critic_with_cameras_reaches_the_value() -> None:
    network = critic(("primary", "wrist"), language=3)
    image = lambda: torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=GEN)  # noqa: E731
    images, proprio, task, words = (
        {"primary": image(), "wrist": image()},
        torch.ones(2, 2),
        torch.tensor([0, 1]),
        torch.ones(2, 3),
    )
    action = torch.rand(2, 1, 7, generator=GEN)
    base = network(*network.state(images, proprio, task, words), action)
    changed = [
        network.state(images | {"primary": image()}, proprio, task, words),
        network.state(images | {"wrist": image()}, proprio, task, words),
        network.state(images, proprio + 1, task, words),
        network.state(images, proprio, task + 1, words),
        network.state(images, proprio, task, -words),
    ]
    assert all(not torch.allclose(base, network(*state, action)) for state in changed)
    assert not torch.allclose(base, network(*network.state(images, proprio, task, words), -action))


def test_an_actor_without_cameras_acts_from_the_state() -> None:
    torch.manual_seed(0)
    actor = ActorNetwork(
        ActorConfig(
            encoder=EncoderConfig(), cameras=(), image_size=(0, 0), task_slots=2, bounds=BRIDGE_BOUNDS, hidden=(8,),
            proprio_mean=(0.0,) * 5, proprio_std=(1.0,) * 5,
        )
    )  # fmt: skip
    nn.init.normal_(actor.mean.weight)
    seen = torch.randn(3, 5, generator=GEN)
    action = actor.mode({}, seen, torch.zeros(3, dtype=torch.int64), torch.zeros(3, 0))
    assert action.shape == (3, 7)
    by_hand = F.relu(torch.cat([seen, torch.tensor([[1.0, 0.0]] * 3)], 1) @ actor.body[0].weight.T)
    torch.testing.assert_close(action, actor.normalizer.decode((by_hand @ actor.mean.weight.T).tanh()))
