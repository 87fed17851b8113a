"""Shapes, strides, initialisation and pooling of the image encoders, each against its own derivation."""

import math
import sys

import pytest
import torch
from torch import nn

from robot_pt.errors import DataError, MissingExtraError, UserError
from robot_pt.networks.encoders import CameraEncoder, EncoderConfig, ImageEncoder, SpatialEmbeddings, SpatialSoftmax
from robot_pt.networks.resnet import STAGES, resnet

GEN = torch.Generator().manual_seed(0)


def images(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), generator=GEN, dtype=torch.uint8)


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize(
    ("name", "channels", "depth"), [("resnet18", 512, 18), ("resnet34", 512, 34), ("resnet50", 2048, 50)]
)
def test_resnet_depth_strides_and_map(name: str, channels: int, depth: int) -> None:
    encoder = ImageEncoder(EncoderConfig(name=name), (64, 64))
    layers = [c for c in convolutions(encoder.backbone) if c.kernel_size != (1, 1) or name == "resnet50"]
    shortcuts = sum("shortcut" in n and isinstance(m, nn.Conv2d) for n, m in encoder.backbone.named_modules())
    counted = len(layers) - (shortcuts if name == "resnet50" else 0)
    assert counted + 1 == depth  # the name counts a classifier in place of our pooling
    assert encoder.backbone(torch.zeros(1, 3, 64, 64)).shape == (1, channels, 8, 8)  # / 8, where the usual one is / 32
    assert all(c.bias is None for c in convolutions(encoder))
    norms = [m for m in encoder.modules() if isinstance(m, nn.GroupNorm)]
    assert {(n.num_groups, n.eps) for n in norms} == {(4, 1e-5)}
    assert len(norms) == len(convolutions(encoder))


def test_resnet34_at_128_pools_a_16x16_map_to_4096() -> None:
    encoder = ImageEncoder(EncoderConfig(name="resnet34"), (128, 128))
    assert encoder.backbone(torch.zeros(1, 3, 128, 128)).shape == (1, 512, 16, 16)
    assert encoder.pool.kernel.numel() == 16 * 16 * 512 * 8
    assert encoder.bottleneck[0].weight.shape == (256, 4096)


def test_resnet50_uses_four_embeddings_and_blocks_start_as_their_shortcut() -> None:
    encoder = ImageEncoder(EncoderConfig(name="resnet50"), (32, 32))
    assert encoder.bottleneck[0].in_features == 2048 * 4
    block = encoder.backbone[5]  # second block of stage 1
    x = torch.rand(2, 256, 4, 4, generator=GEN)
    torch.testing.assert_close(block(x), x)  # relu of a positive input plus nothing


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (60, 68)])
@pytest.mark.parametrize("pooling", ["spatial_embeddings", "spatial_softmax", "average"])
def test_small_encoder_any_size_and_pooling(size: tuple[int, int], pooling: str) -> None:
    encoder = ImageEncoder(EncoderConfig(name="small", pooling=pooling), size)
    out = encoder(torch.zeros(3, *size, 3, dtype=torch.uint8))
    assert out.shape == (3, 256)
    assert out.dtype == torch.float32
    assert out.abs().max() <= 1


def test_batch_norm_is_an_option() -> None:
    encoder = ImageEncoder(EncoderConfig(name="small", norm="batch"), (32, 32))
    assert any(isinstance(m, nn.BatchNorm2d) for m in encoder.modules())
    assert not any(isinstance(m, nn.GroupNorm) for m in encoder.modules())


def test_average_pooling_is_the_mean_of_each_channel() -> None:
    encoder = ImageEncoder(EncoderConfig(name="small", pooling="average"), (48, 32)).eval()
    image = torch.randint(0, 256, (3, 48, 32, 3), dtype=torch.uint8, generator=GEN)
    mean_BC = encoder.feature_map(image).mean((2, 3))
    torch.testing.assert_close(encoder.pool(encoder.feature_map(image)), mean_BC)
    torch.testing.assert_close(encoder(image), encoder.bottleneck(mean_BC))
    assert encoder.bottleneck[0].in_features == encoder.channels


def test_running_statistics_are_those_of_what_was_seen_and_acting_uses_them() -> None:
    """By hand for the first layer: mean <- 0.9 mean + 0.1 batch mean, its variance unbiased; in evaluation no sample sees another."""
    encoder = ImageEncoder(EncoderConfig(name="small", norm="batch"), (32, 32))
    convolution, norm = encoder.backbone[0], encoder.backbone[1]
    mean, variance = torch.zeros(32), torch.ones(32)
    for _ in range(3):
        image = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=GEN)
        encoder(image)
        x_CN = convolution(image.permute(0, 3, 1, 2) / 255).transpose(0, 1).flatten(1)
        mean, variance = 0.9 * mean + 0.1 * x_CN.mean(1), 0.9 * variance + 0.1 * x_CN.var(1)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    other = ImageEncoder(EncoderConfig(name="small", norm="batch"), (32, 32))
    other.load_state_dict(encoder.state_dict())
    alone = other.eval()(image[:1])
    torch.testing.assert_close(alone, other(image)[:1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other.backbone[1].running_mean, mean)
    assert not torch.allclose(alone, encoder.train()(image)[:1], atol=1e-3)


def test_pixels_enter_as_x_over_255_channels_first() -> None:
    encoder, seen = ImageEncoder(EncoderConfig(name="small"), (32, 32)), []
    encoder.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    image = images(2, 32)
    encoder(image)
    torch.testing.assert_close(seen[0][1, 2, 5, 7], image[1, 5, 7, 2].float() / 255)
    assert seen[0].max() <= 1


def test_spatial_embeddings_are_inner_products_with_learned_maps() -> None:
    pool = SpatialEmbeddings(3, 5, 4, 2)
    x = torch.rand(6, 4, 3, 5, generator=GEN)
    kernel = pool.kernel.view(4, 3, 5, 2)
    expected = torch.einsum("bchw,chwf->bcf", x, kernel).flatten(1)
    torch.testing.assert_close(pool(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(pool(x[:1]), expected[:1])  # one image, as when acting
    torch.testing.assert_close(pool(x[:1]), expected[:1])


def test_spatial_embeddings_start_lecun_normal() -> None:
    torch.manual_seed(0)
    kernel = SpatialEmbeddings(8, 8, 64, 8).kernel.detach()
    assert kernel.std().item() == pytest.approx(1 / math.sqrt(8 * 8 * 64), rel=0.02)
    assert kernel.abs().max() <= 2 / math.sqrt(8 * 8 * 64) / 0.8796 + 1e-6


def test_convolutions_start_kaiming_normal() -> None:
    torch.manual_seed(0)
    layer = convolutions(resnet("resnet18", lambda c: nn.GroupNorm(4, c))[0])[-1]
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (512 * 9)), rel=0.02)


def test_spatial_softmax_finds_a_peak() -> None:
    pool = SpatialSoftmax(5, 9)
    x = torch.zeros(1, 2, 5, 9)
    x[0, 0, 4, 0] = x[0, 1, 2, 4] = 100
    torch.testing.assert_close(pool(x), torch.tensor([[-1.0, 0, 1, 0]]), atol=1e-4, rtol=0)  # x of both, y of both


def test_cameras_have_own_encoders_side_by_side() -> None:
    encoder = CameraEncoder(EncoderConfig(name="small"), ("primary", "wrist"), (32, 32))
    one, other = images(2, 32), images(2, 32)
    out = encoder({"wrist": other, "primary": one, "unused": one})
    assert out.shape == (2, 512)
    torch.testing.assert_close(out[:, :256], encoder.encoders["primary"](one))
    torch.testing.assert_close(out[:, 256:], encoder.encoders["wrist"](other))


def test_stage_table() -> None:
    assert STAGES == {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


def test_small_encoder_locates_an_object() -> None:
    """A minute-less check that position survives the strides: 2-px-accurate after a few hundred updates."""
    torch.manual_seed(0)

    def sample(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        where = torch.rand(count, 2, generator=GEN) * 40 + 12
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        inside = ((y - where[:, 0, None, None]).abs() < 4) & ((x - where[:, 1, None, None]).abs() < 4)
        background = torch.rand(count, 1, 1, 3, generator=GEN) * 0.4
        out = torch.where(inside[..., None], torch.tensor([0.9, 0.2, 0.2]), background)
        return (out * 255).to(torch.uint8), (where - 32) / 20

    encoder, head = ImageEncoder(EncoderConfig(name="small"), (64, 64)), nn.Linear(256, 2)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 1e-3, fused=True)
    for _ in range(150):
        image, where = sample(64)
        loss = (head(encoder(image)) - where).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    image, where = sample(256)
    with torch.no_grad():
        error = (head(encoder(image)) - where).square().sum(1).sqrt() * 20
    assert error.median() < 2


@pytest.mark.parametrize(
    ("values", "word"), [({"name": "resnet99"}, "resnet99"), ({"norm": "layer"}, "layer"), ({"pooling": "max"}, "max")]
)
def test_unknown_choices_are_refused_with_the_allowed_ones(values: dict, word: str) -> None:
    with pytest.raises(UserError, match=f"{word}.*choose"):
        EncoderConfig(**values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"latent": 0}, "encoder latent is 0; give a whole number of at least 1"),
        ({"latent": 2.5}, "encoder latent is 2.5"),
        ({"embeddings": -1}, "encoder embeddings is -1"),
        ({"embeddings": 0}, "encoder embeddings is 0"),
        ({"name": "small", "weights": "w.safetensors"}, "encoder small takes no weights file"),
    ],
)
def test_sizes_that_make_no_network_are_refused(values: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        EncoderConfig(**values)


def test_config_round_trip_and_unknown_fields() -> None:
    config = EncoderConfig(name="resnet18", embeddings=3)
    assert EncoderConfig.from_json(config.to_json()) == config
    with pytest.raises(DataError, match="fields"):
        EncoderConfig.from_json({"name": "small", "colour": 1})


def test_tiny_images_are_refused_and_no_camera_is_no_feature() -> None:
    with pytest.raises(UserError, match="at least 16 pixels"):
        ImageEncoder(EncoderConfig(name="small"), (8, 8))
    assert CameraEncoder(EncoderConfig(name="small"), (), (64, 64)).width == 0


def test_timm_without_timm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"robot-pt\[timm\]"):
        ImageEncoder(EncoderConfig(name="timm:resnet18"), (64, 64))
