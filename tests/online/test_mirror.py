"""Stores behind URLs: uploaded whole, mirrored whole, in any order of arrival; local files, memory, and an S3 server."""

import uuid

import numpy as np
import pytest

from robot_pt.errors import DataError
from robot_pt.online.follower import StoreFollower
from robot_pt.online.mirror import Mirror, MirrorThread, Uploader
from robot_pt.remote_files import open_url
from robot_pt.store import DemoStore
from tests.online.toys import PIXELS, make_episode


@pytest.fixture
def s3(monkeypatch):
    """A bucket on an S3-compatible server of this machine."""
    server_module = pytest.importorskip(
        "moto.server", reason="an S3 server to test against: pip install 'moto[server]' s3fs"
    )
    pytest.importorskip("s3fs", reason="fsspec's driver for S3: pip install s3fs")
    server = server_module.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    system, _ = open_url("s3://bucket")
    system.mkdir("bucket")
    yield "s3://bucket/store"
    server.stop()


@pytest.fixture(params=["local", "memory", "s3"])
def url(request, tmp_path) -> str:
    if request.param == "local":
        return f"file://{tmp_path}/there"
    return request.getfixturevalue("s3") if request.param == "s3" else f"memory://{uuid.uuid4().hex}/store"


@pytest.fixture
def pixels(tmp_path) -> DemoStore:
    return DemoStore.create(tmp_path / "here", PIXELS, codec="png")


def test_what_is_uploaded_is_mirrored_and_followed(tmp_path, url, pixels) -> None:
    mirror = Mirror(url, tmp_path / "copy")
    assert mirror.sync() == []
    uploader = Uploader(pixels, url)
    for i in range(3):
        pixels.append(make_episode(i, spec=PIXELS))
    assert uploader.upload() == ["000000", "000001", "000002"]
    assert uploader.upload() == []
    assert mirror.sync() == ["000000", "000001", "000002"]
    assert mirror.sync() == []
    pixels.append(make_episode(3, spec=PIXELS))
    pixels.relabel("000001", success=False)
    assert Uploader(pixels, url).upload() == ["000003"]  # a restarted one goes on
    assert mirror.sync() == ["000003"]
    found = StoreFollower([tmp_path / "copy"], PIXELS, cameras=("primary",)).poll()
    assert [f.key for f in found] == [(pixels.uid, f"{i:06d}") for i in range(4)]
    assert [f.episode.success for f in found] == [True, False, True, True]
    assert np.array_equal(found[2].episode.actions, make_episode(2, spec=PIXELS).actions)
    assert found[2].episode.images["primary"] == pixels.read("000002").images["primary"]


def test_an_episode_whose_document_is_not_there_yet_is_waited_for(tmp_path, pixels) -> None:
    url, now = f"memory://{uuid.uuid4().hex}/store", [0.0]
    pixels.append(make_episode(0, spec=PIXELS))
    Uploader(pixels, url).upload()
    system, root = open_url(url)
    document = system.cat_file(f"{root}/000000/zarr.json")
    system.rm_file(f"{root}/000000/zarr.json")
    mirror = Mirror(url, tmp_path / "copy", clock=lambda: now[0])
    now[0] = 1e6
    assert mirror.sync() == []
    system.pipe_file(f"{root}/000000/zarr.json", document)
    assert mirror.sync() == ["000000"]


def test_missing_files_are_waited_for_and_then_said(tmp_path, pixels) -> None:
    url, now = f"memory://{uuid.uuid4().hex}/store", [0.0]
    pixels.append(make_episode(0, spec=PIXELS))
    Uploader(pixels, url).upload()
    system, root = open_url(url)
    system.rm_file(f"{root}/000000/actions/c.0.0")
    mirror = Mirror(url, tmp_path / "copy", clock=lambda: now[0])
    assert mirror.sync() == []
    now[0] = 31
    assert mirror.sync() == ["000000"]
    (aside,) = StoreFollower([tmp_path / "copy"], PIXELS, grace_s=0.0).poll()
    assert "actions" in aside.reason


def test_another_store_or_no_store_is_refused(tmp_path, pixels) -> None:
    url = f"memory://{uuid.uuid4().hex}/store"
    Uploader(pixels, url)
    with pytest.raises(DataError, match="holds another store"):
        Uploader(DemoStore.create(tmp_path / "other", PIXELS), url)
    system, root = open_url(url)
    system.pipe_file(f"{root}/zarr.json", b"{}")
    with pytest.raises(DataError, match="not the document of a demo store"):
        Mirror(url, tmp_path / "copy").sync()
    with pytest.raises(DataError, match="cannot be opened"):
        Mirror("nosuch://x/y", tmp_path / "copy")


def test_documents_that_lead_elsewhere_fetch_nothing(tmp_path, pixels) -> None:
    """A hostile document may not make the mirror write outside of its folder."""
    import json

    url = f"memory://{uuid.uuid4().hex}/store"
    pixels.append(make_episode(0, spec=PIXELS))
    Uploader(pixels, url).upload()
    system, root = open_url(url)
    document = json.loads(system.cat_file(f"{root}/000000/zarr.json"))
    arrays = document["consolidated_metadata"]["metadata"]
    arrays["../../evil"] = arrays["actions"]
    system.pipe_file(f"{root}/000000/zarr.json", json.dumps(document).encode())
    Mirror(url, tmp_path / "copy").sync()
    assert not list(tmp_path.rglob("evil*"))


def test_the_thread_keeps_on_and_says_what_is_wrong(tmp_path, pixels) -> None:
    import time

    url = f"memory://{uuid.uuid4().hex}/store"
    thread = MirrorThread([Mirror(url, tmp_path / "copy")], every_s=0.02)
    try:
        uploader = Uploader(pixels, url)
        for i in range(3):
            pixels.append(make_episode(i, spec=PIXELS))
            uploader.upload()
        deadline = time.monotonic() + 20
        while not (tmp_path / "copy" / "000002").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (tmp_path / "copy" / "000002").exists()
        assert thread.troubles == {}
    finally:
        thread.close()


def test_a_url_that_does_not_answer_is_said_and_asked_again(tmp_path, pixels) -> None:
    """A file stands where the folder should be, as a share that is not mounted may look; then it is there."""
    there = tmp_path / "there"
    pixels.append(make_episode(0, spec=PIXELS))
    there.write_text("not a folder")
    with pytest.raises(DataError, match=r"did not answer \(.*\); it is asked again"):
        Uploader(pixels, f"file://{there}/store")
    there.unlink()
    uploader = Uploader(pixels, f"file://{there}/store")
    assert uploader.upload() == ["000000"]
    assert Mirror(f"file://{there}/store", tmp_path / "copy").sync() == ["000000"]
