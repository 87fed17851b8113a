from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.captions import CaptionTable
from robot_pt.clips import Around, Clips
from robot_pt.errors import DataError


def write(path: Path, captions: object = ("open it", "close it"), features: object = ((1.0, 2.0), (3.0, 4.0))) -> Path:
    np.savez(path, captions=np.asarray(captions), features=np.asarray(features))
    return path


def test_each_caption_gets_its_row_and_no_words_get_zeros(tmp_path: Path) -> None:
    table = CaptionTable.read(write(tmp_path / "c.npz"))
    got = table.features(["close it", "", "open it", "  ", "close it"])
    assert got.tolist() == [[3, 4], [0, 0], [1, 2], [0, 0], [3, 4]]
    assert (table.dim, got.dtype) == (2, np.float32)
    assert table.features([]).shape == (0, 2)
    other = CaptionTable.read(write(tmp_path / "d.npz", features=((1.0, 2.0), (3.0, 5.0))))
    assert table.version != other.version


def test_a_caption_that_was_not_encoded_is_named(tmp_path: Path) -> None:
    table = CaptionTable.read(write(tmp_path / "c.npz"))
    with pytest.raises(DataError, match=r"no feature of 2 captions of the data, 'lift' first; encode those too"):
        table.features(["open it", "pour", "lift", "pour"])


def test_a_caption_may_come_twice_with_one_feature(tmp_path: Path) -> None:
    same = CaptionTable.read(write(tmp_path / "a.npz", ["x", "x"], [[1.0], [1.0]]))
    assert same.features(["x"]).tolist() == [[1]]
    with pytest.raises(DataError, match="'x' has two features that differ"):
        CaptionTable.read(write(tmp_path / "b.npz", ["x", "x"], [[1.0], [2.0]]))


@pytest.mark.parametrize(
    ("captions", "features", "message"),
    [
        (["x"], [[np.nan]], "the feature of 'x' is not finite"), (["x"], [[np.inf]], "not finite"), (["x"], [[1.0], [2.0]], "1 captions and 2 features"),
        ([1, 2], [[1.0], [2.0]], "must be an .npz"), (["x"], [1.0], "must be an .npz"), (["x"], [[1]], "must be an .npz"), ("x", [[1.0]], "must be an .npz"),
        (["x"], [[]], "must be an .npz"),
    ],
)  # fmt: skip
def test_other_layouts_are_refused(tmp_path: Path, captions: object, features: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        CaptionTable.read(write(tmp_path / "c.npz", captions, features))


def test_pickles_missing_arrays_and_missing_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "pickle.npz", captions=np.array(["x"], dtype=object), features=np.ones((1, 1)))
    np.savez(tmp_path / "half.npz", captions=np.array(["x"]))
    np.save(tmp_path / "array.npy", np.ones(3))
    for name in ("pickle.npz", "half.npz", "array.npy"):
        with pytest.raises(DataError, match=r"must be an \.npz with captions"):
            CaptionTable.read(tmp_path / name)
    with pytest.raises(DataError, match="there is no file"):
        CaptionTable.read(tmp_path / "none.npz")


@given(cut=st.integers(0, 600), flip=st.integers(0, 600), bits=st.integers(1, 255))
@settings(max_examples=120, deadline=None)
def test_damaged_files_end_in_a_declared_error_or_in_a_table(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, bits: int
) -> None:
    path = write(tmp_path_factory.mktemp("d") / "c.npz")
    whole = bytearray(path.read_bytes())
    whole[flip % len(whole)] ^= bits
    path.write_bytes(bytes(whole[: len(whole) - cut % 50]))
    try:
        table = CaptionTable.read(path)
    except DataError:
        return
    assert table.dim >= 1


def test_clips_carry_the_features_of_their_captions(memory_source, tmp_path: Path) -> None:
    source = memory_source([5, 6, 7])
    said = sorted(set(source.episodes.instruction))
    features = np.arange(2.0 * len(said)).reshape(-1, 2)
    table = CaptionTable.read(write(tmp_path / "c.npz", said, features))
    settings = {"cameras": ["primary"], "image_size": (4, 4), "batch_size": 8, "seed": 0, "language_dim": 2}
    batch = Clips([source], [1.0], Around((0,)), captions=table, **settings).batch(0)
    expected = [features[said.index(source.episodes.instruction[e])] for e in batch.episode]
    np.testing.assert_array_equal(batch.language, expected)
    with pytest.raises(DataError, match="has no feature of"):
        Clips([source], [1.0], Around((0,)), captions=CaptionTable.read(write(tmp_path / "d.npz")), **settings)
