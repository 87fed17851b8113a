"""Image encoders from timm (``--encoder timm:NAME``), with weights from a local file; nothing is downloaded.

Written for timm 1.0 (timm/models/_factory.py, _features.py). timm needs torchvision, which has no CPU build on PyPI, so its tests
skip where it is absent.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robot_pt.errors import DataError, MissingExtraError, UserError
from robot_pt.safe_tensors import read_tensors


def timm_map(name: str, weights: str, image_size: tuple[int, int]) -> tuple[nn.Module, int, tuple[int, int]]:
    """(network from x / 255 to the last feature map, its channels, its (height, width)).

    Args:
        weights: a .safetensors file of this model as timm or its hub page has it; "" starts from random weights.
    Raises:
        MissingExtraError: without timm. UserError: no such model, or one that takes no images of this size.
        DataError: the file is no safetensors file, or of another model.
    """
    try:
        import timm
    except ImportError:
        raise MissingExtraError("timm", "timm", f"encoder timm:{name}") from None
    if name not in timm.list_models():
        raise UserError(
            f"timm knows no model {name!r}; list them with: python -c 'import timm; print(timm.list_models())'."
        )
    try:
        model = timm.create_model(name, pretrained=False, features_only=True)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"timm's model {name!r} gives no feature maps ({_first_line(error)}); choose another."
        ) from None
    if weights:
        _load(model, Path(weights), name, timm.create_model(name, pretrained=False).state_dict())
    config = timm.get_pretrained_cfg(name)
    network = _LastMap(model, model.feature_info.channels()[-1], config.mean, config.std) if config else None
    network = network or _LastMap(model, model.feature_info.channels()[-1], (0.5,) * 3, (0.5,) * 3)
    return network, network.channels, _map_size(network, name, image_size)


def _load(model: nn.Module, path: Path, name: str, whole: dict[str, Tensor]) -> None:
    """Load a checkpoint of the `whole` model into its feature extractor, which renames some layers and lacks the last ones."""
    if path.suffix != ".safetensors" or not path.is_file():
        raise DataError(f"encoder weights are {path}; give an existing .safetensors file.")
    tensors, own = read_tensors(path), model.state_dict()
    stored = {_plain(key): key for key in tensors}
    source = {key: stored.get(_plain(key.removeprefix("model."))) for key in own}
    missing = [key for key, found in source.items() if found is None and not key.endswith("num_batches_tracked")]
    unexpected = sorted(set(tensors) - set(whole))
    if missing or unexpected:
        raise DataError(
            f"{path} is no checkpoint of timm's {name}: {_some(missing)} of its layers are missing in the file, {_some(unexpected)} of "
            "the file belong to none; give the weights of this model."
        )
    ready = {key: tensors[found] for key, found in source.items() if found is not None}
    shapes = [key for key, value in ready.items() if value.shape != own[key].shape]
    if shapes:
        raise DataError(
            f"{path} is of another size than timm's {name}: {shapes[0]} has shape {tuple(ready[shapes[0]].shape)} instead of "
            f"{tuple(own[shapes[0]].shape)}; give the weights of this model."
        )
    model.load_state_dict({**own, **ready})


def _plain(key: str) -> str:
    """A layer's name where timm's extractors write "stages_0.x" for "stages.0.x"."""
    return key.replace(".", "_")


def _some(keys: Iterable[str]) -> str:
    found = list(keys)
    return f"{len(found)} ({', '.join(found[:2])})" if found else "0"


class _LastMap(nn.Module):
    """The last feature map, channels first, of images standardised as the model was trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, channels: int, mean: Iterable[float], std: Iterable[float]):
        super().__init__()
        self.model, self.channels = model, int(channels)
        self.register_buffer("mean", torch.tensor(list(mean)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.model((x - self.mean) / self.std)[-1]
        return last if last.shape[1] == self.channels else last.permute(0, 3, 1, 2)  # swin and others end in channels


@torch.no_grad()
def _map_size(network: _LastMap, name: str, image_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the map, found by trying: rounding differs between models, and some take one image size only."""
    training = network.training
    try:
        found: Any = network.eval()(torch.zeros(1, 3, *image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"timm's {name} takes no images of {image_size[0]}x{image_size[1]} ({_first_line(error)}); choose another --image-size "
            "or model."
        ) from None
    finally:
        network.train(training)
    return int(found.shape[2]), int(found.shape[3])


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:150]
