"""Moving averages of networks: weights move by a share, statistics of normalisation layers follow whole."""

import pytest
import torch
from torch import nn

from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.agents.state import averaged, move_towards
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch, Spec


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    made(torch.rand(8, 3, 6, 6) * seed)  # statistics of its own
    return made


@pytest.mark.parametrize("share", [0.005, 0.3, 1.0])
def test_parameters_move_by_the_share_and_buffers_are_copied(share: float) -> None:
    target, source = network(1), network(2)
    before = [p.detach().clone() for p in target.parameters()]
    move_towards(target, source, share)
    for was, now, goal in zip(before, target.parameters(), source.parameters(), strict=True):
        torch.testing.assert_close(now.detach(), was + share * (goal.detach() - was))
    for (name, ours), theirs in zip(target.named_buffers(), source.buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    assert target[1].num_batches_tracked.item() == source[1].num_batches_tracked.item()
    assert target[1].running_mean.data_ptr() != source[1].running_mean.data_ptr()


def test_networks_without_buffers_move_too() -> None:
    target, source = nn.Linear(2, 3), nn.Linear(2, 3)
    move_towards(target, source, 1.0)
    assert torch.equal(target.weight, source.weight)


def test_an_average_that_acts_has_the_statistics_of_the_network_it_follows() -> None:
    source = network(3)
    average = averaged(source, 0.5)
    assert averaged(source, 0.0) is source
    for _ in range(5):
        source(torch.rand(8, 3, 6, 6) + 4)  # the images have changed since
        move_towards(average, source, 0.5)
    x = torch.rand(2, 3, 6, 6) + 4
    with torch.no_grad():
        torch.testing.assert_close(average(x), source.eval()(x))


def test_the_average_of_ptrs_actor_keeps_its_batch_statistics() -> None:
    spec = Spec(cameras={"primary": (32, 32)}, embodiment="toy")
    agent = PTR.build(
        spec, cameras=("primary",), image_size=(32, 32), task_slots=1, encoder=EncoderConfig(name="small", norm="batch"),
        config=PTRConfig(actor_average=0.1, augment=None),
    )  # fmt: skip
    gen = torch.Generator().manual_seed(0)
    batch = Batch(
        images={"primary": torch.randint(0, 256, (4, 32, 32, 3), generator=gen, dtype=torch.uint8)},
        proprio=torch.zeros(4, 7), task=torch.zeros(4, dtype=torch.int64), language=torch.zeros(4, 0),
        action=torch.full((4, 7), 0.01), reward=-torch.ones(4), discount=torch.full((4,), 0.96),
        next_images={"primary": torch.randint(0, 256, (4, 32, 32, 3), generator=gen, dtype=torch.uint8)},
        next_proprio=torch.zeros(4, 7), return_to_go=torch.zeros(4), sample_key=torch.arange(4), source=torch.zeros(4, dtype=torch.int64),
    )  # fmt: skip
    agent.update(batch, 0)
    ours, theirs = dict(agent.acting.named_buffers()), dict(agent.actor.named_buffers())
    moved = [name for name in theirs if name.endswith("running_mean")]
    assert moved
    for name in moved:
        assert theirs[name].abs().max() > 0
        assert torch.equal(ours[name], theirs[name]), name
