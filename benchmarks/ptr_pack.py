"""Training cells of benchmarks/ptr.py from pixels on another machine, with a GPU: an archive there, small files back, acting here on the CPU.

    python benchmarks/ptr_pack.py pack --quick --version pixels --tasks A,B    here: what training needs, one archive below 60 MB
    python benchmarks/ptr_pack.py train pixels.tgz --back BACK --minutes 9     there, as often as needed: goes on where it was
    python benchmarks/ptr.py --quick --version pixels --returned BACK --kept benchmarks/ptr_pixels.json    here: acts, and makes the table

The archive holds the recordings as demo stores and which cells are to be trained. Training takes the GPU where there is one, else the CPU, needs the
checkout and what `pip install -e .` brings, and no MuJoCo. Of every finished cell BACK gets the selected policy and what the selection rule saw, in
files of at most 15 MiB; where no more than some files may come back from a command, `--files 8 --megabytes 60`
leaves the others to the next.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ptr
import ptr_critic
import ptr_data
import ptr_returned
from ptr_cell import LEARNED, QUICK, Bench, Cell, Scale

from robot_pt.errors import DataError, TrainingInterrupted, UserError
from robot_pt.safe_files import file_sha256, read_json, replace_json
from robot_pt.store import DemoStore
from robot_pt_sim.kitchen.twin import TWIN_VERSION

FORMAT = 1
MOST_BYTES = 60_000_000
PACK = "pack.json"
ROOM = ptr_returned.Room()


def pack(out: Path, archive: Path, version: str, scale: Scale, cells: Sequence[Cell], *, quick: bool = False) -> int:
    """Write what training `cells` needs into `archive`, recorded where it is not there; returns its bytes. Raises UserError where they are more
    than travel."""
    tasks = sorted({cell.task for cell in cells})
    ptr_data.pretraining(out, version, scale.data)
    for task in tasks:
        ptr_data.target(out, version, task, 0)
    robot = [ptr_data.store_of(out, version, task) for task in ptr_data.pretraining_tasks()]
    targets = [ptr_data.store_of(out, version, task, target=True) for task in tasks]
    wanted = {
        "format": FORMAT, "version": version, "quick": quick, "scale": asdict(scale), "twin": TWIN_VERSION, "commit": ptr_critic.commit(), "cells": cells,
    }  # fmt: skip
    part = archive.with_name(f".{archive.name}.part")
    archive.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(part, "w:gz") as tar:
            _add_text(tar, PACK, json.dumps(wanted))
            for store in robot:
                _add_store(tar, store, out, scale.data)
            of_robot = part.stat().st_size
            for store in targets:
                _add_store(tar, store, out)
        size = part.stat().st_size
        if size > MOST_BYTES:
            raise UserError(
                f"{archive} would be {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}: {of_robot / 1e6:.1f} are the robot data and "
                f"{(size - of_robot) / 1e6:.1f} {len(tasks)} targets; leave targets out with --tasks, or take --version pixels."
            )
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)
    return size


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(text.encode())
    tar.addfile(info, io.BytesIO(text.encode()))


def _add_store(tar: tarfile.TarFile, store: Path, out: Path, episodes: int | None = None) -> None:
    for name in ("zarr.json", *DemoStore(store).episodes[:episodes]):
        tar.add(store / name, (store / name).relative_to(out).as_posix())


def unpack(archive: Path, out: Path) -> dict[str, Any]:
    """What `archive` says it is, its recordings in `out` from where `ptr_data` reads them; a second time that is all there.

    Raises DataError where it is damaged or no such archive, MismatchError where it was packed with another twin.
    """
    if not archive.is_file():
        raise DataError(f"there is no archive {archive}; write it with: python benchmarks/ptr_pack.py pack.")
    again = "pack it again, or copy it again if it was whole"
    with ptr_returned.sound(str(archive), again), tarfile.open(archive, "r:gz") as tar:
        first = tar.next()
        text = tar.extractfile(first) if first is not None and first.name == PACK else None
        told = json.load(text) if text is not None else {}
        if told.get("format") != FORMAT or set(told["scale"]) != set(asdict(QUICK)):
            raise DataError(f"{archive} is no archive of this script's format {FORMAT}; pack it with this checkout.")
        ptr_returned.require_same(told, str(archive))
        marker, digest = out / "data" / f".{told['version']}.json", {"sha256": file_sha256(archive)}
        if not marker.is_file() or read_json(marker) != digest:
            tar.extractall(out, members=(member for member in tar if member.name != PACK), filter="data")
            replace_json(marker, digest)
    return told


def train(
    archive: Path, out: Path, back: Path, *, minutes: float, methods: Sequence[str] = (), room: ptr_returned.Room = ROOM, again: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Train the archive's cells, or those of `methods`, as far as the time goes; hand back what is learned and was not handed back before."""
    ends = time.monotonic() + 60 * minutes
    told = unpack(archive, out)
    bench = _bench(told, out)
    cells = [cell for cell in map(Cell._make, told["cells"]) if not methods or cell.method in methods]
    if unknown := set(methods) - {cell.method for cell in cells}:
        raise UserError(f"{archive} was packed without cells of {min(unknown)}; pack it with --methods that name it.")
    ptr.keep(bench.out, bench.scale)
    with stopping_after(ends - time.monotonic()) as stopped:
        for cell in cells:
            if not (bench.run_of(cell) / LEARNED).is_file():
                with bench.alone(cell):
                    found = bench.learned(cell)
                print(f"{cell.name}: learned, update {found['selected']} selected; {found['seconds']}", flush=True)
    learned = [cell for cell in cells if (bench.run_of(cell) / LEARNED).is_file()]
    left = {cell.name: ptr_returned.hand_back(bench, cell, back, room, again=again) for cell in learned}
    return {
        "cells": len(cells), "learned": len(learned), "files_left_to_hand_back": sum(left.values()), "stopped": bool(stopped),
        "back": str(back), "files": sorted(path.name for path in back.glob("*")),
    }  # fmt: skip


def _bench(told: Mapping[str, Any], out: Path) -> Bench:
    """Where ptr.py would have the same cells."""
    bench = Bench(out / "quick" if told["quick"] else out, out, told["version"], Scale(**told["scale"]))
    if bench.commit == "unknown":  # a copy without its .git
        bench.commit = f"{told['commit']} (packed)"
    return bench


@contextmanager
def stopping_after(seconds: float) -> Iterator[list[bool]]:
    """Ask what runs to stop after so long, as Ctrl-C would: training keeps a checkpoint first. What is yielded then holds one entry."""
    stopped: list[bool] = []

    def ask(*_: object) -> None:
        stopped.append(True)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, ask)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield stopped
    except (TrainingInterrupted, KeyboardInterrupt):
        if not stopped:
            raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    here = verbs.add_parser("pack", help="here: write the archive")
    here.add_argument("--quick", action="store_true", help="fewer updates, as of ptr.py")
    here.add_argument("--version", choices=list(ptr_data.PIXELS), default="pixels")
    here.add_argument("--methods", default="", help="comma-separated; default all that make sense")
    here.add_argument("--tasks", default=",".join(ptr.QUICK_TASKS), help="targets, or A or B for all of a table")
    here.add_argument("--seeds", type=int, default=3)
    here.add_argument("--updates", default="", help=ptr.UPDATES)
    here.add_argument("--archive", type=Path, help="default VERSION.tgz")
    there = verbs.add_parser("train", help="there: train, and hand back what is learned")
    there.add_argument("archive", type=Path)
    there.add_argument("--back", type=Path, required=True, help="folder for the files that are to come back")
    there.add_argument("--methods", default="", help="comma-separated, of the archive's; default all")
    there.add_argument("--minutes", type=float, default=9.0, help="stop after so long; the same command goes on")
    there.add_argument("--files", type=int, default=ROOM.files, help="most files in --back")
    there.add_argument("--megabytes", type=float, default=ROOM.megabytes, help="most in --back")
    there.add_argument("--again", action="store_true", help="hand back what was handed back before, too")
    for one in (here, there):
        one.add_argument("--out", type=Path, default=ptr.RESULTS)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    options = arguments(words)
    try:
        if options.verb == "train":
            result = train(
                options.archive,
                options.out,
                options.back,
                minutes=options.minutes,
                methods=options.methods.split(",") if options.methods else (),
                room=ptr_returned.Room(options.files, options.megabytes),
                again=options.again,
            )
        else:
            targets = [task for tasks in ptr_data.TABLES.values() for task in tasks]
            methods = ptr.chosen(
                options.methods, ptr.methods_of(options.version), ptr.rows_of(options.version), "method"
            )
            tasks = ptr.chosen(ptr.spelt_out(options.tasks), targets, targets, "target")
            cells = list(ptr.cells_of(methods, tasks, options.seeds))
            archive, scale = options.archive or Path(f"{options.version}.tgz"), QUICK if options.quick else Scale()
            scale = ptr.with_updates(scale, options.updates)
            size = pack(options.out, archive, options.version, scale, cells, quick=options.quick)
            result = {"archive": str(archive), "megabytes": round(size / 1e6, 2), "cells": len(cells)}
    except UserError as error:
        raise SystemExit(str(error)) from None
    print(json.dumps(result))


if __name__ == "__main__":
    main()
