"""`robot-pt data repair`: the sound episodes out of a damaged demo store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robot_pt import repair as store_repair
from robot_pt.errors import DataError
from robot_pt.recipes.progress import bar, say
from robot_pt.recorder import JOURNALS
from robot_pt.store import QUARANTINE, DemoStore


def repair(path: Path, out: Path | None = None) -> dict[str, Any]:
    """Set what is damaged aside, or leave it out of the copy `out`. Raises DataError for what is no demo store, and as `robot_pt.repair`."""
    if not (path / "zarr.json").exists():
        raise DataError(
            f"{path} is no demo store, which is what repair mends: it has no zarr.json. Of other data --skip-corrupt leaves out what is damaged."
        )
    store = DemoStore(path)
    with bar("check", "episode") as advance:
        if out is None:
            found = store_repair.in_place(store, progress=advance)
        else:
            found = store_repair.copied(store, out, progress=advance)
    if out is None and found.damaged and any((path / JOURNALS).glob("*.mcap")):
        say(f"A recorder that next starts on {path} makes an episode again where {path / JOURNALS} holds its journal.")
    return {
        "store": str(path if out is None else out),
        "sound": len(found.sound),
        "finished": found.finished,
        "damaged": found.damaged,
        **({"set_aside_in": str(path / QUARANTINE)} if out is None and found.damaged else {}),
    }
