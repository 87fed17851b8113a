"""SGI: distances and rewards by hand, goals by where they come from, a value that learns to want what is near the goal."""

from typing import Any

import numpy as np
import pytest
import torch

from robot_pt.agents.state import move_towards
from robot_pt.errors import UserError
from robot_pt.objectives.sgi import SGI, SGIConfig, distance, inverse_loss, progress
from robot_pt.objectives.spr import Rolled, renormalized
from tests.objectives.toy_moves import BOUNDS, ENCODER, FAST, SIDE, SPEC, nearest_move, walking

D = 6


def build(**options: Any) -> SGI:
    config = SGIConfig(**({"steps": 3, "augment": None, "optim": FAST, "width": 64, "hidden": 128} | options))
    return SGI.build(SPEC, image_size=(SIDE, SIDE), task_slots=1, encoder=ENCODER, config=config, bounds=BOUNDS)


def test_distance_by_hand() -> None:
    x, y = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 3.0])
    assert float(distance(x, 5 * x)) == pytest.approx(0)
    assert float(distance(x, y)) == pytest.approx(1 - np.exp(-10), rel=1e-6)
    angle = 0.3
    near = torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float32)
    assert float(distance(x, near)) == pytest.approx(1 - np.exp(-5 * (2 - 2 * np.cos(angle))), rel=1e-4)


def test_rewards_of_a_path_add_up_to_what_its_ends_tell() -> None:
    path, goal = torch.randn(7, D).abs(), torch.randn(D).abs()
    total = sum(progress(path[i], path[i + 1], goal) for i in range(6))
    torch.testing.assert_close(total, 5 * (distance(path[0], goal) - distance(path[-1], goal)), atol=1e-5, rtol=0)


def test_inverse_loss_counts_steps_whose_next_frame_exists() -> None:
    found, action = torch.randn(4, 3, 2), torch.randn(4, 3, 2)
    valid = torch.rand(4, 3) < 0.5
    torch.testing.assert_close(inverse_loss(found, action, valid), (found - action)[valid].square().mean())


def test_goals_are_later_frames_that_exist_and_sometimes_those_of_other_clips() -> None:
    objective = build(goal_noise=0.0, goal_other=0.25)
    count = 4000
    batch = walking(count, 4, seed=0)
    valid = batch.valid.clone()
    valid[::2, 2:] = False
    batch = batch._replace(valid=valid)
    seen = torch.rand(count, 4, D, generator=torch.Generator().manual_seed(0))
    goals = objective.goals(seen, batch, 0)
    direction = (seen - seen.amin(-1, keepdim=True)) / (seen.amax(-1, keepdim=True) - seen.amin(-1, keepdim=True))
    own = (goals[:, None] - direction).abs().amax(-1) < 1e-3
    assert own.any(1).float().mean() == pytest.approx(0.75, abs=0.03)
    assert not own[:, 0].any(), "a goal lies ahead"
    assert not own[::2, 2:].any()
    share = own[1::2, 1:].float().mean(0) / own[1::2].any(1).float().mean()
    np.testing.assert_allclose(share, 1 / 3, atol=0.04)


def test_noise_moves_a_goal_and_repeats_with_the_step() -> None:
    objective, batch = build(goal_other=0.0), walking(64, 4, seed=0)
    seen = torch.rand(64, 4, D)
    assert torch.equal(objective.goals(seen, batch, 3), objective.goals(seen, batch, 3))
    still = build(goal_other=0.0, goal_noise=0.0).goals(seen, batch, 3)
    moved = (objective.goals(seen, batch, 3) - still).norm(dim=1)
    assert moved.min() > 0
    assert moved.std() > 0.1 * moved.mean()


def rolled_of(latent: torch.Tensor) -> Rolled:
    return Rolled(latent, latent, latent, latent)


def test_the_goal_target_is_the_shifted_distribution_of_the_best_action() -> None:
    """Against a loop over candidates in numpy."""
    objective, batch = build(candidates=3), walking(5, 4, seed=0)
    latent = 64
    seen, goal = torch.rand(5, 4, latent), torch.rand(5, latent)
    action = objective.model.normalizer.encode(batch.action[:, :-1])
    asked: list[torch.Tensor] = []
    target = objective.averages["target_goal"]
    target.register_forward_pre_hook(lambda _, args: asked.append(args[1]))
    got = objective.backup(seen, goal, action, batch, 7)
    candidates = asked[0]
    assert torch.equal(candidates[:, 0], action[:, 1])
    assert candidates.shape == (5, 4, 2)
    with torch.no_grad():
        probability = target(torch.cat([seen[:, 1], goal], 1), candidates)[0].softmax(-1).double().numpy()
    atoms = np.linspace(-10, 10, 51)
    for b in range(5):
        best = max(range(4), key=lambda k: probability[b, k] @ atoms)
        reward = float(progress(seen[b, 0], seen[b, 1], goal[b]))
        want = np.zeros(51)
        for place, mass in zip(np.clip(reward + 0.99 * atoms, -10, 10), probability[b, best], strict=True):
            lower = min(int((place + 10) / 0.4), 49)
            share = (place + 10) / 0.4 - lower
            want[lower] += (1 - share) * mass
            want[lower + 1] += share * mass
        np.testing.assert_allclose(got[b], want, atol=2e-5)


def test_all_terms_are_in_the_loss_with_their_weights() -> None:
    batch = walking(8, 4, seed=0)
    metrics = build().update(batch, 0)
    parts = [metrics[f"objective/{n}_loss"] for n in ("prediction", "inverse", "goal")]
    torch.testing.assert_close(metrics["objective/loss"], torch.stack(parts).sum())
    doubled = build(inverse_weight=2.0, goal_weight=0.0).update(batch, 0)
    torch.testing.assert_close(doubled["objective/inverse_loss"], 2 * parts[1])
    assert doubled["objective/goal_loss"] == 0


@pytest.mark.slow
def test_inverse_dynamics_is_learned_beside_the_rest() -> None:
    objective = build(hidden=256)
    for step in range(300):
        metrics = objective.update(walking(32, 4, seed=step), step)
    assert metrics["objective/goal_loss"] < 3.6
    batch = walking(100, 4, seed=10_000)
    action = objective.model.normalizer.encode(batch.action[:, :-1])
    with torch.no_grad():
        rolled = objective.roll(objective.views(batch, 0), action)
        found = objective.others["inverse"](torch.cat([rolled.projected[:, :-1], rolled.target[:, 1:]], -1))
    right = nearest_move(found.flatten(0, 1)) == nearest_move(action.flatten(0, 1))
    assert right.float().mean() > 0.9


def told_apart(shift: int = 0) -> float:
    """On a ring of eight fixed latents, steps of one to either side; only the goal's value learns.

    Of all places and goals one or two steps away, the share whose value prefers the step that leads there.
    `shift` 1: the value is told the action of the step after.
    """
    objective, generator = build(goal_noise=0.0, goal_other=0.0, gamma=0.9), torch.Generator().manual_seed(0)
    angle = torch.arange(8) * torch.pi / 4
    circle = torch.stack([angle.cos(), angle.sin()], 1) @ torch.randn(2, ENCODER.latent, generator=generator)
    ring, value = renormalized(circle), objective.others["goal"]
    adam = torch.optim.Adam(value.parameters(), 3e-3)

    def walk(count: int, seed: int) -> tuple[Rolled, torch.Tensor]:
        draw = torch.Generator().manual_seed(seed)
        side = torch.randint(0, 2, (count, 3), generator=draw) * 2 - 1
        place = torch.randint(0, 8, (count, 1), generator=draw)
        place = torch.cat([place, place + side.cumsum(1)], 1) % 8
        action = torch.zeros(count, 3, 2)
        action[..., 0] = 0.9 * side
        return rolled_of(ring[place]), action.roll(-shift, 1)

    for step in range(150):
        rolled, action = walk(64, step)
        adam.zero_grad()
        objective.goal_loss(rolled, action, walking(64, 4, seed=step), step).backward()
        adam.step()
        move_towards(objective.averages["target_goal"], value, 0.05)
    here, right = torch.arange(8), []
    with torch.no_grad():
        for side in (1, -1):
            both = torch.tensor([[0.9 * side, 0.0], [-0.9 * side, 0.0]]).expand(8, 2, 2)
            for far in (1, 2):
                q = objective.code.decode(value(torch.cat([ring, ring[(here + far * side) % 8]], 1), both))[0]
                right.append(q[:, 0] > q[:, 1])
    return float(torch.cat(right).float().mean())


def test_the_value_prefers_the_action_that_leads_to_the_goal() -> None:
    assert told_apart() == 1


def test_a_value_told_the_action_of_another_step_fails_the_same_test() -> None:
    assert told_apart(shift=1) < 0.9


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"goal_weight": -1.0}, "give weights from 0"), ({"gamma": 1.0}, "gamma 1.0"), ({"candidates": 0}, "0 candidates"),
        ({"goal_noise": 1.5}, "goal_noise and goal_other are 1.5"), ({"goal_other": -0.1}, "give shares"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        SGIConfig(**options)
