"""ICVF: goals by enumeration, a chain whose values dynamic programming gives, the multilinear form by hand, values of unseen video."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from robot_pt.errors import UserError
from robot_pt.objectives.icvf import (
    ICVF,
    ICVFConfig,
    ICVFFrames,
    IntentValue,
    ValueHeads,
    advantage,
    backup,
    choose_goals,
    icvf_loss,
)  # fmt: skip
from robot_pt.objectives.stepper import StepConfig
from tests.objectives.toy_video import ENCODER, SIZE, SPEC, Videos, crossing

GAMMA = 0.9


def build(**options: Any) -> ICVF:
    fast = StepConfig(learning_rate=1e-3, weight_decay=0.0, clip_norm=0.0, momentum=(0.98, 0.98))
    config = ICVFConfig(**({"hidden": (32, 32), "augment": None, "optim": fast, "gamma": GAMMA} | options))
    return ICVF.build(SPEC, image_size=(SIZE, SIZE), task_slots=1, encoder=ENCODER, config=config)


# Which frames.


@pytest.mark.parametrize("anchor", [0, 2, 4, 5])
def test_later_frames_are_the_rounded_points_of_the_original(anchor: int) -> None:
    """round(anchor d + last (1 - d)), d uniform: by the measure of the d that round to each frame."""
    length, draws = 6, 40_000
    step = ICVFFrames().steps(np.random.default_rng(anchor), np.full(draws, anchor), np.full(draws, length))
    assert (step[:, 0] == anchor).all()
    assert (step[:, 1] == anchor + 1).all()
    fine = (np.arange(60_000) + 0.5) / 60_000
    expected = np.bincount(np.round(anchor * fine + (length - 1) * (1 - fine)).astype(int), minlength=length) / 60_000
    for column in (2, 3):
        seen = np.bincount(step[:, column], minlength=length)
        assert (seen[expected == 0] == 0).all()
        assert stats.chisquare(seen[expected > 0], draws * expected[expected > 0]).pvalue > 1e-4 or anchor == length - 1
    if anchor < 4:
        assert abs(np.corrcoef(step[:, 2], step[:, 3])[0, 1]) < 0.02


def test_the_last_frame_has_no_next_and_does_not_count() -> None:
    videos = Videos(np.zeros((1, 6, SIZE, SIZE, 3), np.uint8))
    batch = videos.at(ICVFFrames(), np.random.default_rng(0), np.zeros(6, np.int64), np.arange(6))
    assert batch.valid.all(1).tolist() == [True] * 5 + [False]


def test_goals_come_from_here_from_later_and_from_anywhere() -> None:
    objective, videos = build(), Videos(np.zeros((4, 5, SIZE, SIZE, 3), np.uint8))
    batch = videos.clips(objective.plan, 0, 20_000)
    outcome, intent = choose_goals(batch, 0, objective.config, seed=0)
    own = torch.arange(20_000)
    for goal in (outcome, intent):
        current, later = (goal.row == own) & (goal.frame == 0), goal.frame >= 2
        assert float(current.float().mean()) == pytest.approx(0.2, abs=0.012)
        assert float(later.float().mean()) == pytest.approx(0.5, abs=0.015)
        assert (goal.row[later] == own[later]).all()
        anywhere = ~current & ~later
        assert (goal.row[anywhere] != own[anywhere]).all()
        place = 5 * batch.episode[goal.row] + batch.step[goal.row, goal.frame]
        assert stats.chisquare(np.bincount(place[anywhere].numpy(), minlength=20)).pvalue > 1e-4
        assert torch.equal(goal.reached, place == 5 * batch.episode + batch.step[:, 0])
        assert goal.reached[current].all()
    same = (outcome.row == intent.row) & (outcome.frame == intent.frame)
    assert float(same.float().mean()) == pytest.approx(0.5 + 0.5 * 0.2**2, abs=0.015)


# The loss.


def test_a_goal_that_is_reached_ends_the_return() -> None:
    value, reached = torch.tensor([[-3.0, -3.0], [-5.0, -4.0]]), torch.tensor([False, True])
    assert backup(value, reached, 0.5).tolist() == [[-2.5, 0.0], [-3.5, 0.0]]
    now = torch.tensor([[-2.0, 1.0], [-4.0, 2.0]])
    assert advantage(value, now, reached, 0.5).tolist() == [-1 + 0.5 * -5 + 3, 0 - 1.5]


def test_the_weight_is_of_the_advantages_sign_not_the_errors() -> None:
    value, target = (
        torch.tensor([[1.0, 1.0, 1.0, 1.0]] * 2),
        torch.tensor([[3.0, -1.0, 3.0, -1.0], [1.0, 1.0, 2.0, 1.0]]),
    )
    towards = torch.tensor([0.5, 0.5, -0.5, 0.0])
    loss = icvf_loss(value, target, towards, torch.tensor([True] * 4), 0.9)
    assert float(loss) == pytest.approx((0.9 * 4 + 0.9 * 4 + 0.1 * (4 + 1) + 0.9 * 4) / 4)
    assert float(icvf_loss(value, target, towards, torch.tensor([False, False, True, False]), 0.9)) == pytest.approx(
        0.5
    )


def test_the_form_is_multilinear_by_hand_and_differentiable() -> None:
    torch.manual_seed(0)
    head = IntentValue(3, (5, 4)).double()
    s, g, z = (torch.randn(6, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def layers(net: torch.nn.Sequential, x: np.ndarray) -> np.ndarray:
        for linear, _, norm in zip(net[0::3], net[1::3], net[2::3], strict=True):
            x = x @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
            x = x * stats.norm.cdf(x)
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
            assert (norm.weight == 1).all()
        return x

    x, y, w = (v.detach().numpy() for v in (s, g, z))
    diagonal = layers(head.intent, layers(head.psi, w))
    left, right = head.left, head.right
    phi = (diagonal * layers(head.phi, x)) @ left.weight.detach().numpy().T + left.bias.detach().numpy()
    psi = (diagonal * layers(head.psi, y)) @ right.weight.detach().numpy().T + right.bias.detach().numpy()
    np.testing.assert_allclose(head(s, g, z).detach().numpy(), (phi * psi).sum(-1), rtol=1e-6)
    assert torch.autograd.gradcheck(head, (s, g, z))


def test_two_heads_have_weights_of_their_own() -> None:
    heads, x = ValueHeads(3, (4,)), torch.randn(5, 3)
    out = heads(x, x, x)
    assert out.shape == (2, 5)
    assert (out[0] != out[1]).all()
    assert torch.equal(out[1], heads.heads[1](x, x, x))


# A walk on a line, left or right with equal probability; the ends turn back.

STATES = 6
STEPS = [(s, s2) for s in range(STATES) for s2 in ({s - 1, s + 1} & set(range(STATES)))]


def dynamic_programming(expectile: float) -> np.ndarray:
    """(s, g, z): the fixed point, where V is the weighted mean over next states of what they are worth."""
    v, own = np.zeros((STATES,) * 3), np.eye(STATES, dtype=bool)
    for _ in range(400):
        wanted = v[:, range(STATES), range(STATES)]  # (s, z): V(s, z, z)
        total, weights = np.zeros_like(v), np.zeros((STATES, 1, STATES))
        for s, s2 in STEPS:
            better = np.where(own[s], 0, -1 + GAMMA * wanted[s2]) >= wanted[s]
            weight = np.where(better, expectile, 1 - expectile)  # (z,)
            total[s] += weight * np.where(own[s][:, None], 0, -1 + GAMMA * v[s2])
            weights[s] += weight
        v = 0.5 * v + 0.5 * total / weights
    return v


def learned(expectile: float, *, steps: int = 1500, share: float = 0.2) -> np.ndarray:
    """The same by gradient descent on a table with the module's losses, two heads and an averaged target."""
    rows = torch.tensor([(s, s2, g, z) for s, s2 in STEPS for g in range(STATES) for z in range(STATES)])
    s, s2, g, z = rows.T
    table = torch.randn(2, STATES, STATES, STATES, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.zeros_like(table).detach()
    adam = torch.optim.Adam([table], 0.1)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 0.1 * (1 - step / steps) + 1e-4
        aim = backup(target[:, s2, g, z], s == g, GAMMA)
        towards = advantage(target[:, s2, z, z], target[:, s, z, z], s == z, GAMMA)
        loss = icvf_loss(table[:, s, g, z], aim, towards, torch.ones(len(rows), dtype=torch.bool), expectile)
        adam.zero_grad()
        loss.backward()
        adam.step()
        target.lerp_(table.detach(), share)
    return table.detach().mean(0).numpy()


def test_a_table_reaches_the_values_of_dynamic_programming() -> None:
    exact = dynamic_programming(0.9)
    np.testing.assert_allclose(learned(0.9), exact, atol=0.05)
    # towards the right end the way there is nearly always taken: near -(1 - gamma^n) / (1 - gamma), far from the walk's own values
    steps = np.arange(STATES)[::-1]
    best, walk = -(1 - GAMMA**steps) / (1 - GAMMA), dynamic_programming(0.5)
    assert (np.abs(exact[:, -1, -1] - best) < np.abs(walk[:, -1, -1] - best)[0] / 3).all()
    # who wants the left end is not on the way to the right one
    assert exact[2, -1, 0] < exact[2, -1, -1] - 2


def test_values_without_the_sign_or_without_a_moving_target_are_others() -> None:
    exact = dynamic_programming(0.9)
    assert np.abs(learned(0.5, steps=600) - exact).max() > 1  # every step weighs the same
    frozen = learned(0.9, steps=300, share=0.0)
    assert frozen.min() > -1.1  # one backup of a target of 0
    assert np.abs(frozen - exact).max() > 3


# The whole.


def test_an_update_moves_both_averages_by_their_share() -> None:
    objective = build()
    pairs = [(objective.target_encoder, objective.encoder), (objective.target_heads, objective.heads)]
    before = [[p.clone() for p in target.parameters()] for target, _ in pairs]
    metrics = objective.update(crossing(8, seed=0).clips(objective.plan, 0, 16), 0)
    assert {"objective/loss", "objective/value", "objective/advantage", "objective/towards"} == set(metrics)
    for old, (target, online) in zip(before, pairs, strict=True):
        for o, t, n in zip(old, target.parameters(), online.parameters(), strict=True):
            torch.testing.assert_close(t, o + 0.02 * (n - o), rtol=1e-5, atol=1e-7)
        assert any((o != n).any() for o, n in zip(old, online.parameters(), strict=True))


def test_the_loss_is_that_of_its_frames_looked_at_one_by_one() -> None:
    objective, videos = build(), crossing(3, seed=0, length=4)
    with torch.no_grad():
        for network in (objective.target_encoder, objective.target_heads):
            for p in network.parameters():
                p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        for head in objective.target_heads.heads:  # values below 0, so that advantages have both signs
            head.left.weight.neg_()
            head.left.bias.neg_()
    batch = videos.clips(objective.plan, 0, 48)
    goals = choose_goals(batch, 0, objective.config, seed=0)
    loss, _ = objective.loss(batch.images["primary"], batch, *goals)

    def v(net: Any, heads: Any, *places: tuple[int, int]) -> np.ndarray:
        with torch.no_grad():
            return (
                heads(*(net(batch.images["primary"][row, frame][None]) for row, frame in places))[:, 0].double().numpy()
            )

    kept, online, total = (objective.target_encoder, objective.target_heads), (objective.encoder, objective.heads), []
    signs: set[bool] = set()
    for b in np.flatnonzero(batch.valid.all(1)):
        (g, rg), (z, rz) = (((int(goal.row[b]), int(goal.frame[b])), bool(goal.reached[b])) for goal in goals)
        q = 0 if rg else -1 + GAMMA * v(*kept, (b, 1), g, z)
        a = (0 if rz else -1 + GAMMA * v(*kept, (b, 1), z, z).min()) - v(*kept, (b, 0), z, z).mean()
        signs.add(bool(a >= 0))
        total.append((0.9 if a >= 0 else 0.1) * ((q - v(*online, (b, 0), g, z)) ** 2).sum())
    assert 0 < len(total) < 48
    assert signs == {True, False}
    assert float(loss.detach()) == pytest.approx(np.mean(total), rel=1e-4)


def test_values_rise_towards_the_goal_of_an_unseen_clip() -> None:
    objective, videos = build(), crossing(100, seed=0)
    held_out = crossing(10, seed=99).frames

    def order() -> float:
        shares = []
        for frames in held_out:
            with torch.no_grad():
                code = objective.encoder(torch.from_numpy(frames))
                goal = code[-1:].expand(len(code), -1)
                shares.append(
                    stats.spearmanr(objective.heads(code, goal, goal).mean(0).numpy(), np.arange(len(code))).statistic
                )
        return float(np.mean(shares))

    untrained = order()
    for step in range(100):
        objective.update(videos.clips(objective.plan, step, 64), step)
    assert order() > 0.45 > untrained + 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 1.0}, "gamma and expectile are 1.0"), ({"expectile": 0.0}, "gamma and expectile"), ({"current_goals": 0.7}, "shares"),
        ({"same_goal": 1.2}, "shares in"), ({"hidden": ()}, "hidden layers are"), ({"hidden": (8, 0)}, "hidden layers are"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ICVFConfig(**options)
