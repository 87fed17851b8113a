"""`robot-pt data upload`: what is brought, what is said, and that a network that fails ends nothing."""

import uuid

import pytest

from robot_pt import cli
from robot_pt.errors import DataError, UserError
from robot_pt.online.follower import StoreFollower
from robot_pt.online.mirror import Mirror, Uploader
from robot_pt.recipes import upload as recipe
from robot_pt.store import DemoStore
from tests.online.toys import PIXELS, make_episode


@pytest.fixture
def store(tmp_path) -> DemoStore:
    made = DemoStore.create(tmp_path / "here", PIXELS, codec="png")
    made.append(make_episode(0, spec=PIXELS))
    return made


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}/store"


def test_once_as_a_user_types_it(store, tmp_path, capsys) -> None:
    url = f"file://{tmp_path}/there"
    for uploaded in (1, 0):
        assert cli.main(["data", "upload", str(store.path), "--to", url, "--json"]) == 0
        assert f'"uploaded": {uploaded}, "episodes": 1' in capsys.readouterr().out
    mirror = Mirror(url, tmp_path / "copy")
    assert mirror.sync() == ["000000"]
    assert [e.episode and e.episode.task for e in StoreFollower([tmp_path / "copy"], PIXELS).poll()] == ["go"]


def test_what_comes_later_follows_until_it_is_interrupted(store, url) -> None:
    def wait(seconds: float) -> None:
        assert seconds == 0.5
        if len(store) == 3:
            raise KeyboardInterrupt
        store.append(make_episode(len(store), spec=PIXELS))

    result = recipe.upload(store.path, url, every_s=0.5, wait=wait)
    assert (result["uploaded"], result["episodes"]) == (3, 3)


def test_a_network_that_fails_is_said_and_asked_again(store, url, monkeypatch, capsys) -> None:
    waits, whole = [], Uploader.upload

    def failing(uploader: Uploader) -> list[str]:
        if len(waits) == 1:
            raise DataError(f"{url} did not answer (down); it is asked again.")
        return whole(uploader)

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt
        store.append(make_episode(len(store), spec=PIXELS))

    monkeypatch.setattr(Uploader, "upload", failing)
    assert recipe.upload(store.path, url, every_s=0.5, wait=wait)["uploaded"] == 3
    assert "did not answer (down)" in capsys.readouterr().err


def test_an_interrupted_single_upload_is_an_interruption(store, url, monkeypatch) -> None:
    def interrupted(uploader: Uploader) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Uploader, "upload", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recipe.upload(store.path, url)


@pytest.mark.parametrize(
    ("to", "every_s", "words"),
    [("there", 0.0, "there is no URL; give one that fsspec opens"), ("memory://x/y", -1.0, "--every-s is -1"),
     ("memory://x/y", float("nan"), "--every-s is nan"), ("memory://x/y", float("inf"), "--every-s is inf")],
)  # fmt: skip
def test_what_cannot_be_is_refused(store, to, every_s, words) -> None:
    with pytest.raises(UserError, match=words):
        recipe.upload(store.path, to, every_s=every_s)


def test_another_store_and_no_store_are_refused(store, url, tmp_path) -> None:
    recipe.upload(store.path, url)
    other = DemoStore.create(tmp_path / "other", PIXELS)
    with pytest.raises(DataError, match="holds another store"):
        recipe.upload(other.path, url)
    with pytest.raises(DataError):
        recipe.upload(tmp_path / "nowhere", url)
