"""Sentence features from a file: what a text encoder of the user's choice made of each caption, once and for all.

The file is NumPy's .npz with `captions`, n strings, and `features`, (n, L) numbers. Where sentence-transformers is at hand, for instance:

    np.savez("captions.npz", captions=sentences, features=SentenceTransformer(FOLDER).encode(sentences))

So no text encoder runs beside the training, nothing is downloaded, and the same file gives the same features everywhere. Without one,
`robot_pt.language` hashes words.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.safe_files import file_sha256
from robot_pt.schema import Float

_DAMAGE = (OSError, ValueError, KeyError, EOFError, TypeError, NotImplementedError, RuntimeError)
"""What NumPy and zipfile raise on bytes that are no such file."""


@dataclass(frozen=True)
class CaptionTable:
    """Caption -> (L,) float32."""

    rows: Mapping[str, Float]
    dim: int
    """L."""
    origin: str
    """Where it was read, for messages."""
    version: str
    """Hash of the file: a run that resumes with another one is refused."""

    @classmethod
    def read(cls, path: Path) -> CaptionTable:
        """Raises DataError for a file that is missing, damaged, of another layout, with NaN, or with two features for one caption."""
        captions, features = _arrays(path)
        if (
            captions.ndim != 1
            or captions.dtype.kind != "U"
            or features.ndim != 2
            or features.dtype.kind != "f"
            or not features.size
        ):
            raise _layout(
                path, f"captions is {captions.dtype} {captions.shape} and features {features.dtype} {features.shape}"
            )
        if len(captions) != len(features):
            raise _layout(path, f"there are {len(captions)} captions and {len(features)} features")
        rows: dict[str, Float] = {}
        for caption, feature in zip(captions.tolist(), features.astype(np.float32), strict=True):
            if not np.isfinite(feature).all():
                raise DataError(f"{path}: the feature of {caption!r} is not finite; encode it again.")
            if not np.array_equal(rows.setdefault(caption, feature), feature):
                raise DataError(f"{path}: {caption!r} has two features that differ; keep one of them.")
        return cls(rows, features.shape[1], str(path), file_sha256(path)[:16])

    def features(self, sentences: Iterable[str]) -> Float:
        """(len, L) float32; a sentence without words has zeros. Raises DataError where a caption is not in the file."""
        wanted = list(sentences)
        missing = sorted({s for s in wanted if s.strip() and s not in self.rows})
        if missing:
            raise DataError(
                f"{self.origin} has no feature of {len(missing)} captions of the data, {missing[0]!r} first; encode those too."
            )
        nothing = np.zeros(self.dim, np.float32)
        found = [self.rows[s] if s.strip() else nothing for s in wanted]
        return np.stack(found) if found else np.zeros((0, self.dim), np.float32)


def _arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file["captions"]), np.asarray(file["features"])
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; give an .npz with captions and features.") from error
    except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        raise _layout(path, str(error)) from error


def _layout(path: Path, found: str) -> DataError:
    return DataError(f"{path} must be an .npz with captions, n strings, and features, (n, L) floats: {found}.")
