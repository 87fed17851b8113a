import numpy as np
import pytest
import torch

from robot_pt.comparison.frozen import permuted, random_encoder
from robot_pt.networks.encoders import EncoderConfig

CONFIG = EncoderConfig(name="small", latent=16)


def test_a_random_encoder_is_its_seeds_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (random_encoder(CONFIG, (32, 32), s).state_dict() for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[n], again[n]) for n in one)
    assert any(not torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_shuffled_channels_keep_their_weights_in_another_order(name):
    config = EncoderConfig(name=name, latent=16)
    whole, spoilt = random_encoder(config, (32, 32), 0), permuted(random_encoder(config, (32, 32), 0), seed=3)
    moved = 0
    for before, after in zip(whole.state_dict().values(), spoilt.state_dict().values(), strict=True):
        np.testing.assert_allclose(
            np.sort(before.flatten(1).numpy() if before.ndim > 1 else before.numpy()),
            np.sort(after.flatten(1).numpy() if after.ndim > 1 else after.numpy()),
        )
        moved += before.ndim > 1 and not torch.equal(before, after)
    assert moved > 4
    assert all(
        torch.equal(a, b)
        for a, b in zip(permuted(random_encoder(config, (32, 32), 0), 3).parameters(), spoilt.parameters(), strict=True)
    )


def test_what_was_learned_is_gone():
    """An edge filter in the first layer: its answer to an edge is large, that of the shuffled filter is not."""
    encoder = random_encoder(CONFIG, (32, 32), 0)
    first = encoder.backbone[0]
    with torch.no_grad():
        first.weight.zero_()
        first.weight[:, :, :, :2], first.weight[:, :, :, 3:] = -1.0, 1.0
    edge = torch.zeros(1, 3, 32, 32)
    edge[..., 16:] = 1
    strong = first(edge).abs().max()
    permuted(encoder, 0)
    assert first(edge).abs().max() < 0.7 * strong
