"""Which kind of data lies under a path, and which entry maps its columns."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping as Dict
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from robot_pt.errors import DataError
from robot_pt.remote_files import remote_url
from robot_pt.simulated import Versions, from_json
from robot_pt_data.bags import SUFFIXES as JOURNAL_SUFFIXES
from robot_pt_data.bags import is_journals
from robot_pt_data.files import Files, LocalFiles
from robot_pt_data.index_files import cache_root
from robot_pt_data.mapping import Mapping, load_mapping
from robot_pt_data.oxe import ENTRIES
from robot_pt_data.remote import RemoteFiles
from robot_pt_data.video.container import SUFFIXES as VIDEO_SUFFIXES

MAPPING_FILES = ("robot_pt_mapping.toml", "robot_pt_mapping.json")
"""A mapping that lies beside dataset_info.json and belongs to the data set."""

_FILE_URL = re.compile(r"file:(?://)?(/.*)")
"""A URL of this machine's disk, also as a pathlib.Path leaves it, one slash less."""

DECODED_FILE = "robot_pt_decoded.json"
SPEC_FILE, SIMULATORS = "robot_pt.json", "simulators"
"""Beside the shards of an export, and what it says of the simulators that recorded the episodes (`robot_pt.simulated`)."""

MappingLike = Mapping | Dict[str, Any] | str | Path


class Layout(NamedTuple):
    """What was recognised."""

    kind: Literal["rlds", "demo_store", "decoded", "journals", "video"]
    folder: Path
    url: str = ""  # of an RLDS data set that is not on a disk; `folder` then means nothing

    def files(self) -> Files:
        """The files of an RLDS data set; connects to the server of a URL."""
        return RemoteFiles(self.url, cache_root()) if self.url else LocalFiles(self.folder)


def simulators_of(folder: Path) -> Versions:
    """What recorded the episodes of the RLDS data set in `folder`; nothing where it does not say so."""
    try:
        said = json.loads((folder / SPEC_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return from_json(said.get(SIMULATORS)) if isinstance(said, dict) else {}


def recognise(path: str | os.PathLike[str]) -> Layout:
    """The kind of data under `path`; a TFDS parent folder with one version stands for that version.

    Raises DataError saying what is there instead and what can be opened.
    """
    local = _FILE_URL.match(os.fspath(path))
    url = None if local else remote_url(path)
    if url is not None:
        return Layout("rlds", Path(), url)
    folder = Path(unquote(local[1]) if local else path)
    return _folder_or_file(folder)


def _folder_or_file(folder: Path) -> Layout:
    if folder.is_file() and folder.suffix in JOURNAL_SUFFIXES:
        return Layout("journals", folder)
    if folder.is_file() and folder.suffix.lower() in VIDEO_SUFFIXES:
        return Layout("video", folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataError(
            f"{folder} {what}; give the folder of an RLDS data set (<name>/<version>), of a demo store or of videos, or an .mcap file."
        )
    try:
        there = sorted(os.listdir(folder))[:5]
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}); check its rights or give another folder."
        ) from None
    if (folder / DECODED_FILE).is_file():
        return Layout("decoded", folder)
    if (folder / "dataset_info.json").is_file() and (folder / "features.json").is_file():
        return Layout("rlds", folder)
    from robot_pt.store import DemoStore

    if (folder / "zarr.json").is_file():
        DemoStore(folder)  # says what is wrong with one that is damaged, or with another zarr group
        return Layout("demo_store", folder)
    if is_journals(folder):
        return Layout("journals", folder)
    version = _version(folder)
    if version is not None:
        return Layout("rlds", version)
    if (folder / "meta" / "info.json").is_file():
        raise DataError(
            f"{folder} is a LeRobot data set, which cannot be opened yet; give an RLDS data set or a demo store."
        )
    from robot_pt_data.video.opening import is_video

    if is_video(folder):
        return Layout("video", folder)
    raise DataError(
        f"{folder} is neither an RLDS data set (dataset_info.json and features.json) nor a demo store nor holds .mcap files or videos; "
        f"it holds {there or 'nothing'}."
    )


def _version(folder: Path) -> Path | None:
    """The version of a data set in a parent folder of TFDS; None where it holds none. Raises DataError for several."""
    versions = sorted(p.parent for p in folder.glob("*/dataset_info.json") if (p.parent / "features.json").is_file())
    if len(versions) > 1:
        raise DataError(f"{folder} holds the data sets {[p.name for p in versions]}; name one of them.")
    return versions[0] if versions else None


def mapping_for(folder: Path, given: MappingLike | None) -> Mapping:
    """The user's mapping, else the one beside the data, else the shipped entry of the data set's name.

    Raises DataError for a data set that none of them knows.
    """
    if given is not None:
        return load_mapping(given)
    for name in MAPPING_FILES:
        if (folder / name).is_file():
            return load_mapping(folder / name)
    name = dataset_name(folder)
    if name in ENTRIES:
        return ENTRIES[name]
    raise DataError(
        f"no entry knows the columns of the data set {name!r} (known: {sorted(ENTRIES)}); write a mapping of ten lines "
        f"(data/README.md shows one) and keep it in {folder / MAPPING_FILES[0]}, or pass it as mapping= (--mapping)."
    )


def dataset_name(folder: Path) -> str:
    """The name in dataset_info.json, read without tensorflow-datasets. Raises DataError when it is damaged."""
    try:
        name = json.loads((folder / "dataset_info.json").read_text())["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / 'dataset_info.json'} cannot be read ({error}); restore it from the data set."
        ) from None
    return str(name)
