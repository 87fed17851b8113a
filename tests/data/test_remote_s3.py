"""RLDS data sets by URL from servers of their own: S3 as moto answers it, and this machine's disk as file://.

The S3 part needs `s3fs` and `moto[s3,server]`, which skip it where they are absent; nothing leaves this machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robot_pt_data
from robot_pt.errors import DataError


@pytest.mark.parametrize("write", ["file://{}", "file:{}"])
def test_a_file_url_is_the_folder_itself(write_rlds: Callable[..., Path], write: str) -> None:
    folder = write_rlds("bridge_dataset")
    source: Any = robot_pt_data.open(write.format(folder))
    here: Any = robot_pt_data.open(folder)
    np.testing.assert_array_equal(source.images(np.arange(4), "primary"), here.images(np.arange(4), "primary"))
    assert robot_pt_data.inspect(Path(write.format(folder)))["path"] == str(folder)
    with pytest.raises(DataError, match="/no/such folder does not exist"):
        robot_pt_data.open("file:///no/such%20folder")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a fresh S3 server, which fsspec asks."""
    fsspec, server = pytest.importorskip("fsspec"), pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    running = server.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    address = "http://{}:{}".format(*running.get_host_and_port())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setitem(
        fsspec.config.conf, "s3", {"endpoint_url": address, "client_kwargs": {"region_name": "eu-west-1"}}
    )
    yield address
    running.stop()


@pytest.mark.slow
def test_s3_reads_what_the_local_copy_reads(write_rlds: Callable[..., Path], s3: str) -> None:
    import fsspec

    folder = write_rlds("bridge_dataset", episodes=6, steps=4)
    system = fsspec.filesystem("s3")
    system.mkdir("robots", region_name="eu-west-1")
    for file in folder.iterdir():
        if file.is_file():
            system.pipe_file(f"robots/{folder.parent.name}/{folder.name}/{file.name}", file.read_bytes())
    url = f"s3://robots/{folder.parent.name}/{folder.name}"
    here: Any = robot_pt_data.open(folder)
    there: Any = robot_pt_data.open(Path(url))  # as the command line hands it over
    np.testing.assert_array_equal(there.actions, here.actions)
    steps = np.random.default_rng(0).permutation(24)
    for camera in here.spec.cameras:
        np.testing.assert_array_equal(there.images(steps, camera, (8, 8)), here.images(steps, camera, (8, 8)))
    with pytest.raises(DataError, match=r"s3://robots/nothing/1\.0\.0 is no RLDS data set"):
        robot_pt_data.open("s3://robots/nothing/1.0.0")
    with pytest.raises(DataError, match=r"s3://nobody/bridge/1\.0\.0 (is no RLDS data set|did not answer)"):
        robot_pt_data.open("s3://nobody/bridge/1.0.0")


@pytest.mark.slow
def test_a_bucket_without_credentials_is_one_sentence(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import fsspec

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    fsspec.filesystem("s3").clear_instance_cache()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match=r"s3://robots/x/1\.0\.0 did not answer .*redentials"):
            robot_pt_data.open("s3://robots/x/1.0.0")
