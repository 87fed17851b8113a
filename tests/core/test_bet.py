"""Behavior Transformer as a baseline: two ways stay two ways, to within an offset that each bin learns for itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from robot_pt.agents.bc import BC, BCConfig
from robot_pt.agents.bet import BeT, BeTConfig
from robot_pt.errors import DataError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from robot_pt.schema import Batch, Spec

SPEC = Spec(cameras={"primary": (16, 16)}, embodiment="test", action_names=("a",), proprio_names=("p",))
METRES = 0.01
"""Actions of a centimetre: a squared error of theirs is 1e-4 where it is not normalised."""
FITTED = Bounds(low=(-1.5 * METRES,), high=(1.5 * METRES,), origin="test")
UNSCALED = Bounds(low=(-1.0,), high=(1.0,), origin="test")
SMALL = BeTConfig(
    learning_rate=3e-3, weight_decay=0.0, dropout=0.0, augment=None, window=2, bins=2, layers=1, heads=2, width=16, offset_weight=1000.0
)  # fmt: skip


def build(
    config: BeTConfig = SMALL,
    bounds: Bounds = FITTED,
    *,
    cameras: tuple[str, ...] = (),
    seed: int = 0,
    fitted: bool = True,
) -> BeT:
    agent = BeT.build(
        SPEC, cameras=cameras, image_size=(16, 16) if cameras else (0, 0), task_slots=1, config=config, bounds=bounds, seed=seed,
        encoder=EncoderConfig(name="small", latent=8),
    )  # fmt: skip
    if fitted:
        agent.fit(two_ways(512, 999).action.reshape(-1, 1).numpy())
    return agent


def two_ways(size: int, step: int, steps: int = 2) -> Batch:
    """Forward or back with equal chance in any state; how far depends on the state: 0.7 or 1.3 cm."""
    gen = torch.Generator().manual_seed(step)
    state = 2.0 * torch.randint(0, 2, (size, steps, 1), generator=gen) - 1
    way = 2.0 * torch.randint(0, 2, (size, steps, 1), generator=gen) - 1
    none = torch.zeros(size)
    return Batch(
        images={}, proprio=state, task=torch.zeros(size, dtype=torch.int64), language=torch.zeros(size, 0),
        action=METRES * way * (1 + 0.3 * state), reward=none, discount=none, next_images={}, next_proprio=torch.zeros(size, 1),
        return_to_go=none, sample_key=torch.arange(size) + 1000 * step, source=torch.zeros(size, dtype=torch.int64),
        valid=torch.ones(size, steps, dtype=torch.bool),
    )  # fmt: skip


def train(agent: BeT, updates: int = 250) -> BeT:
    for step in range(updates):
        agent.update(two_ways(64, step), step)
    return agent


def judged(agent: BeT, *, drawn: bool = True) -> tuple[float, float]:
    """(share of actions within 5 % of a way to go, share of the rarer way in the state where it is least)."""
    count = 2000
    state = torch.tensor([1.0, -1.0]).repeat(count)[:, None]
    policy = agent.actor({}, state, torch.zeros(len(state), dtype=torch.int64), torch.zeros(len(state), 0))
    noise = torch.randn(len(state), generator=torch.Generator().manual_seed(0))
    action = agent.actor.normalizer.decode((policy.draw(noise) if drawn else policy.mode()).detach())
    far = METRES * (1 + 0.3 * state)
    near = float(((action.abs() - far).abs() < 0.05 * METRES).float().mean())
    forward = [float((action[state == s] > 0).float().mean()) for s in (1.0, -1.0)]
    return near, min(min(share, 1 - share) for share in forward)


@pytest.fixture(scope="module")
def learned() -> BeT:
    return train(build())


def test_actions_lie_at_one_of_both_ways_and_both_are_gone(learned: BeT) -> None:
    near, rarer = judged(learned)
    assert near >= 0.95
    assert rarer >= 0.3


def test_a_squared_error_goes_neither_way() -> None:
    agent = BC.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=1, config=BCConfig(augment=None, learning_rate=1e-3), bounds=FITTED,
        encoder=EncoderConfig(name="small"),
    )  # fmt: skip
    for step in range(200):
        batch = two_ways(64, step, 1)
        agent.update(batch._replace(proprio=batch.proprio[:, 0], action=batch.action[:, 0]), step)
    state = torch.tensor([[1.0], [-1.0]])
    action = agent.actor.mode({}, state, torch.zeros(2, dtype=torch.int64), torch.zeros(2, 0))
    assert float(action.abs().max()) < 0.35 * METRES


def test_the_most_probable_bin_alone_goes_one_way(learned: BeT) -> None:
    near, rarer = judged(learned, drawn=False)
    assert near >= 0.95
    assert rarer < 0.3


def test_weight_one_on_metres_never_learns_the_offset() -> None:
    """Without the scale of the actions and with lambda left at 1 the offset's error is too small to be learned."""
    near, rarer = judged(train(build(replace(SMALL, offset_weight=1.0), UNSCALED)))
    assert rarer >= 0.3
    assert near < 0.8


def test_training_the_offsets_of_all_bins_fails() -> None:

    agent = build()

    def every_offset(images, batch, step):
        policy = agent.actor(images, batch.proprio, batch.task, batch.language)
        action = agent.actor.normalizer.encode(batch.action).flatten(0, 1)
        which = (action[:, None] - agent.actor.centres).square().sum(2).argmin(1)
        offset = action - agent.actor.centres[which]
        error = (policy.offset_BKA - offset[:, None]).square().mean()
        loss = F.cross_entropy(policy.logits_BK, which) + 1000 * error
        return loss, {"actor/loss": loss.detach()}

    agent.loss = every_offset
    near, _ = judged(train(agent))
    assert near < 0.5


def test_only_the_right_bins_offset_gets_a_gradient() -> None:
    agent, batch = build(replace(SMALL, bins=4)), two_ways(8, 0)
    batch = batch._replace(action=batch.action[:1].abs().expand(8, -1, -1).contiguous())
    action = agent.actor.normalizer.encode(batch.action).flatten()
    here = set((action[:, None] - agent.actor.centres[:, 0]).abs().argmin(1).tolist())
    assert 0 < len(here) < 4
    agent.loss({}, batch, 0)[0].backward()
    offsets = agent.actor.head.weight.grad[4:]  # one row per bin, of one action number
    for k in range(4):
        assert bool((offsets[k] != 0).any()) == (k in here)


def test_the_loss_is_focal_loss_and_the_right_offsets_error() -> None:
    agent, batch = build(replace(SMALL, focal=2.0, offset_weight=30.0)), two_ways(5, 1)
    policy = agent.actor({}, batch.proprio, batch.task, batch.language)
    action = agent.actor.normalizer.encode(batch.action).flatten(0, 1)
    expected = []
    for n in range(10):
        which = int((action[n] - agent.actor.centres[:, 0]).abs().argmin())
        p = policy.logits_BK[n].softmax(0)[which]
        wrong = agent.actor.centres[which] + policy.offset_BKA[n, which] - action[n]
        expected.append(-((1 - p) ** 2) * p.log() + 30.0 * wrong.square().mean())
    loss, metrics = agent.loss({}, batch, 0)
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    torch.testing.assert_close(metrics["actor/bin_loss"] + 30 * metrics["actor/offset_error"], loss.detach())
    assert agent.actor.config["deviation"] == pytest.approx(math.sqrt(1 / 60))


def test_steps_that_are_not_there_do_not_count_and_windows_weigh_the_same() -> None:
    agent, batch = build(), two_ways(2, 2)
    batch.valid[1, 1] = False
    spoiled = batch._replace(action=batch.action.clone())
    spoiled.action[1, 1] = -spoiled.action[1, 1]
    loss = agent.loss({}, batch, 0)[0]
    assert torch.equal(loss, agent.loss({}, spoiled, 0)[0])
    alone = [agent.loss({}, _part(batch, slice(i, i + 1)), 0)[0] for i in range(2)]
    torch.testing.assert_close(loss, (alone[0] + alone[1]) / 2)


def _part(batch: Batch, which: slice) -> Batch:
    return Batch(*(value[which] if isinstance(value, torch.Tensor) else value for value in batch))


def test_two_halves_of_a_batch_have_its_gradient_also_under_dropout() -> None:
    """Under torchrun gradients of equal parts are averaged; dropout belongs to the samples."""
    agent, batch = build(replace(SMALL, dropout=0.4)), two_ways(8, 3)

    def gradient(part: Batch, step: int = 0) -> torch.Tensor:
        agent.actor.zero_grad()
        agent.loss({}, part, step)[0].backward()
        return torch.cat([p.grad.flatten() for p in agent.actor.parameters() if p.grad is not None])

    whole = gradient(batch)
    halves = [gradient(_part(batch, slice(i, None, 2))) for i in range(2)]
    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(whole, gradient(batch, 1)), "another update drops others"


def test_the_decay_is_of_matrices_of_transformer_and_head() -> None:
    agent = build(cameras=("primary",))
    groups = agent._optimizer.param_groups
    names = {id(p): n for n, p in agent.actor.named_parameters()}
    decayed, others = ({names[id(p)] for p in group["params"]} for group in groups)
    assert decayed | others == set(names.values())
    assert "head.weight" in decayed
    assert "transformer.blocks.0.query_key_value.weight" in decayed
    assert not any(n.startswith("encoder") or n.endswith(("bias", "place")) or "norm" in n for n in decayed)
    assert groups[0]["weight_decay"] == 0.0  # as configured here
    assert (groups[1]["weight_decay"], groups[1]["betas"]) == (0.0, (0.9, 0.95))


def test_long_gradients_are_shortened() -> None:
    agent = build(replace(SMALL, clip_norm=1e-3))
    agent.update(two_ways(8, 0), 0)
    norm = torch.stack([p.grad.norm() for p in agent.actor.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_all_frames_of_a_window_are_augmented_alike_and_windows_differ() -> None:
    agent = build(replace(SMALL, augment=BeTConfig().augment), cameras=("primary",))
    frame = torch.randint(0, 256, (1, 1, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = two_ways(3, 0)._replace(images={"primary": frame.expand(3, 2, -1, -1, -1).contiguous()})
    view = agent._view(batch, 0)["primary"]
    assert view.shape == (3, 2, 16, 16, 3)
    assert torch.equal(view[:, 0], view[:, 1])
    assert not torch.equal(view[0], view[1])
    agent.update(batch, 0)


def test_bins_are_fitted_once_and_come_with_the_weights() -> None:
    agent, fresh = build(), build(seed=1, fitted=False)
    with pytest.raises(UserError, match="no bins yet"):
        fresh.update(two_ways(4, 0), 0)
    centres = agent.actor.centres.clone()
    np.testing.assert_allclose(sorted(centres[:, 0].tolist()), [-2 / 3, 2 / 3], atol=0.05)
    agent.update(two_ways(4, 0), 0)
    fresh.load_state_dict(agent.state_dict())
    assert torch.equal(fresh.actor.centres, centres)
    for one in (agent, fresh):
        with pytest.raises(UserError, match="fitted already"):
            one.fit(np.ones((5, 1), np.float32))
    assert torch.equal(agent.update(two_ways(4, 1), 1)["actor/loss"], fresh.update(two_ways(4, 1), 1)["actor/loss"])
    assert all(torch.equal(v, fresh.state_dict()[n]) for n, v in agent.state_dict().items())


def test_bins_are_of_finite_actions_and_the_average_has_them_too() -> None:
    agent = build(replace(SMALL, actor_average=0.5), fitted=False)
    with pytest.raises(DataError, match="at least one finite action"):
        agent.fit(np.full((3, 1), np.nan, np.float32))
    agent.fit(np.array([[0.01], [np.inf], [-0.01]], np.float32))
    assert torch.equal(agent.acting.centres, agent.actor.centres)
    np.testing.assert_allclose(sorted(agent.acting.centres[:, 0].tolist()), [-2 / 3, 2 / 3], atol=1e-6)
    agent.update(two_ways(4, 0), 0)
    assert bool(agent.acting.fitted)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"dropout": 1.0}, "dropout is 1.0"), ({"clip_norm": 0.0}, "clip_norm is 0.0"), ({"offset_weight": -1.0}, "offset_weight is -1.0"),
    ({"focal": -1.0}, "focal is -1.0"), ({"weight_decay": math.inf}, "weight_decay is inf"), ({"cluster_iterations": -1}, "cluster_iterations"),
])  # fmt: skip
def test_senseless_settings_are_refused(changes: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        BeTConfig(**changes)
