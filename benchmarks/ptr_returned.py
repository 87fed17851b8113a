"""Cells of benchmarks/ptr.py that were trained on another machine: their policies and what selection saw travel back in small files.

A cell is one .tgz of its run: learned.json, selection.json, config.json and the selected checkpoint's policy. What is larger than a piece comes in
several, NAME.1-of-6.tgz and so on, which are the file cut up.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ptr_cell import LEARNED, METHODS, Bench, Cell, Scale
from ptr_data import TABLES

from robot_pt import checkpoint
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.recipes.turns import alone
from robot_pt.safe_files import read_json, replace_json
from robot_pt.selection import FILE as SELECTION
from robot_pt_sim.kitchen.twin import TWIN_VERSION

PACKED, HANDED = "back.tgz", "handed.json"
POLICY = ("policy.json", "weights.safetensors")
PIECE_BYTES = 15 << 20
_PIECE = re.compile(r"(?P<name>.+)\.(?P<number>[0-9]+)-of-(?P<count>[0-9]+)\.tgz")


@contextmanager
def sound(name: str, advice: str) -> Iterator[None]:
    """Raise DataError, ending in `advice`, where the archive called `name` turns out damaged."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{name} is damaged ({error}); {advice}.") from None


def require_same(
    found: Mapping[str, Any], name: str, scale: Scale | None = None, *, version: str | None = None
) -> None:
    """Raise MismatchError where what `name` says of itself is of another version, twin or scale; how many starts are acted from is free."""
    wanted: dict[str, Any] = {"twin": TWIN_VERSION}
    if version is not None:
        wanted["version"] = version
    if scale is not None:
        wanted["scale"] = {**asdict(scale), "episodes": (found.get("scale") or {}).get("episodes")}
    for what, value in wanted.items():
        if found.get(what) != value:
            raise MismatchError(
                f"{name} is of {what} {found.get(what)}, here it is {value}; numbers of both make no table together."
            )


class Room(NamedTuple):
    """What may come back from one command."""

    files: int = 10**6
    megabytes: float = 1e9

    def left(self, folder: Path, size: int) -> bool:
        """Whether a file of so many bytes may be added to `folder`."""
        there = [path.stat().st_size for path in folder.glob("*")]
        return len(there) < self.files and sum(there) + size <= 1e6 * self.megabytes


def hand_back(
    bench: Bench, cell: Cell, folder: Path, room: Room, *, again: bool = False, piece: int = PIECE_BYTES
) -> int:
    """Write a learned cell's pieces into `folder`, as far as there is room, each once unless `again`; returns how many are left to be written.

    Raises UserError where a piece has no room in an empty folder.
    """
    whole, mark = _packed(bench.run_of(cell)), bench.run_of(cell) / HANDED
    handed = set(read_json(mark)["pieces"]) if mark.is_file() and not again else set()
    count = -(-len(whole) // piece)
    name = re.sub("[^A-Za-z0-9_-]", ".", f"{bench.version}--{cell.name}")
    folder.mkdir(parents=True, exist_ok=True)
    for number in sorted({*range(1, count + 1)} - handed):
        part = whole[(number - 1) * piece : number * piece]
        if not room.left(folder, len(part)):
            if not any(folder.iterdir()):
                raise UserError(
                    f"{cell.name} has a file of {len(part) / 1e6:.1f} MB, for which there is no room; raise --files or --megabytes."
                )
            break
        (folder / f"{name}.{number}-of-{count}.tgz").write_bytes(part)
        handed.add(number)
    replace_json(mark, {"pieces": sorted(handed)})
    return count - len(handed)


def _packed(run: Path) -> bytes:
    """The .tgz of a learned cell; made once, as pieces that are written by several commands are of one file."""
    path = run / PACKED
    if not path.is_file():
        policy, part = checkpoint.folder_of(run, read_json(run / LEARNED)["selected"]), run / f".{PACKED}.part"
        with tarfile.open(part, mode="w:gz", compresslevel=1) as tar:
            for file in (
                *(run / name for name in (LEARNED, "config.json", SELECTION)),
                *(policy / name for name in POLICY),
            ):
                tar.add(file, file.relative_to(run).as_posix())
        part.replace(path)
    return path.read_bytes()


def take_in(paths: Sequence[Path], bench: Bench) -> list[Cell]:
    """Put what `hand_back` wrote elsewhere where `bench` finds it as learned, each cell whole or not at all; folders stand for their .tgz files.

    Raises DataError where pieces are missing or damaged, MismatchError where a cell is of another version, twin or scale, or another run of it
    is there.
    """
    returned, found = bench.out / "runs/returned", _grouped(paths)
    part = returned.with_name(".returned.part")
    with alone(returned, "what was trained elsewhere ready"):
        return [_unpacked(pieces, part, name, bench) for name, pieces in found.items()]


def _unpacked(pieces: Sequence[Path], part: Path, name: str, bench: Bench) -> Cell:
    """The cell in the pieces, by way of the folder `part`, which does not stay."""
    shutil.rmtree(part, ignore_errors=True)
    try:
        with sound(name, "bring it back again"):
            whole = b"".join(piece.read_bytes() for piece in pieces)
            with tarfile.open(fileobj=io.BytesIO(whole), mode="r:gz") as tar:
                tar.extractall(part, filter="data")
        return _placed(part, name, bench)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _grouped(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Name of a cell -> its pieces in order."""
    files = [file for path in paths for file in (sorted(path.glob("*.tgz")) if path.is_dir() else [path])]
    found: dict[str, dict[int, Path]] = {}
    counts: dict[str, int] = {}
    for file in files:
        told = _PIECE.fullmatch(file.name)
        if told is None or not file.is_file():
            raise DataError(
                f"{file} is no piece of a cell; give the files NAME.1-of-1.tgz that the training wrote, or their folder."
            )
        found.setdefault(told["name"], {})[int(told["number"])] = file
        counts[told["name"]] = int(told["count"])
    if not found:
        raise DataError(
            f"{', '.join(map(str, paths))} holds no cells; give the files NAME.1-of-1.tgz that the training wrote, or their folder."
        )
    for name, pieces in found.items():
        if lacking := [n for n in range(1, counts[name] + 1) if n not in pieces]:
            raise DataError(f"{name} lacks piece {lacking[0]} of {counts[name]}; bring that back too.")
    return {name: [pieces[n] for n in sorted(pieces)] for name, pieces in found.items()}


def _placed(part: Path, name: str, bench: Bench) -> Cell:
    """The cell in `part`, moved to where `bench` has its run."""
    learned = read_json(part / LEARNED)
    require_same(learned, name, bench.scale, version=bench.version)
    cell = Cell(*(learned.get(what) for what in Cell._fields))
    known = cell.method in METHODS and any(cell.task in of for of in TABLES.values()) and isinstance(cell.seed, int)
    if not known or checkpoint.steps(part) != [learned.get("selected")]:
        raise DataError(f"{name} is of no cell that there is; bring it back again.")
    run = bench.run_of(cell)
    if run.exists():
        if not (run / LEARNED).is_file() or read_json(run / LEARNED) != json.loads(json.dumps(learned)):
            raise MismatchError(f"{run} holds another run of {cell.name}; choose another --out, or remove that one.")
        return cell
    run.parent.mkdir(parents=True, exist_ok=True)
    part.rename(run)
    return cell
