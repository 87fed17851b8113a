"""benchmarks/ptr_sight.py and ptr_arrangements.py: frames show what is told of them, a detector learns it, and acts on what it was trained on."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt.augment import AugmentConfig
from robot_pt.errors import MismatchError
from robot_pt.schema import Observation
from robot_pt.store import DemoStore
from robot_pt_sim import collect
from robot_pt_sim.kitchen.splits import Split

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ptr_arrangements
import ptr_data
import ptr_look
import ptr_sight

CARROT = "kitchen/put-carrot-on-plate@1"
KIND = ptr_arrangements.KINDS.index("carrot")


@pytest.fixture(scope="module")
def shots():
    return ptr_arrangements.shots(CARROT, 50_000, 4, moved=True)


def test_where_a_carrot_is_told_the_frame_is_orange(shots) -> None:
    looked_at = 0
    for number, camera in enumerate(ptr_data.CAMERAS):
        for frame, at in zip(shots.images[camera], shots.pixel_NCK2[:, number, KIND], strict=True):
            if np.isfinite(at).all():
                column, row = ((at + 1) / 2 * ptr_data.IMAGE_SIZE).astype(int)
                around = frame[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3].astype(int)
                looked_at += 1
                assert (around[..., 0] - around[..., 2]).max() > 60
    assert looked_at >= 8
    assert np.isnan(shots.place_NK4[:, ptr_arrangements.KINDS.index("banana")]).all(), (
        "nothing is told of what is not there"
    )


def test_a_frame_after_some_steps_and_a_camera_elsewhere(shots) -> None:
    assert np.linalg.norm(shots.proprio_NP[1, :3] - shots.proprio_NP[0, :3]) > 0.005, "the hand went somewhere"
    sink = shots.pixel_NCK2[::2, 0, ptr_arrangements.KINDS.index("sink")]
    assert np.nanstd(sink, axis=0).max() > 0.05, "the sink stays, so the camera moved"


def test_arrangements_are_made_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ptr_arrangements, "SPLITS", {"a": Split((CARROT, "kitchen/open-door@1"), ())})
    monkeypatch.setattr(ptr_arrangements, "EACH", 2)
    found = ptr_arrangements.arrangements(tmp_path)
    assert found.task == ["kitchen/put-carrot-on-plate"] * 4, "doors have no arrangements"
    before = (tmp_path / "arrangements.npz").stat().st_mtime_ns
    again = ptr_arrangements.arrangements(tmp_path)
    np.testing.assert_array_equal(again.place_NK4, found.place_NK4)
    np.testing.assert_array_equal(again.images["wrist"], found.images["wrist"])
    assert (tmp_path / "arrangements.npz").stat().st_mtime_ns == before
    for name, value, words in (
        ("EACH", 3, "each = 2, now it is 3"),
        ("FIRST_SEED", 7, "first_seed = 50000, now it is 7"),
        ("TWIN_VERSION", 0, rf"twin = {ptr_arrangements.TWIN_VERSION}, now it is 0"),
    ):
        with monkeypatch.context() as other:
            other.setattr(ptr_arrangements, name, value)
            with pytest.raises(MismatchError, match=words):
                ptr_arrangements.arrangements(tmp_path)
    monkeypatch.setattr(ptr_data, "CAMERAS", ("primary",))
    with pytest.raises(MismatchError, match=r"cameras = \['primary', 'wrist'\], now it is \['primary'\]"):
        ptr_arrangements.arrangements(tmp_path)


def test_places_are_told_from_where_the_hand_is_and_turned() -> None:
    arm = np.array([[0.2, 0.1, 0.0, 0.0, 0.0, np.pi / 2, 1.0]], np.float32)
    place = np.array([[0.2, 0.15, 0.01, np.pi]], np.float32)
    told = dict(zip(ptr_sight.TOLD, ptr_sight.from_hand(place, arm)[0], strict=True))
    assert (told["ahead"], told["aside"]) == pytest.approx((0.05 / ptr_sight.UNIT_M, 0.0), abs=1e-6)
    assert (told["turn_cos"], told["turn_sin"]) == pytest.approx((-1.0, 0.0), abs=1e-6), "a quarter turn, twice"
    np.testing.assert_allclose(ptr_sight.in_base(ptr_sight.from_hand(place, arm), arm), place[:, :2], atol=1e-6)


def test_robot_data_tell_of_thing_and_goal_what_the_simulator_does(tmp_path) -> None:
    from robot_pt_sim.simulators import spec_of

    sources = []
    for name, cameras in (("frames", ptr_data.CAMERAS), ("state", ())):
        store = DemoStore.create(tmp_path / name, spec_of(CARROT, cameras, (96, 96)))
        collect(CARROT, 1, store, workers=1, camera=cameras, image_size=(96, 96), seed=3)
        sources.append(store.source())
    robot, start = ptr_sight.robot_data(*sources), ptr_arrangements.shots(CARROT, 3, 1, moved=False)
    plate = ptr_arrangements.KINDS.index("plate")
    assert (len(robot.task), robot.task[0]) == (len(sources[0].actions), "kitchen/put-carrot-on-plate")
    assert np.isfinite(robot.place_NK4[..., 0]).nonzero()[1].tolist() == sorted((KIND, plate)) * len(robot.task)
    np.testing.assert_allclose(robot.place_NK4[0, KIND], start.place_NK4[0, KIND], atol=1e-5)
    np.testing.assert_allclose(robot.place_NK4[0, plate, :3], start.place_NK4[0, plate, :3], atol=1e-5)
    np.testing.assert_allclose(robot.proprio_NP[0], start.proprio_NP[0], atol=1e-5)
    assert np.isnan(robot.place_NK4[:, plate, 3]).all(), "a goal's yaw is not recorded"
    assert np.isnan(robot.pixel_NCK2).all()


def test_frames_whose_pixels_nobody_knows_teach_nothing_about_pixels(shots) -> None:
    generator, (count, _, kinds, _) = torch.Generator().manual_seed(0), shots.pixel_NCK2.shape
    heat = torch.randn(2 * count, kinds, ptr_sight.GRID**2, generator=generator)
    there, nothing = torch.randn(2 * count, kinds, generator=generator), torch.zeros(0)

    def losses(frames: slice, pixel: np.ndarray) -> list[float]:
        row, kind = np.nonzero(np.isfinite(np.concatenate([shots.place_NK4] * 2)[frames, :, 0]))
        seen = ptr_sight.Seen(nothing, heat[frames], there[frames], nothing, nothing)
        return [loss.item() for loss in ptr_sight._pixels(seen, pixel, row, kind)]

    known = shots.pixel_NCK2[:, 0]
    alone = losses(slice(count), known)
    assert losses(slice(2 * count), np.concatenate([known, np.full_like(known, np.nan)])) == pytest.approx(alone)
    assert losses(slice(2 * count), np.concatenate([known, known])) != pytest.approx(alone), "were they known"


def test_features_of_other_crops_are_not_read_for_these(tmp_path) -> None:
    from robot_pt_sim.simulators import spec_of

    store = DemoStore.create(tmp_path / "demos", spec_of(CARROT, ptr_data.CAMERAS, (96, 96)))
    collect(CARROT, 1, store, workers=1, camera=ptr_data.CAMERAS, image_size=(96, 96))
    detector, source = ptr_sight.Detector().eval(), store.source()
    one, other = (ptr_sight.features(detector, source, tmp_path, 1, AugmentConfig(pad=pad)) for pad in (1, 6))
    assert np.abs(one - other).max() > 1e-3
    again = ptr_sight.features(detector, source, tmp_path, 0, AugmentConfig(pad=1))
    np.testing.assert_array_equal(again, ptr_sight.features(detector, source, tmp_path, 0, AugmentConfig(pad=6)))
    assert len(list(tmp_path.glob("sight-*.npy"))) == 3, "frames as they are are of no crop"


def test_a_detector_learns_where_the_thing_of_the_task_is(shots, monkeypatch) -> None:
    monkeypatch.setattr(ptr_sight, "BATCH", 6)
    monkeypatch.setattr(ptr_sight, "OF_ROBOT", 1)
    errors = []
    for steps in (1, 30):
        detector = ptr_sight.taught(shots, shots, steps, 0)
        read = ptr_sight.read_off(detector, shots.images, shots.proprio_NP, shots.task)
        assert read.shape == (len(shots.task), 2 * ptr_sight.ONE)
        said = read[:, len(ptr_sight.TOLD) :][:, :2] * ptr_sight.UNIT_M
        errors.append(np.median(np.linalg.norm(said - shots.place_NK4[:, KIND, :2], axis=1)))
    assert errors[1] < 0.02 < errors[0]


def test_a_policy_sees_what_it_was_trained_on(tmp_path) -> None:
    from robot_pt_sim.simulators import spec_of

    store = DemoStore.create(tmp_path / "demos", spec_of(CARROT, ptr_data.CAMERAS, (96, 96)))
    collect(CARROT, 1, store, workers=1, camera=ptr_data.CAMERAS, image_size=(96, 96))
    source, path = store.source(), tmp_path / "sight.pt"
    ptr_sight.save(ptr_sight.Detector().eval(), path)
    through = ptr_look.Sight(path).through(source, tmp_path, views=2)
    rows = np.arange(len(source.actions))
    assert through.proprio.shape == (2 * len(rows), 7 + 2 * ptr_sight.ONE)
    assert through.spec.cameras == {}
    eyes = ptr_look.Sight(path).eyes()
    frames = {camera: source.images(rows, camera, (96, 96)) for camera in ptr_data.CAMERAS}
    for row in rows[::7]:
        shown = Observation({camera: seen[row] for camera, seen in frames.items()}, source.proprio[row])
        np.testing.assert_allclose(
            eyes.seen(shown, "kitchen/put-carrot-on-plate").proprio, through.proprio[row], atol=0.02
        )
    assert np.abs(through.proprio[len(rows) :] - through.proprio[: len(rows)]).max() > 1e-3, "views differ"
