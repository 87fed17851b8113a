"""Tensor files that cannot run code when read and are on the disk once written. No pickles."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from robot_pt.errors import DataError
from robot_pt.safe_files import file_sha256


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU. Raises DataError when it is missing, damaged or not the file hashed."""
    try:
        if sha256 is not None and file_sha256(path) != sha256:
            raise DataError(
                f"{path} is damaged: its content is not what was saved; restore it or use another checkpoint."
            )
        return load_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; point to a complete checkpoint.") from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{path} is no safetensors file ({str(error)[:100]}); restore it or use another.") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write and fsync; returns the file's SHA-256. Raises OSError, also where the library wraps one."""
    ready = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    try:
        save_file(ready, path)
    except SafetensorError as error:
        raise _as_os_error(error) from None
    with path.open("rb") as file:
        os.fchmod(file.fileno(), 0o644)  # the library makes it private
        os.fsync(file.fileno())
    return file_sha256(path)


def _as_os_error(error: SafetensorError) -> OSError:
    found = re.search(r"\(os error (\d+)\)", str(error))
    code = int(found.group(1)) if found else 5
    return OSError(code, os.strerror(code) if found else str(error))


def same_shapes(module: torch.nn.Module, tensors: Mapping[str, Tensor]) -> str | None:
    """None when `tensors` is exactly the module's state, else the first difference in words."""
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name in sorted(set(own) | set(tensors)):
        if name not in tensors:
            return f"{name} is missing"
        if name not in own:
            return f"{name} belongs to no layer"
        if own[name] != tuple(tensors[name].shape):
            return f"{name} has shape {tuple(tensors[name].shape)} instead of {own[name]}"
    return None
