"""The recorded graph of an actor against the actor itself."""

import pytest
import torch

from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.policies import ActorConfig, ActorNetwork
from robot_pt.networks.traced import traced_mode
from robot_pt.normalize import BRIDGE_BOUNDS


def actor(encoder: str = "small", cameras: tuple[str, ...] = ("primary",), language: int = 0) -> ActorNetwork:
    config = ActorConfig(
        encoder=EncoderConfig(name=encoder), cameras=cameras, image_size=(64, 64), task_slots=3, bounds=BRIDGE_BOUNDS,
        language_size=language,
    )  # fmt: skip
    torch.manual_seed(0)
    return ActorNetwork(config).eval()


def inputs(seed: int, cameras: tuple[str, ...] = ("primary",), language: int = 0):
    rng = torch.Generator().manual_seed(seed)
    images = {c: torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=rng) for c in cameras}
    task = torch.tensor([seed % 3])
    return images, torch.randn(1, 7, generator=rng), task, torch.randn(1, language, generator=rng)


@pytest.mark.parametrize(
    ("encoder", "cameras", "language"),
    [("small", ("primary",), 0), ("small", ("primary", "wrist"), 8), ("resnet18", ("primary",), 0)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_input_gives_the_actors_own_action(encoder, cameras, language, layout):
    network = actor(encoder, cameras, language)
    plain = [network.mode(*inputs(seed, cameras, language)) for seed in range(5)]
    network.to(memory_format=layout)
    act = traced_mode(network, *inputs(0, cameras, language))
    assert act != network.mode
    with torch.inference_mode():
        for seed in range(5):  # other pixels, states, task slots and sentences than it was recorded with
            assert torch.allclose(
                act(*inputs(seed, cameras, language)), plain[seed], rtol=0, atol=1e-6 * plain[seed].abs().max()
            )
    assert not torch.allclose(plain[0], plain[1], atol=1e-5), "inputs that make no difference would test nothing"


def test_where_nothing_can_be_recorded_the_module_acts(monkeypatch):
    network = actor()

    def gone(*_args, **_options):
        raise AttributeError("torch.jit.trace is gone")

    monkeypatch.setattr(torch.jit, "trace", gone)
    assert traced_mode(network, *inputs(0)) == network.mode


def test_a_graph_that_differs_is_not_used(monkeypatch):
    network = actor()
    monkeypatch.setattr(torch.jit, "freeze", lambda graph: lambda *tensors: graph(*tensors) + 1e-3)
    assert traced_mode(network, *inputs(0)) == network.mode
