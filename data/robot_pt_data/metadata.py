"""What a TFDS folder says about itself: splits, shards and the columns of an RLDS episode, through tensorflow-datasets.

Needed only while indexing; opening an indexed data set imports none of it. TensorFlow itself is not imported.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError, MissingExtraError


@dataclass(frozen=True, kw_only=True)
class Column:
    """One leaf of features.json; the key of the record is its path."""

    kind: str  # "tensor" | "image" | "text" | another tfds feature class in lower case
    shape: tuple[int | None, ...]  # of one step
    dtype: str  # numpy name; "object" for strings
    encoding: str = "none"  # tensors: none | bytes | zlib; images: jpeg | png | ""

    @property
    def size(self) -> int:
        """Values per step; raises DataError where the shape is open."""
        out = 1
        for dimension in self.shape:
            if dimension is None:
                raise DataError(f"a column of open shape {self.shape} cannot be indexed; name another in the mapping.")
            out *= dimension
        return out


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """A TFDS folder: name, version, shard files per split, columns by record key ("steps/..." are per step)."""

    name: str
    version: str
    file_format: str  # "tfrecord" | "array_record"
    shards: dict[str, list[str]]  # split -> file names in the folder
    shard_lengths: dict[str, list[int]]  # split -> records per shard; [] where the folder does not say
    columns: dict[str, Column]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_metadata(folder: Path) -> Metadata:
    """Read dataset_info.json and features.json of a TFDS folder.

    Raises DataError when they are damaged or not RLDS (no ``steps``), MissingExtraError without tensorflow-datasets.
    """
    try:
        import tensorflow_datasets as tfds
        from google.protobuf.json_format import Error as ProtobufError  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("tensorflow-datasets", "rlds", "Indexing an RLDS data set") from None
    try:
        info = tfds.builder_from_directory(str(folder)).info
        columns = _columns(tfds, info.features, "")
        splits = {name: list(split.filenames) for name, split in info.splits.items()}
        lengths = {name: [int(n) for n in split.shard_lengths or ()] for name, split in info.splits.items()}
        file_format = info.file_format.value
    except (ValueError, KeyError, TypeError, AttributeError, OSError, ImportError, ProtobufError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise DataError(
            f"tensorflow-datasets cannot read {folder}: {reason}; restore its dataset_info.json and features.json."
        ) from None
    if not any(key.startswith("steps/") for key in columns):
        raise DataError(
            f"{folder} is a TFDS data set but not an RLDS one: its features {sorted(columns)} have no 'steps'; name a folder of episodes."
        )
    if file_format not in ("tfrecord", "array_record"):
        raise DataError(f"{folder} stores {file_format} shards; tfrecord and array_record can be read.")
    return Metadata(
        name=str(info.name),
        version=str(info.version),
        file_format=file_format,
        shards=splits,
        shard_lengths=lengths,
        columns=columns,
    )


def _columns(tfds: Any, feature: Any, path: str) -> dict[str, Column]:
    features = tfds.features
    if isinstance(feature, features.FeaturesDict):
        out: dict[str, Column] = {}
        for name, inner in feature.items():
            out |= _columns(tfds, inner, f"{path}/{name}" if path else name)
        return out
    if isinstance(feature, (features.Dataset, features.Sequence)):
        return _columns(tfds, feature.feature, path)
    shape = feature.shape if isinstance(feature.shape, tuple) else ()
    dtype = getattr(feature, "np_dtype", None)
    name = str(getattr(dtype, "__name__", dtype))
    if isinstance(feature, features.Image):
        content = feature.to_json_content()
        encoding = content["encoding_format"] if isinstance(content, dict) else content.encoding_format
        return {path: Column(kind="image", shape=shape, dtype=name, encoding=encoding or "")}
    if isinstance(feature, features.Text):
        return {path: Column(kind="text", shape=(), dtype="object")}
    if isinstance(feature, features.Tensor):
        content = feature.to_json_content()
        encoding = content["encoding"] if isinstance(content, dict) else content.encoding
        return {path: Column(kind="tensor", shape=shape, dtype=name, encoding=encoding or "none")}
    return {path: Column(kind=type(feature).__name__.lower(), shape=shape, dtype=name)}
