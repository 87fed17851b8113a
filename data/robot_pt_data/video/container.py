"""Opening a video file with PyAV: only real video containers, one decoding thread, every failure a `DataError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError, MissingExtraError

SUFFIXES = frozenset(
    (
        ".mp4",
        ".m4v",
        ".mov",
        ".webm",
        ".mkv",
        ".avi",
        ".mpg",
        ".mpeg",
        ".ts",
        ".m2ts",
        ".mts",
        ".3gp",
        ".flv",
        ".wmv",
        ".ogv",
    )
)
"""Names that are taken for videos, in any case."""

FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg"
"""FFmpeg demuxers allowed, whatever a file is called: no playlists, which name other files, and no pictures or texts."""

MAX_PIXELS = 1 << 26
"""A frame that claims more is refused as damaged (64 megapixels)."""


def pyav() -> Any:
    """The ``av`` module. Raises MissingExtraError without it."""
    try:
        import av
    except ImportError:
        raise MissingExtraError("PyAV", "video", "Reading videos") from None
    return av


def failures() -> tuple[type[Exception], ...]:
    """What PyAV raises on damaged files. The plain ones come from headers with impossible numbers."""
    return (pyav().error.FFmpegError, ValueError, OverflowError, ZeroDivisionError, UnicodeError)


def reason(error: Exception) -> str:
    """The cause of one of `failures`, without file name or error number."""
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".") or type(error).__name__


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A PyAV container, closed on the way out. Raises DataError on a file that is no video or has no video stream."""
    container = open_container(path)
    try:
        yield container
    finally:
        container.close()


def open_container(path: Path) -> Any:
    """As `opened`; the caller closes it."""
    av = pyav()
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes); fetch it again.")
        return av.open(str(path), metadata_errors="replace", options={"format_whitelist": FORMATS})
    except OSError as error:  # also av.error.OSError
        raise DataError(f"{path} cannot be opened ({reason(error)}); check that it is there and may be read.") from None
    except failures() as error:
        raise DataError(
            f"{path} is no readable video ({reason(error)}); it is cut off, damaged or something else: fetch it again."
        ) from None


def video_stream(container: Any, path: Path, threads: int = 1) -> Any:
    """The first stream of moving pictures, set to decode in `threads` threads. Raises DataError where there is none."""
    for stream in container.streams.video:
        if stream.codec_context is None:
            raise DataError(
                f"{path} is encoded with a codec that this PyAV cannot decode; transcode it: ffmpeg -i IN -c:v libx264 OUT."
            )
        if "attached_pic" not in str(stream.disposition):
            stream.codec_context.thread_count = threads
            if threads > 1:
                stream.thread_type = "AUTO"
            return stream
    raise DataError(f"{path} has no video stream (audio only); leave it out.")


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream from here to the end, without the empty one that PyAV ends with."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except IndexError:  # PyAV at the end of a file in whose middle another stream began
        return
