"""Frames by number and by time: the bar code in every frame says which one it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from robot_pt.errors import DataError, MissingExtraError, UserError
from robot_pt_data.video import decoders
from robot_pt_data.video.reader import VideoReader
from tests.data.video.video_files import Clip, begun_later, number_of, numbers_of, picture, with_matrix, write_video

HAS_TORCHCODEC = decoders.importlib.util.find_spec("torchcodec") is not None
BACKENDS = ["pyav", "opencv", *(["torchcodec"] if HAS_TORCHCODEC else [])]

Reading = Callable[..., VideoReader]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_random_numbers_of_a_long_gop_with_b_frames_and_a_late_start(long_gop: Path, backend: Any) -> None:
    reader = VideoReader(long_gop.parent, backend)
    rng = np.random.default_rng(0)
    calls = 40 if backend == "pyav" else 4
    for _ in range(calls):
        asked = rng.integers(0, 900, 5)
        found = reader.frames(long_gop, asked)
        assert numbers_of(found.images) == asked.tolist()
        np.testing.assert_allclose(found.times_s, 1.5 + asked / 30, atol=1e-4)


def test_clips_in_order_backwards_and_repeated_come_from_one_pass(long_gop: Path) -> None:
    reader = VideoReader(long_gop.parent)
    for asked in ([700, 3, 3, 251, 250, 249, 0], list(range(240, 262)), [899], [0], []):
        found = reader.frames(long_gop, asked)
        assert numbers_of(found.images) == asked
    assert len(reader._idle._held) == 1


def test_going_on_from_where_a_pass_ended_decodes_nothing_twice(
    long_gop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robot_pt_data.video.pyav_decoder import PyAvDecoder

    seeks: list[int] = []
    seek = PyAvDecoder._seek
    monkeypatch.setattr(PyAvDecoder, "_seek", lambda self, start: (seeks.append(start), seek(self, start))[1])
    reader = VideoReader(long_gop.parent)
    for first in range(0, 240, 30):
        assert numbers_of(reader.frames(long_gop, range(first, first + 30)).images) == list(range(first, first + 30))
    assert seeks == [0]
    assert numbers_of(reader.frames(long_gop, [245, 760]).images) == [245, 760]
    assert seeks == [0, 3], "a start lies between the two: it is gone to, not decoded to"


def test_clips_here_and_there_are_not_waited_for_and_mix_with_reading_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that nothing follows comes out at once; every call may be of either kind and gives the same frames."""
    from robot_pt_data.video.pyav_decoder import PyAvDecoder

    fed: list[int] = []
    feed = PyAvDecoder._feed
    monkeypatch.setattr(
        PyAvDecoder, "_feed", lambda self, packet, skip: (fed.append(packet.pts), feed(self, packet, skip))[1]
    )
    path = write_video(tmp_path / "a.mp4", Clip(frames=300, gop=30))
    reader, rng, last = VideoReader(tmp_path), np.random.default_rng(0), 0
    index = reader.index(path)
    for call in range(40):
        first = last + 1 if call % 3 == 0 and last < 280 else int(rng.integers(0, 240))
        asked = sorted({first, *(first + rng.choice(20, 3, replace=False)).tolist()})
        fed.clear()
        assert numbers_of(reader.frames(path, asked).images) == asked
        if (
            not 0 <= asked[0] // 30 - last // 30 <= 1
        ):  # neither going on nor near it: up to the last frame's packet and no further
            assert max(fed) <= max(int(p) for p in index.pts[index.rank <= index.rank[asked].max()])
        last = asked[-1]


def test_the_last_frame_is_there_and_the_one_after_it_is_not(long_gop: Path, backend: Any) -> None:
    reader = VideoReader(long_gop.parent, backend)
    assert number_of(reader.frames(long_gop, [899]).images[0]) == 899
    for beyond in ([900], [-1], [5, 900]):
        with pytest.raises(DataError, match=r"has the frames 0 to 899; .* were asked for"):
            reader.frames(long_gop, beyond)


def test_times_mean_the_nearest_frame_within_half_a_frame(long_gop: Path, backend: Any) -> None:
    reader = VideoReader(long_gop.parent, backend)
    asked = 1.5 + np.array([0.0, 10.0, 29.966]) + np.array([0.016, -0.016, 0.01])
    found = reader.frames_at(long_gop, asked)
    assert numbers_of(found.images) == [0, 300, 899]
    assert (np.abs(found.times_s - asked) <= 0.5 / 30 + 1e-4).all()
    for outside in (1.48, 31.5 + 0.02, -4.0):
        with pytest.raises(DataError, match="shows no frame at"):
            reader.frames_at(long_gop, [2.0, outside])
    with pytest.raises(DataError, match="must be finite"):
        reader.frames_at(long_gop, [float("nan")])


def test_variable_frame_rate(tmp_path: Path, backend: Any) -> None:
    rng = np.random.default_rng(3)
    ticks = np.cumsum(rng.choice([16, 33, 34, 120, 400], 240, p=[0.2, 0.4, 0.3, 0.08, 0.02])).tolist()
    path = write_video(tmp_path / "vfr.mp4", Clip(ticks=ticks, gop=60))
    reader = VideoReader(tmp_path, backend)
    np.testing.assert_allclose(reader.index(path).times_s, np.array(ticks) / 1000, atol=2e-3)
    asked = rng.integers(0, 240, 60)
    for first in range(0, 60, 6):
        some = asked[first : first + 6]
        found = reader.frames(path, some)
        assert numbers_of(found.images) == some.tolist()
        np.testing.assert_allclose(found.times_s, np.array(ticks)[some] / 1000, atol=2e-3)
    shown = reader.frames_at(path, np.array(ticks)[[7, 200]] / 1000)
    assert numbers_of(shown.images) == [7, 200]
    gap = int(np.argmax(np.diff(ticks)))
    with pytest.raises(DataError, match="shows no frame at"):
        reader.frames_at(path, [(ticks[gap] + ticks[gap + 1]) / 2000])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_phone_videos_come_out_upright(tmp_path: Path, degrees: int, backend: Any) -> None:
    path = write_video(tmp_path / f"turned{degrees}.mp4", Clip(frames=20, rotation=degrees))
    reader = VideoReader(tmp_path, backend)
    image = reader.frames(path, [11]).images[0]
    capture = cv2.VideoCapture(str(path))  # turns by itself: the reference
    for _ in range(12):
        assert capture.grab()
    reference = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    assert image.shape == reference.shape == ((96, 48, 3) if degrees % 180 else (48, 96, 3))
    assert np.abs(image.astype(int) - reference).mean() < 2
    coded = np.rot90(image, -reader.index(path).rotation // 90)
    assert number_of(coded) == 11


@pytest.mark.parametrize(
    "matrix", [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0), (0, 1, -1, 0), (0, -1, 1, 0)]
)  # fmt: skip
def test_every_quarter_turn_mirrored_or_not_is_what_its_matrix_says(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    a, b, c, d = matrix
    plain = write_video(tmp_path / "plain.mp4", Clip(frames=8))
    path = with_matrix(Path(shutil.copy(plain, tmp_path / "a.mp4")), *matrix)
    reader = VideoReader(tmp_path)
    coded = reader.frames(plain, [5]).images[0]
    y, x = np.mgrid[:48, :96]
    right, down = a * x + c * y, b * x + d * y
    expected = np.zeros((48, 96, 3) if a else (96, 48, 3), np.uint8)
    expected[down - down.min(), right - right.min()] = coded
    found = reader.frames(path, [5]).images[0]
    np.testing.assert_array_equal(found, expected)
    assert reader.index(path).mirrored == (a * d - b * c < 0)
    assert VideoReader(tmp_path).index(path) is not reader.index(path)
    assert VideoReader(tmp_path).index(path).mirrored == reader.index(path).mirrored, "kept on disk"
    np.testing.assert_allclose(VideoReader(tmp_path, "opencv").frames(path, [5]).images[0], expected, atol=2)


def test_square_pixels_odd_sizes_and_deep_colours(tmp_path: Path, backend: Any) -> None:
    cases = {
        "wide": Clip(frames=20, size=(48, 72), sample_aspect=Fraction(4, 3)),
        "narrow": Clip(frames=20, size=(48, 96), sample_aspect=Fraction(8, 9)),
        "odd": Clip(frames=20, size=(51, 97), pixels="yuv444p"),
        "deep": Clip(frames=20, pixels="yuv420p10le"),
        "422": Clip(frames=20, pixels="yuv422p"),
    }
    shapes = {"wide": (48, 96), "narrow": (48, 85), "odd": (51, 97)}
    for name, clip in cases.items():
        path = write_video(tmp_path / f"{name}.mp4", clip)
        image = VideoReader(tmp_path, backend).frames(path, [13]).images[0]
        assert image.shape == (*shapes.get(name, (48, 96)), 3)
        assert number_of(image) == 13
        wanted = cv2.resize(picture(13, clip.size), image.shape[1::-1])
        assert np.abs(image.astype(int) - wanted).mean() < 8, name


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("open.mp4", Clip(frames=120, gop=20, open_gop=True)),
        ("open.mkv", Clip(frames=120, gop=20, open_gop=True)),
        ("film.mkv", Clip(frames=120, gop=25, start_s=0.7)),
        ("film.ts", Clip(frames=120, gop=25)),
        ("film.mov", Clip(frames=120, gop=1, b_frames=0)),
        ("film.webm", Clip(frames=60, gop=20, codec="libvpx-vp9")),
        ("alt.webm", Clip(frames=60, gop=30, codec="libvpx")),
        ("film.avi", Clip(frames=60, gop=20, codec="mjpeg", pixels="yuvj420p")),
        ("divx.avi", Clip(frames=60, gop=20, codec="mpeg4", b_frames=2)),
        ("sound.mp4", Clip(frames=120, gop=30, audio=True)),
    ],
)
def test_containers_and_codecs(tmp_path: Path, name: str, clip: Clip) -> None:
    path = write_video(tmp_path / name, clip)
    reader = VideoReader(tmp_path)
    assert len(reader.index(path)) == clip.frames
    rng = np.random.default_rng(1)
    for _ in range(8):
        asked = rng.integers(0, clip.frames, 4)
        assert numbers_of(reader.frames(path, asked).images) == asked.tolist()
    everything = list(range(clip.frames))
    assert numbers_of(VideoReader(tmp_path).frames(path, everything).images) == everything


def test_what_a_list_of_edits_hides_is_no_frame(tmp_path: Path, backend: Any) -> None:
    path = begun_later(write_video(tmp_path / "cut.mp4", Clip(frames=120, gop=50)), 20 * 512)
    reader = VideoReader(tmp_path, backend)
    assert len(reader.index(path)) == 100
    if backend == "torchcodec":  # 0.12 loses the frames before the first start that is shown: refused, not mistaken
        with pytest.raises(DataError, match="torchcodec gives the one at"):
            reader.frames(path, [0, 5])
        return
    for asked in ([0, 5, 99], [29, 30, 31], [80, 3]):
        assert numbers_of(reader.frames(path, asked).images) == [n + 20 for n in asked]


def test_decoding_threads_change_nothing(long_gop: Path) -> None:
    reader = VideoReader(long_gop.parent, threads=3)
    rng = np.random.default_rng(5)
    for _ in range(15):
        asked = rng.integers(0, 900, 5)
        assert numbers_of(reader.frames(long_gop, asked).images) == asked.tolist()
    assert numbers_of(reader.frames(long_gop, range(880, 900)).images) == list(range(880, 900))


def test_backends_give_the_same_pictures(long_gop: Path, tmp_path: Path) -> None:
    deep = write_video(tmp_path / "deep.mp4", Clip(frames=30, pixels="yuv420p10le"))
    for path, asked in ((long_gop, [5, 251, 898]), (deep, [0, 29])):
        images = [VideoReader(path.parent, b).frames(path, asked).images for b in BACKENDS]  # type: ignore[arg-type]
        for other in images[1:]:
            assert np.abs(images[0].astype(int) - other).mean(axis=(1, 2, 3)).max() < 2


def test_resizing_cuts_to_the_shape_or_keeps_the_whole(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", Clip(frames=5))
    reader = VideoReader(tmp_path)
    whole = reader.frames(path, [3]).images[0]
    cut = reader.frames(path, [3], (48, 48)).images[0]
    np.testing.assert_array_equal(cut, whole[:, 24:72])
    squeezed = reader.frames(path, [3], (48, 48), fit="squeeze").images[0]
    assert number_of(squeezed) == 3
    tall = reader.frames(path, [3], (64, 32)).images[0]
    assert tall.shape == (64, 32, 3)


def test_open_files_are_bounded_and_closed(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", Clip(frames=5), first=10 * n) for n in range(6)]
    reader = VideoReader(tmp_path, open_files=2)
    for _ in range(2):
        for n, path in enumerate(paths):
            assert number_of(reader.frames(path, [4]).images[0]) == 10 * n + 4
            assert _open_in(tmp_path) <= 2
    reader.close()
    assert _open_in(tmp_path) == 0
    assert number_of(reader.frames(paths[0], [0]).images[0]) == 0


def test_what_cannot_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="at least 1 open file and 1 thread"):
        VideoReader(tmp_path, open_files=0)
    with pytest.raises(DataError, match="choose auto, pyav, torchcodec or opencv"):
        VideoReader(tmp_path, "decord")  # type: ignore[arg-type]
    if not HAS_TORCHCODEC:
        with pytest.raises(UserError, match="torchcodec is not installed or finds no FFmpeg"):
            VideoReader(tmp_path, "torchcodec")
    path = write_video(tmp_path / "a.mp4", Clip(frames=5))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"robot-pt\[video\]"):
        VideoReader(tmp_path, "opencv").frames(path, [0])


def test_a_file_that_another_has_taken_the_place_of(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", Clip(frames=60, gop=10))
    reader = VideoReader(tmp_path)
    reader.index(path)
    write_video(path, Clip(frames=30, gop=7, start_s=0.01))
    with pytest.raises(DataError):
        reader.frames(path, [55])


def _open_in(folder: Path) -> int:
    names = []
    for handle in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(handle.readlink()))
        except OSError:
            continue
    return sum(name.startswith(str(folder)) and name.endswith(".mp4") for name in names)
