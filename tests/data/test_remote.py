"""The same data set behind a URL, served by fsspec's file system in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robot_pt_data
from robot_pt.errors import DataError, UserError
from robot_pt.remote_files import remote_url, require_place
from robot_pt_data.oxe import BRIDGE_DATASET

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Copies a folder into the memory file system and returns its URL."""
    system = fsspec.filesystem("memory")

    def put(folder: Path) -> str:
        for file in folder.iterdir():
            system.pipe_file(f"/bucket/{folder.parent.name}/{folder.name}/{file.name}", file.read_bytes())
        return f"memory://bucket/{folder.parent.name}/{folder.name}"

    yield put
    system.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("gs://bucket/bridge/1.0.0/", "gs://bucket/bridge/1.0.0"),
        (Path("s3://bucket/x"), "s3://bucket/x"),
        ("https://host/a/b", "https://host/a/b"),
        ("/data/bridge", None),
        ("relative/folder", None),
        ("C:/data", None),
    ],
)
def test_what_is_a_url(given: Any, expected: str | None) -> None:
    assert remote_url(given) == expected


@pytest.mark.parametrize("place", ["s3://", "gs:/", "s3:///demos", "file:///mnt/demos"])
def test_a_url_of_nothing_passes_for_no_folder(place: str) -> None:
    with pytest.raises(UserError, match="neither a URL with its bucket") as raised:
        require_place(place, "--follow")
    assert str(raised.value).startswith(f"--follow is {place}, ")


def test_urls_and_folders_may_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("s3://bucket", "gs://bucket/demos/", "/mnt/demos", "demos", "C:/demos", str(tmp_path)):
        require_place(place, "--follow")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "demos").mkdir(parents=True)
    require_place("s3:/demos", "--follow")  # so named, and there


def test_reads_what_the_local_copy_reads(write_rlds: Callable[..., Path], serve: Callable[[Path], str]) -> None:
    folder = write_rlds("bridge_dataset", episodes=6, steps=4)
    url = serve(folder)
    here: Any = robot_pt_data.open(folder)
    there: Any = robot_pt_data.open(url)
    np.testing.assert_array_equal(there.actions, here.actions)
    steps = np.random.default_rng(0).permutation(24)
    for camera in here.spec.cameras:
        np.testing.assert_array_equal(there.images(steps, camera, (8, 8)), here.images(steps, camera, (8, 8)))
    assert robot_pt_data.inspect(url)["path"] == url
    assert robot_pt_data.index(url).to_json()["episodes"] == 6


def test_a_second_open_fetches_no_shard(
    write_rlds: Callable[..., Path], serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(write_rlds("bridge_dataset", episodes=6, steps=4))
    robot_pt_data.open(url)
    fetched: list[str] = []
    system = fsspec.filesystem("memory")
    original = system.cat_file
    monkeypatch.setattr(
        type(system), "cat_file", lambda self, path, *a, **k: fetched.append(path) or original(path, *a, **k)
    )
    again = robot_pt_data.open(url)
    assert not any("tfrecord" in path for path in fetched)
    again.images(np.arange(3), "primary")


def test_a_changed_object_is_indexed_again(write_rlds: Callable[..., Path], serve: Callable[[Path], str]) -> None:
    url = serve(write_rlds("bridge_dataset"))
    assert len(robot_pt_data.open(url).episodes) == 2
    serve(write_rlds("bridge_dataset", episodes=6, steps=4))
    assert len(robot_pt_data.open(url).episodes) == 6


def test_errors_name_the_url(write_rlds: Callable[..., Path], serve: Callable[[Path], str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"memory://nowhere/x is no RLDS data set"):
        robot_pt_data.open("memory://nowhere/x")
    with pytest.raises(DataError, match="cannot be opened: Protocol not known"):
        robot_pt_data.open("notaprotocol://a/b")
    url = serve(write_rlds("bridge_dataset", "array_record", episodes=6, steps=4))
    with pytest.raises(DataError, match="read from a local disk only"):
        robot_pt_data.open(url)


def test_a_mapping_beside_the_remote_data(
    write_rlds: Callable[..., Path], serve: Callable[[Path], str], tmp_path: Path
) -> None:
    import json
    import shutil

    folder = tmp_path / "mine" / "1.0.0"
    shutil.copytree(write_rlds("bridge_dataset", as_name="mine"), folder)
    (folder / "robot_pt_mapping.json").write_text(json.dumps(BRIDGE_DATASET.to_json()))
    url = serve(folder)
    assert robot_pt_data.open(url).spec.embodiment == "widowx250s"
    fsspec.filesystem("memory").rm("/bucket/mine/1.0.0/robot_pt_mapping.json")
    with pytest.raises(DataError, match="no entry knows"):
        robot_pt_data.open(url)


def test_an_object_that_shrank_or_a_server_that_fails(
    write_rlds: Callable[..., Path], serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(write_rlds("bridge_dataset"))
    source = robot_pt_data.open(url)
    system = fsspec.filesystem("memory")
    shard = next(p for p in system.ls("/bucket/bridge_dataset/1.0.0", detail=False) if "tfrecord" in p)
    system.pipe_file(shard, system.cat_file(shard)[:500])
    with pytest.raises(DataError, match="shorter since it was indexed"):
        source.images(np.arange(10), "primary")

    def fail(*args: Any, **options: Any) -> None:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(type(system), "cat_ranges", fail)
    with pytest.raises(DataError, match=r"did not answer .*reset by peer.*try again"):
        source.images(np.arange(2), "primary")
