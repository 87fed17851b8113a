import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from robot_pt import features
from robot_pt.augment import AugmentConfig
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.features import (
    MOST,
    Extractor,
    FeaturePolicy,
    FeatureSource,
    FeatureTable,
    feature_episode,
    fingerprint,
)
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.schema import Episode, Observation
from robot_pt.sources import EpisodeView


class Looking:
    """A source whose frames differ in every pixel, counted as they are decoded."""

    def __init__(self, source):
        self.__dict__.update(source.__dict__)
        self.seen = []

    def images(self, steps, camera, size=None):
        self.seen += [int(s) for s in steps]
        return np.stack([np.random.default_rng(int(s)).integers(0, 256, (*size, 3), np.uint8) for s in steps])


@pytest.fixture
def source(memory_source):
    return Looking(memory_source([6, 4, 5]))


def extractor(seed=0, camera="primary", name="small"):
    torch.manual_seed(seed)
    return Extractor(
        ImageEncoder(EncoderConfig(name=name, latent=16), (32, 32)), camera=camera, image_size=(32, 32), batch=4
    )


def test_features_are_the_averaged_map_and_the_encoders_output():
    look = extractor()
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
    found = look(frames)
    with torch.no_grad():
        whole = look._encoder(torch.from_numpy(frames)).numpy()
        cells = look._encoder.feature_map(torch.from_numpy(frames))  # (9, 64, 4, 4), the grid itself at this size
    np.testing.assert_allclose(found[:, look.columns("encoder")], whole, atol=1e-5)
    np.testing.assert_allclose(found[:, look.columns("map")], cells.flatten(1).numpy(), atol=1e-5)
    assert look.widths == {"map": 1024, "encoder": 16}
    assert found.shape == (9, look.width)


@pytest.mark.parametrize(("name", "width"), [("small", 1024), ("resnet18", 2048)])
def test_a_map_is_kept_as_finely_as_fits(name, width):
    encoder = ImageEncoder(EncoderConfig(name=name, latent=8), (64, 64))
    look = Extractor(encoder, camera="primary", image_size=(64, 64))
    assert look.widths["map"] == width <= MOST
    assert look(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, width + 8)


def test_frames_of_another_size_are_resized_as_in_training():
    look = extractor()
    frame = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)
    assert look(frame).shape == (1, look.width)


def test_the_fingerprint_is_of_weights_camera_and_size():
    same, again, other = extractor(0), extractor(0), extractor(1)
    assert same.fingerprint == again.fingerprint
    assert len({same.fingerprint, other.fingerprint, extractor(0, camera="wrist").fingerprint}) == 3


def test_damaged_weights_are_refused():
    look = extractor()
    with torch.no_grad():
        next(look._encoder.parameters()).fill_(float("nan"))
    with pytest.raises(DataError, match="NaN, Inf or beyond float16"):
        look(np.zeros((1, 32, 32, 3), np.uint8))


def test_a_table_is_computed_once_and_opened_after(source, tmp_path):
    look, steps = extractor(), np.array([14, 0, 7])
    seen = []
    table = FeatureTable.of(source, look, tmp_path, progress=lambda *n: seen.append(n))
    assert seen[-1] == (15, 15)
    expected = look(source.images(steps, "primary", (32, 32)))
    for kind in ("map", "encoder"):
        np.testing.assert_allclose(table(steps, kind), expected[:, look.columns(kind)], rtol=1e-3, atol=1e-3)
    source.seen.clear()
    FeatureTable.of(source, look, tmp_path)
    assert len(source.seen) == 6  # the fingerprint's frames alone
    FeatureTable.of(source, extractor(1), tmp_path)
    assert len(source.seen) == 6 + 6 + 15  # another encoder has a table of its own


def test_other_data_has_a_table_of_its_own(memory_source, source):
    assert fingerprint(source, "primary") == fingerprint(Looking(memory_source([6, 4, 5])), "primary")
    assert fingerprint(source, "primary") != fingerprint(Looking(memory_source([6, 4, 5], seed=1)), "primary")
    assert fingerprint(source, "primary") != fingerprint(
        Looking(memory_source([6, 4, 5], tasks=["a", "b", "a"])), "primary"
    )


def test_only_steps_of_episodes_are_looked_at(source, tmp_path):
    view = EpisodeView(source, source.episodes.select([2]))
    table = FeatureTable.of(view, extractor(), tmp_path)
    assert set(source.seen) == set(range(10, 15))
    assert table(np.array([10]), "encoder").shape == (1, 16)
    with pytest.raises(AssertionError, match="outside all episodes"):
        table(np.array([0]), "encoder")


def test_views_are_crops_the_same_on_every_call(source, tmp_path):
    look, augmentation = extractor(), AugmentConfig(pad=4, jitter_probability=0.0)
    one = FeatureTable.of(source, look, tmp_path / "a", views=3, augmentation=augmentation)
    two = FeatureTable.of(source, look, tmp_path / "b", views=3, augmentation=augmentation)
    steps = np.arange(15)
    plain = FeatureTable.of(source, look, tmp_path / "a")(steps, "map")
    np.testing.assert_array_equal(one(steps, "map", 0), plain)
    for v in (1, 2):
        np.testing.assert_array_equal(one(steps, "map", v), two(steps, "map", v))
    assert (one(steps, "map", 1) != one(steps, "map", 2)).any()
    assert one.views == 3


@pytest.mark.parametrize("cut", [0, 17, 900, 20_000])
def test_a_torn_table_goes_on_where_it_was(source, tmp_path, cut):
    """A kill leaves any number of bytes; the finished file is the same."""
    look = extractor()
    FeatureTable.of(source, look, tmp_path / "whole")
    (whole,) = (tmp_path / "whole").glob("*.npy")
    content = whole.read_bytes()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / whole.with_suffix(".part").name).write_bytes(content[:cut])
    FeatureTable.of(source, look, tmp_path / "torn")
    assert (tmp_path / "torn" / whole.name).read_bytes() == content


def test_kill_9_between_chunks_loses_no_more_than_a_chunk(tmp_path, monkeypatch, memory_source):
    """A process killed in the middle of a long table; this one finishes it, with every row right."""
    script = (
        "import sys, time; sys.path.insert(0, {tests!r})\n"
        "import test_features as t, conftest as c, robot_pt.features as f\n"
        "f._CHUNK = 8\n"
        "source = t.Looking(c.build([50] * 8))\n"
        "class Slow(t.Looking):\n"
        "    def images(self, *a, **k):\n"
        "        time.sleep(0.05); return super().images(*a, **k)\n"
        "f.FeatureTable.of(Slow(source), t.extractor(), __import__('pathlib').Path({out!r}))\n"
    ).format(tests=os.path.dirname(__file__), out=str(tmp_path / "killed"))
    work = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 120
    while not [p for p in (tmp_path / "killed").glob("*.part") if p.stat().st_size > 200_000]:
        assert work.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(work.pid, signal.SIGKILL)
    work.wait()
    assert not list((tmp_path / "killed").glob("*.npy"))
    monkeypatch.setattr(features, "_CHUNK", 8)
    source = Looking(memory_source([50] * 8))
    FeatureTable.of(source, extractor(), tmp_path / "killed")
    assert len(source.seen) < 400, "it began anew"
    FeatureTable.of(source, extractor(), tmp_path / "afresh")
    (killed,), (afresh,) = ((tmp_path / d).glob("*.npy") for d in ("killed", "afresh"))
    assert killed.read_bytes() == afresh.read_bytes()
    assert killed.name == afresh.name


def test_what_cannot_be_looked_at_is_said(source, tmp_path):
    with pytest.raises(MismatchError, match="camera 'wrist' is not in the toy data"):
        FeatureTable.of(source, extractor(camera="wrist"), tmp_path)
    with pytest.raises(UserError, match="2 views of each frame"):
        FeatureTable.of(source, extractor(), tmp_path, views=2)
    with pytest.raises(DataError, match="no step to look at"):
        FeatureTable.of(EpisodeView(source, source.episodes.select([])), extractor(), tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        FeatureTable.of(source, extractor(), tmp_path / "file")


def test_a_feature_source_is_a_source_of_the_state_alone(source, tmp_path):
    look = extractor()
    table = FeatureTable.of(source, look, tmp_path)
    found = FeatureSource(source, table, "encoder")
    assert found.spec.cameras == {}
    assert found.spec.proprio_names[:7] == source.spec.proprio_names
    assert found.proprio.shape == (15, 7 + 16)
    np.testing.assert_array_equal(found.proprio[:, :7], source.proprio)
    np.testing.assert_array_equal(found.proprio[3:5, 7:], table(np.array([3, 4]), "encoder"))
    np.testing.assert_array_equal(found.actions, source.actions)
    with pytest.raises(DataError, match="features have taken the place of images"):
        found.images(np.array([0]), "primary")


class Remembers:
    """A policy that says what it was shown."""

    version = "inner"

    def reset(self, task):
        self.task = task

    def act(self, history):
        self.history = history
        return np.zeros((1, 7), np.float32)


def test_the_policy_sees_in_play_what_it_was_trained_on(source, tmp_path):
    """Row by row: the observation of a stored step becomes the very numbers that stood in the training data."""
    look = extractor()
    trained = FeatureSource(source, FeatureTable.of(source, look, tmp_path), "map")
    inner = Remembers()
    policy = FeaturePolicy(inner, look, "map")
    policy.reset("lift")
    assert inner.task == "lift"
    for step in (0, 9, 14):
        frame = source.images([step], "primary", (32, 32))[0]
        assert policy.act([Observation({"primary": frame}, source.proprio[step])]).shape == (1, 7)
        (seen,) = inner.history
        assert seen.images == {}
        np.testing.assert_allclose(seen.proprio, trained.proprio[step], atol=2e-3)
    assert policy.version == f"inner+{look.fingerprint}"


def test_a_policy_that_looks_at_several_observations_sees_their_features(source, tmp_path):
    look, inner = extractor(), Remembers()
    trained = FeatureSource(source, FeatureTable.of(source, look, tmp_path), "map")
    inner.window = 3
    policy = FeaturePolicy(inner, look, "map")
    assert policy.window == 3
    steps = [0, 3, 9, 14]
    history = [
        Observation({"primary": source.images([step], "primary", (32, 32))[0]}, source.proprio[step]) for step in steps
    ]
    for length in (1, 2, 4):
        policy.act(history[:length])
        assert len(inner.history) == min(length, 3)
        for seen, step in zip(inner.history, steps[:length][-3:], strict=True):
            np.testing.assert_allclose(seen.proprio, trained.proprio[step], atol=2e-3)


def test_an_observation_without_the_camera_is_refused():
    policy = FeaturePolicy(Remembers(), extractor(), "map")
    with pytest.raises(UserError, match="without an observation"):
        policy.act([])
    with pytest.raises(UserError, match="lacks camera 'primary'; it has \\['wrist'\\]"):
        policy.act([Observation({"wrist": np.zeros((8, 8, 3), np.uint8)}, np.zeros(7, np.float32))])


def test_an_episode_from_a_simulator_becomes_one_of_features(source):
    look, steps = extractor(), 5
    frames = source.images(range(steps), "primary", (32, 32))
    episode = Episode(
        spec=source.spec, images={"primary": frames}, proprio=np.zeros((steps, 7), np.float32), actions=np.zeros((steps, 7), np.float32),
        rewards=np.zeros(steps, np.float32), terminated=np.zeros(steps, bool), truncated=np.arange(steps) == steps - 1,
    )  # fmt: skip
    found = feature_episode(episode, look, "encoder")
    found.validate()
    np.testing.assert_allclose(found.proprio[:, 7:], look(frames)[:, look.columns("encoder")])
