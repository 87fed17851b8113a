"""Calibration of a camera from the file that `camera_calibration` writes -> CameraInfo."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from sensor_msgs.msg import CameraInfo

from robot_pt.errors import DataError

_SIZES = {"camera_matrix": 9, "rectification_matrix": 9, "projection_matrix": 12}


def uncalibrated(height: int, width: int) -> CameraInfo:
    """Size alone; a zero K says so."""
    return CameraInfo(height=height, width=width)


def read_calibration(url: str) -> CameraInfo:
    """From a path or a file:// address; raises DataError on what is no calibration."""
    path = Path(url.removeprefix("file://")).expanduser()
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(
            f"camera_info_url {url!r} cannot be read ({str(error)[:80]}); give a calibration file."
        ) from None
    try:
        return _message(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"camera_info_url {url!r} is no calibration ({type(error).__name__}: {str(error)[:80]}); write it with camera_calibration."
        ) from None


def _message(values: Any) -> CameraInfo:
    matrices = {name: _numbers(values[name]["data"]) for name in _SIZES}
    if any(len(matrices[name]) != size for name, size in _SIZES.items()):
        raise ValueError("a matrix of another size")
    message = CameraInfo(height=int(values["image_height"]), width=int(values["image_width"]))
    message.distortion_model = str(values["distortion_model"])
    message.d = _numbers(values["distortion_coefficients"]["data"])
    message.k, message.r, message.p = (matrices[name] for name in _SIZES)
    return message


def _numbers(values: Any) -> list[float]:
    found = [float(v) for v in values]
    if not all(isfinite(v) for v in found):
        raise ValueError("a number that is not finite")
    return found
