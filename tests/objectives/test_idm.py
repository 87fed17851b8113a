"""Inverse dynamics: the movement by hand, the likelihood against torch.distributions, and what it reads of pairs of frames."""

from typing import Any

import numpy as np
import pytest
import torch

from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.objectives.idm import IDM, IDMConfig, inverse_loss, movement, require_deltas
from robot_pt.objectives.views import frames_of
from robot_pt.schema import ACTION_NAMES, Spec
from tests.objectives.toy_moves import BOUNDS, ENCODER, FAST, SIDE, SPEC, batch_of, nearest_move, walking, walks

CHANCE = 0.25


def build(**options: Any) -> IDM:
    config = IDMConfig(**({"gap_s": 0.2, "augment": None, "optim": FAST} | options))
    return IDM.build(SPEC, image_size=(SIDE, SIDE), task_slots=1, encoder=ENCODER, config=config, bounds=BOUNDS)


def accuracy(objective: IDM, frames: torch.Tensor, which_B: torch.Tensor) -> float:
    with torch.no_grad():
        return float((nearest_move(objective.infer(frames).mode()) == which_B).float().mean())


def trained(shift: int = 0, **options: Any) -> IDM:
    """shift 1: the action that follows the pair instead of the one between its frames."""
    objective = build(**options)
    for step in range(110):
        place, which = walks(32, 3, seed=step)
        batch = batch_of(place[:, :2], which.roll(-shift, 1)[:, :2], key=1000 * step)
        objective.update(batch, step)
    return objective


@pytest.mark.parametrize("loss", ["nll", "mse"])
def test_the_movement_is_read_from_both_frames(loss: str) -> None:
    objective = trained(loss=loss)
    place, which = walks(200, 2, seed=10_000)
    frames = frames_of(batch_of(place, which))
    assert accuracy(objective, frames, which[:, 0]) > 0.95
    still = frames[:, [0, 0]]
    assert accuracy(objective, still, which[:, 0]) < CHANCE + 0.12


def test_an_action_from_the_wrong_step_fails_the_same_test() -> None:
    place, which = walks(200, 2, seed=10_000)
    assert accuracy(trained(shift=1), frames_of(batch_of(place, which)), which[:, 0]) < CHANCE + 0.12


def test_several_steps_are_what_they_did_together() -> None:
    rng = np.random.default_rng(0)
    action = rng.normal(size=(4, 3, 7)).astype(np.float32)
    got = movement(torch.from_numpy(action), ACTION_NAMES).numpy()
    np.testing.assert_allclose(3 * got[:, :6], action[:, :, :6].sum(1), rtol=1e-5)
    np.testing.assert_array_equal(got[:, 6], action[:, -1, 6])


def test_one_step_is_its_own_action_whatever_its_name() -> None:
    action = torch.randn(4, 1, 3)
    assert torch.equal(movement(action, ("j1", "dx", "gripper")), action[:, 0])


def test_the_target_is_the_normalised_movement_of_the_steps_before_the_last_frame() -> None:
    objective = build(gap_s=0.4)
    assert objective.plan.frames == 3
    assert objective.plan.pictures == (0, 2)
    batch = walking(6, 3, seed=3)
    want = (batch.action[:, 0] + batch.action[:, 1]) / 2 / BOUNDS.high[0]
    torch.testing.assert_close(objective.target(batch), want.clamp(-0.99, 0.99))
    changed = batch.action.clone()
    changed[:, 2] += 5
    torch.testing.assert_close(objective.target(batch._replace(action=changed)), objective.target(batch))


@pytest.mark.parametrize(("hz", "gap"), [(1.0, 1), (5.0, 2), (20.0, 7), (30.0, 10)])
def test_the_gap_follows_the_rate_of_the_data(hz: float, gap: int) -> None:
    assert IDMConfig().gap(hz) == gap


def test_likelihood_equals_that_of_torch_distributions() -> None:
    mean, log_std, target = torch.randn(5, 3), torch.tensor([-1.0, 0.5, 0.0]), torch.randn(5, 3)
    valid = torch.tensor([True, False, True, True, False])
    want = -torch.distributions.Normal(mean, log_std.exp()).log_prob(target)[valid].mean()
    found = ActionGaussian(mean, log_std.expand(5, 3), False)
    torch.testing.assert_close(inverse_loss(found, target, valid, "nll"), want)
    torch.testing.assert_close(inverse_loss(found, target, valid, "mse"), (mean - target)[valid].square().mean())


@pytest.mark.parametrize("kind", ["nll", "mse"])
def test_pairs_that_end_beyond_the_episode_have_no_gradient(kind: str) -> None:
    mean = torch.randn(4, 2, requires_grad=True)
    found = ActionGaussian(mean, torch.zeros(4, 2), False)
    target = torch.full((4, 2), 1e6).index_fill(0, torch.tensor([0, 2]), 0.3)
    inverse_loss(found, target, torch.tensor([True, False, True, False]), kind).backward()
    assert mean.grad is not None
    assert (mean.grad[[1, 3]] == 0).all()
    assert (mean.grad[[0, 2]] != 0).all()


def test_no_valid_pair_is_no_loss() -> None:
    found = ActionGaussian(torch.ones(2, 2), torch.zeros(2, 2), False)
    assert inverse_loss(found, torch.zeros(2, 2), torch.zeros(2, dtype=torch.bool), "mse") == 0


def test_proprio_is_not_read() -> None:
    batch = walking(8, 2, seed=0)
    one, other = build(), build()
    one.update(batch, 0)
    other.update(batch._replace(proprio=torch.randn(8, 2, 1)), 0)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_both_frames_share_a_crop_unless_they_are_told_not_to() -> None:
    from robot_pt.augment import AugmentConfig
    from robot_pt.objectives.views import view

    frames = frames_of(walking(8, 1, seed=1)).repeat(1, 2, 1, 1, 1)
    keys = torch.arange(8)
    shared = view(frames, keys, 0, 0, AugmentConfig(), seed=0, shared=IDMConfig().shared_view)
    assert torch.equal(shared[:, 0], shared[:, 1])
    apart = view(frames, keys, 0, 0, AugmentConfig(), seed=0, shared=False)
    assert not torch.equal(apart[:, 0], apart[:, 1])


def test_joint_angles_are_not_added_up() -> None:
    require_deltas(("j1", "j2", "gripper"), 1)
    with pytest.raises(MismatchError, match="IDM over 2 steps adds up deltas, and the data's action 'j1' is none"):
        require_deltas(("dx", "j1", "gripper"), 2)
    spec = Spec(cameras={"primary": (SIDE, SIDE)}, embodiment="toy", action_names=("j1", "j2"))
    with pytest.raises(MismatchError, match="map the actions"):
        IDM.build(spec, image_size=(SIDE, SIDE), task_slots=1, encoder=ENCODER, bounds=BOUNDS)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"loss": "l1"}, "'l1'; choose nll or mse"), ({"gap_s": 0.0}, "gap_s is 0.0"), ({"hidden": 0}, "0 hidden units")],
)
def test_settings_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        IDMConfig(**options)
