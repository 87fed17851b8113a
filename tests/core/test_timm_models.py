"""timm's models as encoders. timm needs torchvision, of which PyPI has no CPU build: these skip where it is absent."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from robot_pt import checkpoint
from robot_pt.agents.bc import BC
from robot_pt.errors import DataError, UserError
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.policy import Policy
from robot_pt.policy_record import PolicyRecord
from robot_pt.schema import Observation, Spec
from robot_pt.tasks import TaskTable

timm = pytest.importorskip("timm", reason="timm is not installed: pip install 'robot-pt[timm]' (brings a CUDA torch)")

NAMES = ["resnet18", "convnext_atto", "mobilenetv3_small_100", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]


def whole(name: str, seed: int = 1) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    return model


def stored(model: torch.nn.Module, path: Path, **changes: torch.Tensor | None) -> str:
    state = {**model.state_dict(), **changes}
    save_file({key: value.clone().contiguous() for key, value in state.items() if value is not None}, path)
    return str(path)


def images(size: tuple[int, int]) -> torch.Tensor:
    return torch.randint(0, 256, (2, *size, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_the_whole_model_give_its_own_features(name: str, tmp_path: Path) -> None:
    """Against timm's own forward pass; strict=False used to leave convnext and ViT at random weights without a word."""
    model, size = whole(name), (224, 224)
    weights = stored(model, tmp_path / "w.safetensors")
    encoder = ImageEncoder(EncoderConfig(name=f"timm:{name}", weights=weights, embeddings=1), size).eval()
    config = timm.get_pretrained_cfg(name)
    x = images(size).permute(0, 3, 1, 2) / 255
    normal = (x - torch.tensor(config.mean).view(3, 1, 1)) / torch.tensor(config.std).view(3, 1, 1)
    with torch.no_grad():
        expected = model.forward_intermediates(normal, intermediates_only=True, norm=False)[-1]
        found = encoder.backbone(x)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES[:3])
@pytest.mark.parametrize("size", [(64, 64), (68, 100)])
def test_convolutional_models_take_any_size_and_learn(name: str, size: tuple[int, int]) -> None:
    encoder = ImageEncoder(EncoderConfig(name=f"timm:{name}"), size)
    assert encoder.training
    out = encoder(images(size))
    assert out.shape == (2, 256)
    out.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.pool.parameters())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "inception_v3"])
def test_models_of_one_image_size_are_refused_for_others(name: str) -> None:
    with pytest.raises(UserError, match=f"timm's {name} takes no images of 64x64 .*choose another --image-size"):
        ImageEncoder(EncoderConfig(name=f"timm:{name}"), (64, 64))


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    config = EncoderConfig(name="timm:resnet18")

    def load(weights: str) -> None:
        ImageEncoder(EncoderConfig(name=config.name, weights=weights), (64, 64))

    with pytest.raises(DataError, match=r"no checkpoint of timm's resnet18: \d+ \(.* are missing in the file"):
        load(stored(whole("convnext_atto"), tmp_path / "a.safetensors"))
    with pytest.raises(DataError, match=r"1 \(layer1.0.conv1.weight\) of its layers are missing in the file, 0 of"):
        load(stored(whole("resnet18"), tmp_path / "b.safetensors", **{"layer1.0.conv1.weight": None}))
    with pytest.raises(DataError, match=r"0 of its layers are missing in the file, 1 \(extra\) of the file belong"):
        load(stored(whole("resnet18"), tmp_path / "c.safetensors", extra=torch.zeros(1)))
    with pytest.raises(DataError, match=r"another size .* conv1.weight has shape \(8, 3, 7, 7\) instead of \(64, 3"):
        load(stored(whole("resnet18"), tmp_path / "d.safetensors", **{"conv1.weight": torch.zeros(8, 3, 7, 7)}))
    stored(whole("resnet18"), tmp_path / "e.safetensors", **{"fc.weight": None, "fc.bias": None})
    load(str(tmp_path / "e.safetensors"))  # the classifier is not used
    (tmp_path / "f.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no safetensors file"):
        load(str(tmp_path / "f.safetensors"))
    with pytest.raises(DataError, match=r"give an existing \.safetensors file"):
        load(str(tmp_path / "absent.safetensors"))


def test_unknown_models_are_refused() -> None:
    with pytest.raises(UserError, match="timm knows no model 'resnet99'"):
        ImageEncoder(EncoderConfig(name="timm:resnet99"), (64, 64))


def test_a_policy_on_timm_is_saved_and_loaded_without_the_weights_it_started_from(tmp_path: Path) -> None:
    weights = stored(whole("resnet18"), tmp_path / "w.safetensors")
    spec = Spec(cameras={"primary": (64, 64)}, embodiment="toy")
    agent = BC.build(
        spec, cameras=("primary",), image_size=(64, 64), task_slots=17, encoder=EncoderConfig(name="timm:resnet18", weights=weights)
    )  # fmt: skip
    record = PolicyRecord.of(agent="bc", network=agent.actor.config, spec=spec, tasks=TaskTable.of(["lift"]))
    checkpoint.save(tmp_path / "run", 1, agent, record, {})
    Path(weights).unlink()
    policy = Policy.load(tmp_path / "run", spec)
    policy.reset("lift")
    frame, proprio = images((64, 64))[0].numpy(), np.zeros(7, np.float32)
    actor = agent.actor.eval()
    expected = actor.mode(
        {"primary": torch.from_numpy(frame)[None]}, torch.zeros(1, 7), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 0)
    )  # fmt: skip
    np.testing.assert_allclose(policy.act([Observation({"primary": frame}, proprio)]), expected.numpy(), atol=1e-6)
