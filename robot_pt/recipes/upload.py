"""`robot-pt data upload`: a store that grows here, brought to where a learner elsewhere follows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError, UserError
from robot_pt.online.mirror import Uploader
from robot_pt.recipes.progress import say
from robot_pt.store import DemoStore


def upload(
    path: Path, url: str, *, every_s: float = 0.0, wait: Callable[[float], object] = time.sleep
) -> dict[str, Any]:
    """Copy every whole episode of the store that does not lie at `url` yet, and its labels.

    every_s: look again that often [s] until Ctrl-C, whatever the network does meanwhile; 0 = once. Raises UserError for what is no URL
    or no time, DataError for what is no store, for a URL that holds another one, and, when asked once, for one that does not answer.
    """
    if "://" not in url:
        raise UserError(f"{url} is no URL; give one that fsspec opens, such as s3://bucket/demos or file:///mnt/demos.")
    if not 0 <= every_s < float("inf"):
        raise UserError(f"--every-s is {every_s:g}; give seconds between two looks, or 0 to upload once.")
    store = DemoStore(path)
    uploader, done = Uploader(store, url), 0
    try:
        done += len(uploader.upload())
        while every_s:
            wait(every_s)
            done += _again(uploader)
    except KeyboardInterrupt:
        if not every_s:
            raise
    return {"store": str(path), "url": url, "uploaded": done, "episodes": len(store)}


def _again(uploader: Uploader) -> int:
    """Episodes uploaded; a network that fails is said and asked again at the next look."""
    try:
        return len(uploader.upload())
    except DataError as error:
        say(str(error))
        return 0
