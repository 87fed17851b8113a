"""The recorded update: its buffers on any machine, its numbers where a CUDA device is present."""

import pytest
import torch

from robot_pt.agents.graphed import GraphedStep
from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch, Spec


def make_batch(size: int, seed: int, device: str = "cpu") -> Batch:
    gen = torch.Generator().manual_seed(seed)
    image = lambda: torch.randint(0, 256, (size, 32, 32, 3), generator=gen, dtype=torch.uint8)  # noqa: E731
    number = lambda *shape: torch.randn(size, *shape, generator=gen)  # noqa: E731
    batch = Batch(
        {"primary": image()},
        number(7),
        torch.zeros(size, dtype=torch.int64),
        torch.zeros(size, 0),
        number(7) * 0.02,
        number(),
        torch.full((size,), 0.96),
        {"primary": image()},
        number(7),
        number(),
        torch.arange(size) + size * seed,
        torch.zeros(size, dtype=torch.int64),
        number(7) * 0.02,
    )
    return Batch(
        *(
            {c: x.to(device) for c, x in v.items()} if isinstance(v, dict) else v if v is None else v.to(device)
            for v in batch
        )
    )


def test_batches_are_copied_to_fixed_addresses() -> None:
    step = GraphedStep(lambda batch, at: {})
    first, second = make_batch(4, 0), make_batch(4, 1)
    static = step._fill(first, 5)
    address = static.images["primary"].data_ptr()
    assert torch.equal(static.action, first.action)
    assert static.action.data_ptr() != first.action.data_ptr()
    again = step._fill(second, 6)
    assert again.images["primary"].data_ptr() == address
    assert torch.equal(again.images["primary"], second.images["primary"])
    assert torch.equal(again.next_images["primary"], second.next_images["primary"])
    assert int(step._step) == 6


def test_another_batch_size_is_refused() -> None:
    step = GraphedStep(lambda batch, at: {})
    step._fill(make_batch(4, 0), 0)
    with pytest.raises(UserError, match="one shape"):
        step._fill(make_batch(3, 1), 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("actor_loss", ["max_q", "advantage_weighted"])
def test_graph_replays_the_eager_updates(actor_loss: str) -> None:
    def build(acceleration: str) -> PTR:
        return PTR.build(
            Spec(cameras={"primary": (32, 32)}, embodiment="test"),
            cameras=["primary"],
            image_size=(32, 32),
            task_slots=3,
            encoder=EncoderConfig(name="small"),
            config=PTRConfig(actor_loss=actor_loss, acceleration=acceleration, bc_warm_start_steps=5),
            device="cuda",
        )

    eager, graphed = build("none"), build("cuda_graph")
    for i in range(12):
        batch = make_batch(16, i, "cuda")
        ours, theirs = eager.update(batch, i), graphed.update(batch, i)
        for name, value in ours.items():
            torch.testing.assert_close(theirs[name], value, atol=1e-2, rtol=1e-2)
