import math

import pytest
import torch

from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder, floats
from robot_pt.networks.vit import SIZES, Attention, VisionTransformer, patch_size, sincos


@pytest.mark.parametrize(
    ("size", "patch"), [(16, 2), (64, 8), (84, 7), (96, 12), (100, 10), (128, 16), (224, 16), (256, 16)]
)
def test_patches_follow_the_image(size, patch):
    assert patch_size((size, size)) == patch
    assert patch_size((size, 2 * size)) == patch


@pytest.mark.parametrize("size", [(97, 97), (8, 8), (12, 64)])
def test_images_without_patches_are_refused(size):
    with pytest.raises(UserError, match=f"cannot cut a {size[0]}x{size[1]} image"):
        patch_size(size)


def test_positions_are_sines_and_cosines_of_row_and_column():
    table = sincos(3, 5, 16)
    for row in range(3):
        for column in range(5):
            for i in range(4):
                w = 10_000 ** (-i / 4)
                expected = [math.sin(column * w), math.cos(column * w), math.sin(row * w), math.cos(row * w)]
                assert table[5 * row + column, i::4].tolist() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(UserError, match="multiple of 4"):
        sincos(2, 2, 6)


def test_a_map_has_its_patches_in_their_places():
    """Without blocks a cell of the map depends on its own patch alone."""
    torch.manual_seed(0)
    net = VisionTransformer("vit_tiny", (32, 64))
    net.blocks = torch.nn.ModuleList()
    image = torch.rand(2, 3, 32, 64)
    changed = image.clone()
    changed[:, :, 8:12, 20:24] += 0.5  # row 2, column 5 of patches of 4 pixels
    different = (net(image) - net(changed)).abs().sum(1) > 0
    assert different.nonzero().tolist() == [[0, 2, 5], [1, 2, 5]]


def test_encoding_some_patches_is_encoding_them_with_their_own_positions():
    """Order of tokens does not matter, their positions do: positions were added before anything was dropped."""
    torch.manual_seed(0)
    net = VisionTransformer("vit_tiny", (32, 32))
    tokens = net.embed(torch.rand(2, 3, 32, 32))
    keep = torch.tensor([5, 40, 12])
    some, shuffled = net.encode(tokens[:, keep]), net.encode(tokens[:, keep.flip(0)])
    torch.testing.assert_close(some[:, 1:], shuffled[:, 1:].flip(1), atol=1e-5, rtol=1e-4)
    moved = net.encode((tokens - net.positions)[:, keep] + net.positions[:3])
    assert not torch.allclose(some, moved, atol=1e-3)


def test_attention_is_softmax_of_scaled_products():
    torch.manual_seed(0)
    layer, x, y = Attention(8, 2), torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    query, (key, value) = layer.query(x), layer.keys_values(y).chunk(2, -1)
    heads = [
        (query[..., h] @ key[..., h].transpose(1, 2) / 2).softmax(-1) @ value[..., h]
        for h in (slice(0, 4), slice(4, 8))
    ]
    torch.testing.assert_close(layer(x, y), layer.out(torch.cat(heads, -1)))
    first = layer(x, x, causal=True)[:, 0]
    torch.testing.assert_close(first, layer(x[:, :1], x[:, :1])[:, 0])
    with pytest.raises(UserError, match="3 attention heads"):
        Attention(8, 3)


@pytest.mark.parametrize(
    ("name", "pooling"), [*((name, "spatial_embeddings") for name in SIZES), ("vit_tiny", "average")]
)
def test_a_transformer_is_an_encoder_like_any_other(name, pooling):
    encoder = ImageEncoder(EncoderConfig(name=name, pooling=pooling, latent=32), (32, 32))
    image = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    assert encoder(image).shape == (2, 32)
    assert encoder.grid == (8, 8)
    assert encoder.feature_map(image).shape == (2, encoder.channels, 8, 8)
    encoder(image).sum().backward()
    without = [n for n, p in encoder.named_parameters() if p.grad is None]
    assert without == []


def test_floats_are_the_bytes_between_zero_and_one():
    image = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    torch.testing.assert_close(floats(image), torch.tensor([0, 0.2, 1]).view(1, 3, 1, 1))
