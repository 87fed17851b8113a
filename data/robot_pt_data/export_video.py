"""Episodes end to end in H.264 MP4 files of limited size, every other frame a key frame, as LeRobot plays them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from robot_pt.errors import DataError
from robot_pt.schema import Image

CODEC = "h264"
_OPTIONS = {
    "g": "2",
    "crf": "18",
    "preset": "veryfast",
    "bf": "0",
    "x264-params": "scenecut=0:rc-lookahead=0:sync-lookahead=0",
}
_FILES_PER_CHUNK = 1000


class Clip(NamedTuple):
    """Where one episode lies; the field names are LeRobot's."""

    chunk_index: int
    file_index: int
    from_timestamp: float  # [s]
    to_timestamp: float  # [s]


def pixel_format(size: tuple[int, int]) -> str:
    """4:2:0 chroma where height and width are even, else 4:4:4."""
    return "yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p"


class VideoFiles:
    """``chunk-XXX/file-XXX.mp4`` below `folder`; a file that has grown past `limit` bytes is followed by the next."""

    def __init__(self, folder: Path, size: tuple[int, int], fps: int, limit: int):
        self._folder, self._size, self._fps, self._limit = folder, size, fps, limit
        self._number, self._frames, self._bytes = -1, 0, 0
        self._container: Any = None
        self._stream: Any = None

    def write(self, frames: Image) -> Clip:
        """Append one episode of (T, H, W, 3) uint8 RGB frames."""
        import av

        if self._container is None or self._bytes > self._limit:
            self._next_file()
        first = self._frames
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = self._frames, Fraction(1, self._fps)
            self._mux(self._stream.encode(frame))
            self._frames += 1
        where = divmod(self._number, _FILES_PER_CHUNK)
        return Clip(*where, from_timestamp=first / self._fps, to_timestamp=self._frames / self._fps)

    def close(self) -> None:
        """Finish the file; without this it cannot be played."""
        if self._container is not None:
            if self._frames:
                self._mux(self._stream.encode())
            self._container.close()
            self._container = None

    def _next_file(self) -> None:
        import av

        self.close()
        self._number, self._frames, self._bytes = self._number + 1, 0, 0
        chunk, file = divmod(self._number, _FILES_PER_CHUNK)
        path = self._folder / f"chunk-{chunk:03d}" / f"file-{file:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        if "libx264" not in av.codecs_available:
            raise DataError("this PyAV has no H.264 encoder (libx264); install the wheel from PyPI: pip install av.")
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=self._fps, options=_OPTIONS)
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = pixel_format(self._size)
        self._stream.codec_context.time_base = Fraction(1, self._fps)

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self._bytes += packet.size
            self._container.mux(packet)
