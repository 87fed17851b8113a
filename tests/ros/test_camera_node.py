"""camera: frames of a video, a folder or a device as they are; who goes away is got back; mistakes are one sentence."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from robot_pt.errors import DataError, UserError
from robot_pt.images import decode_one, encode_jpeg
from robot_pt_ros import topics
from robot_pt_ros.camera_calibration import read_calibration, uncalibrated
from robot_pt_ros.camera_grabber import Grabber
from robot_pt_ros.camera_sources import Captured, Wanted, open_source
from robot_pt_ros.conversions import image_of, nanoseconds
from tests.ros.node_process import NodeProcess, change_state

DOMAIN = 70


def picture(number: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    """Told from every other by its value; flat, so that codecs keep it."""
    return np.full((*size, 3), (10 * number + 5, 200 - 10 * number, 60), np.uint8)


def write_folder(path: Path, count: int) -> Path:
    path.mkdir()
    for i in range(count):
        cv2.imwrite(str(path / f"{i:03d}.png"), cv2.cvtColor(picture(i), cv2.COLOR_RGB2BGR))
    return path


def write_video(path: Path, count: int, rate_hz: float = 50.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate_hz, (32, 24))
    for i in range(count):
        writer.write(cv2.cvtColor(picture(i), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read_all(source: Any, most: int) -> list[np.ndarray]:
    found = []
    while len(found) < most and (captured := source.read()) is not None:
        found.append(captured.rgb)
    return found


# sources


def test_a_folder_is_read_in_the_order_of_names_and_looped_or_not(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", 3)
    once = read_all(open_source(str(folder), Wanted(loop=False))(), 10)
    np.testing.assert_array_equal(once, [picture(i) for i in range(3)])
    again = read_all(open_source(str(folder), Wanted(loop=True))(), 7)
    np.testing.assert_array_equal(again, [picture(i % 3) for i in range(7)])
    assert open_source(str(folder), Wanted(rate_hz=8))().period_s == 1 / 8


def test_a_video_is_read_whole_and_looped_or_not(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.avi", 4)
    source = open_source(str(video), Wanted(loop=False))()
    assert source.period_s == pytest.approx(1 / 50)
    once = read_all(source, 10)
    assert len(once) == 4
    for i, frame in enumerate(once):
        assert np.abs(frame.astype(int) - picture(i)).max() <= 6  # MJPG
    source.close()
    again = read_all(open_source(str(video), Wanted())(), 9)
    for i, frame in enumerate(again):
        np.testing.assert_array_equal(frame, once[i % 4])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "source is empty"),
        ("/nowhere/x.mp4", "no file, folder, device or address"),
        ("/dev/video97", "/dev/video97 is not there"),
        ("97", "/dev/video97 is not there"),
        ("rtsp://127.0.0.1:9/none", "cannot be opened"),
    ],
)
def test_what_is_not_there_is_one_sentence(source: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_source(source, Wanted())()


def test_files_that_are_no_pictures_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.avi").write_bytes(b"no video")
    with pytest.raises(UserError, match="cannot be opened"):
        open_source(str(tmp_path / "x.avi"), Wanted())()
    with pytest.raises(UserError, match="has no pictures"):
        open_source(str(tmp_path), Wanted())()
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png cannot be read"):
        open_source(str(tmp_path), Wanted())().read()


# the grabber


class Flaky:
    """A device that gives some frames, goes away, comes back."""

    period_s = None

    def __init__(self, frames: int):
        self.left = frames

    def read(self) -> Captured | None:
        time.sleep(0.005)
        self.left -= 1
        return Captured(time.monotonic() - 0.25, picture(1)) if self.left >= 0 else None

    def close(self) -> None:
        pass


def wait_for(reached: Callable[[], Any], timeout_s: float = 30.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < end_s, "not reached"
        time.sleep(0.005)


def test_the_newest_frame_is_held_the_others_are_counted_and_stamps_are_of_the_capture() -> None:
    grabber = Grabber("primary", lambda: Flaky(10**6), time.time_ns, lambda: None, print)
    grabber.start()
    grabber.start()
    wait_for(lambda: grabber.frames > 20)
    before = time.time_ns()
    taken = grabber.take()
    assert taken is not None
    assert 0.25e9 <= before - taken.stamp_ns < 10e9
    assert grabber.dropped >= 18
    status = grabber.status()
    assert 1 < status["rate_hz"] < 250
    assert status["size"] == "24x32"
    grabber.close()
    frames = grabber.frames
    time.sleep(0.05)
    assert grabber.frames == frames


def test_a_device_that_went_away_is_opened_again_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robot_pt_ros.camera_grabber.AGAIN_S", 0.02)
    opened: list[int] = []

    def opener() -> Flaky:
        opened.append(1)
        if len(opened) == 2:
            raise UserError("not there")
        return Flaky(0 if len(opened) == 3 else 5)

    news: list[str] = []
    grabber = Grabber("wrist", opener, time.time_ns, lambda: None, news.append)
    grabber.start()
    wait_for(lambda: grabber.lost >= 2)
    grabber.close()
    assert grabber.frames >= 10
    assert "camera wrist went away" in news[0]
    assert news[1] == "camera wrist is back."


def test_a_file_that_ended_is_said_and_a_source_without_a_frame_refused(tmp_path: Path) -> None:
    news: list[str] = []
    opener = open_source(str(write_folder(tmp_path / "f", 2)), Wanted(rate_hz=100, loop=False))
    grabber = Grabber("primary", opener, time.time_ns, lambda: None, news.append)
    grabber.start()
    wait_for(lambda: grabber.ended)
    assert (news, grabber.frames) == (["camera primary: its file ended."], 2)
    with pytest.raises(UserError, match="opens but gives no frame"):
        Grabber("primary", lambda: Flaky(0), time.time_ns, lambda: None, print)


# calibration

CALIBRATION = """
image_width: 32
image_height: 24
camera_name: primary
camera_matrix: {rows: 3, cols: 3, data: [30.5, 0, 16, 0, 31, 12, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [30, 0, 16, 0, 0, 31, 12, 0, 0, 0, 1, 0]}
"""


def test_calibration_is_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CALIBRATION)
    info = read_calibration(f"file://{tmp_path}/c.yaml")
    assert (info.height, info.width, info.distortion_model) == (24, 32, "plumb_bob")
    assert list(info.k) == [30.5, 0, 16, 0, 31, 12, 0, 0, 1]
    assert list(info.d) == [0.1, -0.2, 0, 0, 0]
    assert list(info.p)[:3] == [30, 0, 16]
    assert list(uncalibrated(3, 4).k) == [0] * 9


@pytest.mark.parametrize(
    "wrong", ["[", "5", "image_width: 3", CALIBRATION.replace("30.5, 0", ".nan, 0"), CALIBRATION.replace("30.5, ", "")]
)
def test_what_is_no_calibration_is_one_sentence(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "c.yaml").write_text(wrong)
    with pytest.raises(DataError, match="camera_info_url"):
        read_calibration(str(tmp_path / "c.yaml"))
    with pytest.raises(DataError, match="cannot be read"):
        read_calibration(str(tmp_path / "missing.yaml"))


# the node


def test_the_node_publishes_what_the_file_shows(graph: Any, tmp_path: Path) -> None:
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

    (tmp_path / "c.yaml").write_text(CALIBRATION)
    folder = write_folder(tmp_path / "f", 5)
    node = NodeProcess(
        "camera", DOMAIN, tmp_path, "-r", "__ns:=/arm1", "-r", "__node:=camera_wrist",
        camera="wrist", source=str(folder), rate_hz=20.0, camera_info_url=str(tmp_path / "c.yaml"),
    )  # fmt: skip
    try:
        watcher = graph.node("watcher", namespace="/arm1")
        seen: dict[str, list[Any]] = {"raw": [], "jpeg": [], "info": [], "diagnostics": []}
        listen = watcher.create_subscription
        listen(Image, topics.camera_image("wrist"), seen["raw"].append, topics.recorded(10))
        listen(CompressedImage, topics.camera_compressed("wrist"), seen["jpeg"].append, topics.recorded(10))
        listen(CameraInfo, topics.camera_info("wrist"), seen["info"].append, topics.recorded(10))
        listen(DiagnosticArray, topics.DIAGNOSTICS, seen["diagnostics"].append, topics.recorded(10))
        assert change_state(graph, watcher, "camera_wrist", 1, 3) == [True, True]
        assert graph.spin_until(lambda: len(seen["raw"]) > 8 and len(seen["jpeg"]) > 8 and seen["diagnostics"])
        shown = {bytes(picture(i)): i for i in range(5)}
        order = [shown[bytes(image_of(m))] for m in seen["raw"]]
        assert all((b - a) % 5 in (1, 2) for a, b in pairwise(order)), order
        assert seen["raw"][0].header.frame_id == "camera_wrist_optical_frame"
        stamps = [nanoseconds(m.header.stamp) for m in seen["raw"]]
        assert stamps == sorted(set(stamps))
        assert abs(time.time_ns() - stamps[-1]) < 5e9
        raw = dict(zip(stamps, order, strict=True))
        both = [m for m in seen["jpeg"] if nanoseconds(m.header.stamp) in raw]
        assert both
        for message in both:
            number = raw[nanoseconds(message.header.stamp)]
            assert bytes(message.data) == encode_jpeg(picture(number))
        assert decode_one(bytes(both[0].data)).shape == (24, 32, 3)
        assert seen["info"][0].k[0] == 30.5
        assert seen["info"][0].header.frame_id == "camera_wrist_optical_frame"
        status = next(s for m in seen["diagnostics"] for s in m.status if s.name == "camera wrist")
        assert {"frames", "dropped", "rate_hz", "lost_source"} <= {v.key for v in status.values}
        assert change_state(graph, watcher, "camera_wrist", 4, 2, 1, 3) == [True] * 4
        count = len(seen["raw"])
        assert graph.spin_until(lambda: len(seen["raw"]) > count + 2)
        assert node.end() == 0
    finally:
        node.close()


def test_a_missing_device_is_a_sentence_at_configure(graph: Any, tmp_path: Path) -> None:
    node = NodeProcess("camera", DOMAIN, tmp_path, source="/dev/video97")
    try:
        assert change_state(graph, graph.node("watcher"), "camera", 1) == [False]
        assert "camera /dev/video97 is not there" in node.text
        assert "Traceback" not in node.text
        assert node.end() == 0
    finally:
        node.close()
