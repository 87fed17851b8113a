import math

import pytest
import torch

from robot_pt.agents.bc import BC, BCConfig
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch, Spec

SPEC = Spec(cameras={"primary": (32, 32), "wrist": (32, 32)}, embodiment="test")
GEN = torch.Generator().manual_seed(0)


def build(config: BCConfig | None = None, cameras: tuple[str, ...] = ("primary",), **options: object) -> BC:
    return BC.build(
        SPEC,
        cameras=cameras,
        image_size=(32, 32),
        task_slots=4,
        encoder=EncoderConfig(name="small"),
        config=config,
        **options,
    )


def make_batch(size: int = 8, first_key: int = 0) -> Batch:
    """The picture shows a block left or right; the demonstrated dx points to it."""
    side = torch.randint(0, 2, (size,), generator=GEN)
    images = torch.full((size, 32, 32, 3), 60, dtype=torch.uint8)
    images[side == 0, 8:24, 4:12, 0] = 230
    images[side == 1, 8:24, 20:28, 0] = 230
    action = 0.01 * torch.randn(size, 7, generator=GEN)
    action[:, 0] = 0.03 * (2.0 * side - 1)
    other = torch.randint(0, 256, (size, 32, 32, 3), generator=GEN, dtype=torch.uint8)
    return Batch(
        images={"primary": images, "wrist": other},
        proprio=torch.randn(size, 7, generator=GEN),
        task=torch.zeros(size, dtype=torch.int64),
        language=torch.zeros(size, 0),
        action=action,
        reward=torch.zeros(size),
        discount=torch.zeros(size),
        next_images={"primary": images, "wrist": other},
        next_proprio=torch.zeros(size, 7),
        return_to_go=torch.zeros(size),
        sample_key=torch.arange(first_key, first_key + size),
        source=side,
    )


def test_published_loss_is_half_the_squared_error_plus_a_constant() -> None:
    agent, batch = build(BCConfig(augment=None)), make_batch()
    with torch.no_grad():
        mean = agent.actor(batch.images, batch.proprio, batch.task, batch.language).mean_BA
    error = (mean - agent.actor.normalizer.encode(batch.action)).square()
    metrics = agent.update(batch, 0)
    torch.testing.assert_close(metrics["actor/loss"], 0.5 * error.sum(1).mean() + 3.5 * math.log(2 * math.pi))
    torch.testing.assert_close(metrics["actor/mse"], error.mean())


def test_update_is_adam_on_that_loss() -> None:
    agent, twin, batch = build(BCConfig(augment=None)), build(BCConfig(augment=None)), make_batch()
    adam = torch.optim.Adam(twin.actor.parameters(), 3e-4)
    for step in range(2):
        agent.update(batch, step)
        mean = twin.actor(batch.images, batch.proprio, batch.task, batch.language).mean_BA
        adam.zero_grad()
        (0.5 * (mean - twin.actor.normalizer.encode(batch.action)).square().sum(1).mean()).backward()
        adam.step()
    for ours, theirs in zip(agent.actor.parameters(), twin.actor.parameters(), strict=True):
        assert (ours - theirs).abs().mean() < 3e-6


def seldom_batch(step: int, size: int = 64) -> Batch:
    """Proprio 0 is the gripper's opening, +-1, proprio 1 a distance; the order repeats the opening but where the distance is below 0: 3 %."""
    draw = torch.Generator().manual_seed(step)
    opening = torch.randint(0, 2, (size,), generator=draw) * 2.0 - 1
    near = torch.rand(size, generator=draw) < 0.03
    proprio = torch.zeros(size, 7)
    proprio[:, 0], proprio[:, 1] = opening, torch.where(near, -1.0, 1.0) * torch.rand(size, generator=draw)
    action = torch.zeros(size, 7)
    action[:, 6] = torch.where(near, -opening, opening) * 0.5 + 0.5
    return make_batch(size, first_key=size * step)._replace(images={}, next_images={}, proprio=proprio, action=action)


def share_begun(beta: float, updates: int) -> float:
    """Of the steps that turn the gripper, how many a clone with PTR's head turns after so many updates."""
    config = BCConfig(head="tanh_gaussian", std="state", likelihood_beta=beta, augment=None, learning_rate=1e-3)
    agent = build(config, cameras=())
    for step in range(updates):
        agent.update(seldom_batch(step), step)
    test = seldom_batch(updates, 2_000)
    seldom = (test.action[:, 6] > 0.5) != (test.proprio[:, 0] > 0)
    order = agent.actor.mode({}, test.proprio, test.task, test.language)[:, 6]
    return float(((order > 0.5) == (test.action[:, 6] > 0.5))[seldom].float().mean())


def test_what_is_done_seldom_is_learned_with_beta_and_put_down_to_noise_without() -> None:
    assert share_begun(1.0, 500) > 0.7
    assert share_begun(0.0, 500) < 0.5


def test_beta_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"BC's likelihood_beta is -0.1; give a number in \[0, 1\]"):
        BCConfig(likelihood_beta=-0.1)


@pytest.mark.parametrize(
    "config",
    [BCConfig(), BCConfig(std="global"), BCConfig(head="tanh_gaussian", std="state"), BCConfig(augment=None)],
    ids=["published", "learned_std", "ptr_head", "no_augmentation"],
)
def test_reaches_the_demonstrated_action(config: BCConfig) -> None:
    agent = build(config)
    for step in range(400):
        batch = make_batch(32, 32 * step)
        agent.update(batch, step)
        action = agent.actor.mode(batch.images, batch.proprio, batch.task, batch.language)
        if step % 20 == 19 and (action[:, 0] - batch.action[:, 0]).abs().mean() < 0.006:
            return
    pytest.fail(f"mean error of dx is {(action[:, 0] - batch.action[:, 0]).abs().mean():.4f} m after 400 updates")


def corridor(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Episodes of an expert that walks to the right in a corridor as wide as a step and up after its corner at (0, 0).

    Each is (places (T, 2) [steps], moves (T, 2) [steps]).
    """
    out = []
    for _ in range(count):
        place = torch.tensor([-5.0, 0.0]) + 0.2 * (2 * torch.rand(2, generator=GEN) - 1)
        places, moves = [], []
        while place[1] < 4:
            right = place[0] < -0.5
            move = torch.stack([(-place[0]).clamp(-1, 1), -place[1] if right else torch.tensor(1.0)])
            places.append(place)
            moves.append(move)
            place = place + move
        out.append((torch.stack(places), torch.stack(moves)))
    return out


def told(place_B2: torch.Tensor, move_B2: torch.Tensor, first_key: int = 0) -> Batch:
    """A batch without pictures: the place is its proprio, a step is 3 cm."""
    batch = make_batch(len(place_B2), first_key)
    action = torch.cat([0.03 * move_B2, torch.zeros(len(place_B2), 5)], 1)
    proprio = torch.cat([place_B2 / 2, torch.zeros(len(place_B2), 5)], 1)
    return batch._replace(images={}, next_images={}, action=action, proprio=proprio)


def share_arrived(shift: int) -> float:
    """Of the starts of 20 demonstrations, how many a clone of them walks to the end without touching a wall.

    `shift` 1: it learns from each place the move of the step after.
    """
    episodes = corridor(20)
    place = torch.cat([p for p, _ in episodes])
    move = torch.cat([torch.cat([m[shift:], m[len(m) - shift :]]) for _, m in episodes])
    agent = build(BCConfig(augment=None, learning_rate=1e-3), cameras=())
    for step in range(400):
        rows = torch.randint(0, len(place), (64,), generator=GEN)
        agent.update(told(place[rows], move[rows], 64 * step), step)
    now = torch.stack([p[0] for p, _ in episodes])
    free = torch.ones(len(now), dtype=torch.bool)
    for _ in range(9):
        batch = told(now, torch.zeros_like(now))
        with torch.no_grad():
            now = now + agent.actor.mode({}, batch.proprio, batch.task, batch.language)[:, :2] / 0.03
        x, y = now.unbind(1)
        free &= ((y.abs() < 0.5) & (x < 0.5)) | ((x.abs() < 0.5) & (y > -0.5))
    return float((free & (now[:, 1] > 3.5)).float().mean())


def test_a_clone_walks_where_the_expert_did_and_with_the_move_of_the_step_after_into_the_wall() -> None:
    assert share_arrived(0) == 1
    assert share_arrived(1) == 0


def test_log_std_range_reaches_the_network() -> None:
    agent, batch = build(BCConfig(head="tanh_gaussian", std="state", log_std_range=(-2.0, -1.0))), make_batch()
    policy = agent.actor(batch.images, batch.proprio, batch.task, batch.language)
    assert set(policy.log_std_BA.flatten().tolist()) == {-1.0}


def test_learned_std_falls_on_deterministic_data() -> None:
    agent = build(BCConfig(std="global", learning_rate=3e-3))
    for step in range(60):
        agent.update(make_batch(32, 32 * step), step)
    assert agent.actor.global_log_std[0] < -0.05


def test_augmented_view_depends_on_step_and_repeats() -> None:
    agent, batch = build(), make_batch()
    first = agent._view(batch, 0)["primary"]
    assert torch.equal(first, agent._view(batch, 0)["primary"])
    assert not torch.equal(first, agent._view(batch, 1)["primary"])
    assert build(BCConfig(augment=None))._view(batch, 0)["primary"] is batch.images["primary"]


def test_two_cameras_are_seen_under_different_noise() -> None:
    agent, batch = build(cameras=("primary", "wrist")), make_batch()
    same = batch._replace(images={"primary": batch.images["wrist"], "wrist": batch.images["wrist"]})
    view = agent._view(same, 0)
    assert set(view) == {"primary", "wrist"}
    assert not torch.equal(view["primary"], view["wrist"])
    agent.update(batch, 0)


def test_state_round_trip_continues_bit_for_bit() -> None:
    agent, other = build(), build(seed=0)
    for step in range(2):
        agent.update(make_batch(), step)
    other.load_state_dict(agent.state_dict())
    batch = make_batch()
    assert torch.equal(agent.update(batch, 2)["actor/loss"], other.update(batch, 2)["actor/loss"])
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in agent.state_dict().items())


def test_weights_alone_load_and_leave_the_optimiser_fresh() -> None:
    agent, other = build(), build(seed=1)
    agent.update(make_batch(), 0)
    other.load_state_dict({n: v for n, v in agent.state_dict().items() if not n.startswith("optimizer.")})
    assert torch.equal(other.actor.mean.bias, agent.actor.mean.bias)
    assert not any(n.startswith("optimizer.") for n in other.state_dict())


def test_state_of_another_network_is_refused() -> None:
    with pytest.raises(MismatchError, match=r"misses|unknown"):
        build(BCConfig(std="global")).load_state_dict(build().state_dict())


def test_gradient_hook_runs_between_backward_and_step() -> None:
    agent = build()
    before = agent.actor.mean.weight.clone()

    def erase(parameters) -> None:
        for p in parameters:
            assert p.grad is not None
            p.grad.zero_()

    agent.grad_sync = erase
    agent.update(make_batch(), 0)
    assert torch.equal(before, agent.actor.mean.weight)


def test_no_values_without_a_critic() -> None:
    with pytest.raises(UserError, match="no critic"):
        build().values(make_batch())


def test_bf16_stays_close() -> None:
    full, half, batch = build(), build(BCConfig(bf16=True)), make_batch()
    ours, theirs = full.update(batch, 0)["actor/loss"], half.update(batch, 0)["actor/loss"]
    assert theirs.dtype == torch.float32
    assert float(theirs) == pytest.approx(float(ours), rel=0.01)


def test_acting_network_is_the_running_average_of_the_weights() -> None:
    agent = build(BCConfig(augment=None, actor_average=0.25, learning_rate=1e-2))
    expected = {name: value.clone() for name, value in agent.actor.state_dict().items()}
    for step in range(4):
        agent.update(make_batch(), step)
        for name, value in agent.actor.named_parameters():
            expected[name] = 0.75 * expected[name] + 0.25 * value.detach()
    for name, value in agent.acting.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(a, b) for a, b in zip(agent.acting.parameters(), agent.actor.parameters(), strict=True))
    twin = build(BCConfig(augment=None, actor_average=0.25), seed=1)
    twin.load_state_dict(agent.state_dict())
    for a, b in zip(agent.acting.parameters(), twin.acting.parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_average_the_actor_itself_acts() -> None:
    agent = build()
    assert agent.acting is agent.actor
    assert not any(name.startswith("average") for name in agent.state_dict())


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_average_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=r"actor_average.*\[0, 1\]"):
        BCConfig(actor_average=share)
