"""Cells of benchmarks/ptr.py from pixels: packed here, trained elsewhere, handed back, and acted here."""

import json
import shutil
import sys
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from robot_pt import checkpoint
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.recipes import loop as pretrain_loop
from robot_pt.safe_files import read_json
from robot_pt.store import DemoStore
from robot_pt_sim.kitchen.splits import Split

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ptr
import ptr_data
import ptr_kept
import ptr_pack
import ptr_returned
from ptr_cell import LEARNED, METHODS, PIXELS, QUICK, Bench, Cell, Scale
from ptr_returned import Room

CARROT, CROISSANT = "kitchen/put-carrot-on-plate@5", "kitchen/put-croissant-on-plate@6"
TINY = Scale(data=1, pretraining=2, finetuning=2, checkpoints=2, episodes=2, encoder_updates=1)
FAST = ("bc", "ptr-level")


@pytest.fixture(scope="module")
def patched(backend):
    """Two pretraining tasks in one kitchen instead of thirty in four."""
    patch = pytest.MonkeyPatch()
    small = {"a": Split(("kitchen/put-carrot-on-plate@1", "kitchen/open-drawer@1"), (CARROT, CROISSANT))}
    patch.setattr(ptr_data, "SPLITS", small)
    patch.setattr(ptr_data, "DEMOS", 3)
    patch.setattr(ptr_data, "JUDGES", 1)
    for module in (ptr, ptr_pack):
        patch.setattr(module, "QUICK", TINY)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def packed(patched, tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("here") / "pixels.tgz"
    run_main(
        ["pack", "--quick", "--tasks", CROISSANT, "--methods", ",".join(FAST), "--seeds", "1"],
        ["--archive", str(archive), "--out", str(archive.parent / "ptr")],
    )
    return archive


@pytest.fixture(scope="module")
def returned(packed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What another machine hands back."""
    there = tmp_path_factory.mktemp("there")
    train(packed, there)
    return there / "back"


def run_main(*words: list[str]) -> None:
    ptr_pack.main([word for part in words for word in part])


def train(archive: Path, there: Path, **options) -> dict:
    """As the command, in a folder of its own."""
    return ptr_pack.train(archive, there / "ptr", there / "back", **{"minutes": 60, **options})


def act(monkeypatch, out: Path, back: Path, kept: Path) -> None:
    command = ["--quick", "--version", "pixels", "--out", str(out), "--returned", str(back), "--kept", str(kept)]
    monkeypatch.setattr(sys, "argv", ["ptr.py", *command])
    ptr.main()


def test_what_was_trained_elsewhere_acts_here(returned, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(ptr.ptr_table, "can_draw", lambda: False)
    monkeypatch.setattr(Bench, "_train", lambda *_: pytest.fail("nothing is trained here"))
    kept = tmp_path / "kept.json"
    act(monkeypatch, tmp_path / "ptr", returned, kept)
    said = capsys.readouterr().out
    assert "| | put-croissant-on-plate@6 | mean |" in said, "the targets of what came back"
    assert said.count("1 seed |") == len(FAST)
    cells = json.loads(kept.read_text())
    assert [(c["version"], c["method"], c["task"], c["episodes"]) for c in cells] == [
        ("pixels", method, CROISSANT, 2) for method in FAST
    ]
    assert cells[0]["critic"] is None
    assert 0 <= cells[1]["critic"]["at_grasp"] <= 1
    whole = read_json(tmp_path / f"ptr/quick/cells/pixels/ptr-level--{CROISSANT.split('/')[1]}--0.json")
    assert whole["settings"]["image_size"] == [64, 64]
    assert whole["settings"]["ptr"]["augment"] == {**whole["settings"]["bc"]["augment"]}
    assert whole["settings"]["ptr"]["augment"]["pad"] == 2
    assert whole["settings"]["ptr"]["augment"]["jitter_probability"] == 0.8
    assert [c["step"] for c in whole["checkpoints"]] == [3, 4]
    assert not (tmp_path / "ptr/data").exists(), "acting needs no recordings"
    act(monkeypatch, tmp_path / "ptr", returned, kept)
    assert json.loads(kept.read_text()) == cells, "a second time nothing changes"


def test_the_archive_holds_what_training_needs_and_no_more(packed, tmp_path) -> None:
    told = ptr_pack.unpack(packed, tmp_path)
    assert [Cell(*cell) for cell in told["cells"]] == [Cell(method, CROISSANT, 0) for method in FAST]
    episodes = sorted(str(path.parent.relative_to(tmp_path / "data/pixels")) for path in tmp_path.rglob("actions"))
    assert episodes == [
        "kitchen/open-drawer@1/000000", "kitchen/put-carrot-on-plate@1/000000",
        *(f"target-kitchen-put-croissant-on-plate@6/00000{i}" for i in range(4)),
    ]  # fmt: skip
    here, there = (ptr_data.pretraining(out, "pixels", 1) for out in (packed.parent / "ptr", tmp_path))
    assert list(there.spec.cameras) == ["primary"]
    steps = np.arange(len(there.actions))
    np.testing.assert_array_equal(there.images(steps, "primary"), here.images(steps, "primary"))
    np.testing.assert_array_equal(there.actions, here.actions)
    state = ptr_data.pretraining(tmp_path / "state", "state", 1)
    np.testing.assert_array_equal(there.actions, state.actions, err_msg="cameras change nothing")


def test_training_goes_on_and_hands_back_once(packed, returned, tmp_path, monkeypatch, capsys) -> None:
    found = train(packed, tmp_path, minutes=0)
    assert (found["learned"], found["stopped"], found["files"]) == (0, True, [])
    monkeypatch.chdir(tmp_path)
    run_main(["train", str(packed), "--out", "ptr", "--back", "back", "--files", "1"])
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (first["learned"], first["stopped"], first["files_left_to_hand_back"]) == (2, False, 1)
    assert first["files"] == ["pixels--bc--put-croissant-on-plate.6--0.1-of-1.tgz"]
    emptied(tmp_path / "back")
    second = train(packed, tmp_path)
    assert second["files"] == ["pixels--ptr-level--put-croissant-on-plate.6--0.1-of-1.tgz"]
    emptied(tmp_path / "back")
    assert train(packed, tmp_path)["files"] == [], "all were handed back"
    assert len(train(packed, tmp_path, again=True)["files"]) == 2
    cell = Cell("bc", CROISSANT, 0)
    runs = [Bench(out / "ptr/quick", out / "ptr", "pixels", TINY).run_of(cell) for out in (tmp_path, returned.parent)]
    one, other = (checkpoint.resolve(run) for run in runs)
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes(), "stopped or not"
    assert all(
        len(path.name) < 100 and set(path.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
        for path in returned.iterdir()
    )


def test_a_stop_in_the_middle_of_training_keeps_a_checkpoint(packed, tmp_path, monkeypatch) -> None:
    run = pretrain_loop.run

    def interrupted(*given, **options):
        ptr_pack.signal.setitimer(ptr_pack.signal.ITIMER_REAL, 0.5)  # now, and not after an hour
        return run(*given, **options)

    monkeypatch.setattr(pretrain_loop, "run", interrupted)
    monkeypatch.setattr(ptr_pack, "Scale", lambda **of: Scale(**{**of, "pretraining": 10**6}))
    found = train(packed, tmp_path)
    assert (found["learned"], found["stopped"]) == (0, True)
    steps = checkpoint.steps(tmp_path / "ptr/quick/runs/pixels/pretrained-bc-0")
    assert len(steps) == 1
    assert 0 < steps[0] < 10**6


def test_pieces_make_the_cell_again(returned, tmp_path) -> None:
    there = Bench(returned.parent / "ptr/quick", returned.parent / "ptr", "pixels", TINY)
    here = Bench(tmp_path, tmp_path, "pixels", TINY)
    cell = Cell("bc", CROISSANT, 0)
    piece = len(ptr_returned._packed(there.run_of(cell))) // 2 - 1
    room = Room(files=2)
    assert ptr_returned.hand_back(there, cell, tmp_path / "one", room, again=True, piece=piece) == 1
    assert ptr_returned.hand_back(there, cell, tmp_path / "one", room, piece=piece) == 1, "still full"
    assert ptr_returned.hand_back(there, cell, tmp_path / "two", room, piece=piece) == 0
    assert ptr_returned.take_in([tmp_path / "one", tmp_path / "two"], here) == [cell]
    assert read_json(here.run_of(cell) / LEARNED) == read_json(there.run_of(cell) / LEARNED)
    one, other = (checkpoint.resolve(bench.run_of(cell)) / "weights.safetensors" for bench in (here, there))
    assert one.read_bytes() == other.read_bytes()
    with pytest.raises(UserError, match=r"has a file of \d\.\d MB, for which there is no room"):
        ptr_returned.hand_back(there, cell, tmp_path / "small", Room(megabytes=0.1), again=True)
    with pytest.raises(DataError, match="lacks piece 3 of 3"):
        ptr_returned.take_in([tmp_path / "one"], here)


def test_what_cannot_be_taken_in_is_one_sentence(returned, tmp_path) -> None:
    def taken_in(back: Path, **changes) -> None:
        version, scale = changes.pop("version", "pixels"), replace(TINY, **changes)
        ptr_returned.take_in([back], Bench(tmp_path, tmp_path, version, scale))

    with pytest.raises(MismatchError, match=r"is of scale .* here it is"):
        taken_in(returned, pretraining=3)
    with pytest.raises(MismatchError, match="is of version pixels, here it is pixels-128"):
        taken_in(returned, version="pixels-128")
    damaged = tmp_path / "damaged"
    shutil.copytree(returned, damaged)
    file = next(iter(sorted(damaged.iterdir())))
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"is damaged \(.*\); bring it back again\.$"):
        taken_in(damaged)
    assert not [*(tmp_path / "runs").glob("[!.]*")], "nothing is left of any"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".returned.lock"]
    for nothing in (tmp_path / "absent.1-of-1.tgz", packed_name(tmp_path), tmp_path / "empty"):
        with pytest.raises(DataError, match=r"give the files NAME\.1-of-1.tgz"):
            taken_in(nothing)
    taken_in(returned, episodes=1)
    other = tmp_path / f"runs/pixels/bc--{CROISSANT.split('/')[1]}--0" / LEARNED
    other.write_text(other.read_text().replace('"seed": 0', '"seed": 0, "more": 1'))
    with pytest.raises(MismatchError, match="holds another run of bc"):
        taken_in(returned)


def emptied(back: Path) -> None:
    """As where only what a command wrote there comes back."""
    shutil.rmtree(back)


def test_updates_of_ones_own_are_a_scale_of_their_own(tmp_path) -> None:
    assert ptr.with_updates(TINY, "") == TINY
    scale = ptr.with_updates(TINY, "40,10")
    assert (scale.pretraining, scale.finetuning) == (40, 10)
    ptr.keep(tmp_path, TINY)
    with pytest.raises(MismatchError, match="pretraining = 2, now it is 40"):
        ptr.keep(tmp_path, scale)
    for wrong in ("40", "40,1", "1,40", "40,10,5", "40,x", ",40"):
        with pytest.raises(UserError, match="is not P,F: at least 2 of pretraining and 2 of finetuning"):
            ptr.with_updates(TINY, wrong)


def test_the_repositorys_cells_are_of_a_scale_of_their_own() -> None:
    path = Path(ptr.__file__).parent / "ptr_pixels_short.json"
    cells = ptr_kept.read(path, ptr.with_updates(QUICK, "4000,1000"))
    assert cells == ptr_kept.merged([], cells)
    assert {cell["version"] for cell in cells} == {"pixels"}
    with pytest.raises(MismatchError, match="make no table together"):
        ptr_kept.read(path, QUICK)


def packed_name(folder: Path) -> Path:
    (folder / "empty").mkdir(exist_ok=True)
    path = folder / "other.tgz"
    path.write_bytes(b"")
    return path


def test_archives_that_cannot_be_trained_on_are_one_sentence(packed, tmp_path, monkeypatch) -> None:
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut\.tgz is damaged .*; pack it again"):
        train(cut, tmp_path)
    with pytest.raises(UserError, match="was packed without cells of cog"):
        train(packed, tmp_path, methods=["bc", "cog"])
    with pytest.raises(DataError, match="there is no archive"):
        train(tmp_path / "none.tgz", tmp_path)
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as tar:
        tar.add(packed.parent / "ptr/data/pixels/target-kitchen-put-croissant-on-plate@6/zarr.json", "zarr.json")
    with pytest.raises(DataError, match="is no archive of this script's format 1"):
        train(tmp_path / "other.tgz", tmp_path)
    (tmp_path / "old").mkdir()
    ptr.keep(tmp_path / "old/ptr/quick", replace(TINY, pretraining=5))
    with pytest.raises(MismatchError, match="pretraining = 5, now it is 2"):
        train(packed, tmp_path / "old")
    monkeypatch.setattr(ptr_returned, "TWIN_VERSION", 1)
    with pytest.raises(MismatchError, match=r"pixels\.tgz is of twin \d+, here it is 1"):
        train(packed, tmp_path)


def test_an_archive_too_large_to_travel_is_refused(packed, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(ptr_pack, "MOST_BYTES", 1000)
    with pytest.raises(
        SystemExit, match=r"more than 0: .* are the robot data and .* 1 targets; leave targets out with --tasks"
    ):
        run_main(
            ["pack", "--quick", "--tasks", CROISSANT, "--archive", str(tmp_path / "a.tgz")],
            ["--out", str(packed.parent / "ptr")],
        )
    assert not list(tmp_path.iterdir())


def test_the_larger_version_is_a_resnet_with_the_published_crop(patched, tmp_path) -> None:
    bench = Bench(tmp_path, tmp_path, "pixels-128", TINY)
    source = ptr_data.pretraining(tmp_path, "pixels-128", 1)
    assert source.spec.cameras == {"primary": (128, 128)}
    settings = bench._settings(
        METHODS["ptr-level"], bench._robot_data(METHODS["ptr-level"], bench.look(METHODS["bc"])), 0
    )
    assert (settings.encoder.name, settings.image_size, settings.ptr.augment.pad) == ("resnet34", (128, 128), 4)
    assert set(ptr.methods_of("pixels-128")) == set(ptr.methods_of("aimed")), (
        "those that look through frozen features are none"
    )
    store = DemoStore(ptr_data.store_of(tmp_path, "pixels-128", "kitchen/open-drawer@1"))
    assert store._encoding == ("jpeg", PIXELS["pixels-128"].quality)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", list(PIXELS))
def test_every_method_goes_all_the_way(patched, tmp_path, monkeypatch, version) -> None:
    if version == "pixels-128":
        monkeypatch.setattr(ptr_data, "PIXELS", {version: PIXELS[version]._replace(size=32)})
    methods = ptr.rows_of(version) if version == "pixels" else ["bc"]
    archive, out = tmp_path / "a.tgz", tmp_path / "here"
    cells = list(ptr.cells_of(methods, [CARROT], 1))
    ptr_pack.pack(out, archive, version, TINY, cells)
    found = train(archive, tmp_path / "there")
    assert (found["learned"], found["files_left_to_hand_back"]) == (len(methods), 0)
    assert len(found["files"]) == len(methods) if version == "pixels" else len(found["files"]) > 1
    assert all(path.stat().st_size <= 15 << 20 for path in (tmp_path / "there/back").iterdir())
    bench = Bench(tmp_path / "acted", tmp_path / "acted", version, TINY)
    taken = ptr_returned.take_in([tmp_path / "there/back"], bench)
    assert set(taken) == set(cells)
    assert ptr.run(bench, iter(taken), most=99, minutes=60) == len(methods)
    assert asdict(TINY) == ptr.read_cells(tmp_path / "acted", version)[0]["scale"]
