"""Further arrangements of the pretraining kitchens: frames with the place of everything that lies there, for an encoder; of benchmarks/ptr_sight.py.

600 episodes show 600 arrangements, and nine steps of ten with the hand at the thing, where its place is the hand's. Here every placing task of
every pretraining kitchen is laid out anew: a frame at the start and one after some steps anywhere, without demonstrations. Over the shoulder the
camera stands elsewhere every time, as a new kitchen has its own.

Shapes: N frames, K kinds of things, C cameras.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import ptr_data

from robot_pt.errors import MismatchError
from robot_pt.robots.model import import_mujoco
from robot_pt.schema import Float, Image
from robot_pt_sim.kitchen.fixtures import HANDLE
from robot_pt_sim.kitchen.layouts import find_layout
from robot_pt_sim.kitchen.model import SINK_FLOOR_M, STOVE_M
from robot_pt_sim.kitchen.splits import SPLITS
from robot_pt_sim.kitchen.tasks import TASKS, KitchenTask, find_kitchen
from robot_pt_sim.kitchen.things import THINGS
from robot_pt_sim.kitchen.twin import TWIN_VERSION, KitchenSimulator

EACH, FIRST_SEED = 100, 50_000
"""Arrangements of every task in every kitchen."""
FRAMES = 2
"""Of every arrangement."""
LOW, HIGH, TURN = (-0.05, -0.05, -0.04), (0.05, 0.05, 0.0), 0.25
"""Of the steps away from the start [m], [rad]: one order, given one to three times."""
STANDS_LOW, STANDS_HIGH, LOOKS_AT, BESIDE_M = (-0.10, 0.20, 0.44), (0.0, 0.40, 0.54), (0.29, 0.04, 0.0), 0.02
"""Where the camera over one shoulder or the other stands [m], what it looks at, and how far beside that [m]."""


def kinds_of(task: KitchenTask) -> tuple[str, str]:
    """What is moved, and where to. Of a fixture the handle as it is, and as it is to be."""
    if task.fixture:
        return f"{task.fixture} handle", task.name
    return task.thing, task.place


KINDS = tuple(sorted({kind for task in TASKS.values() for kind in kinds_of(task)} | set(THINGS)))


class Shots(NamedTuple):
    """Frames, and where what is."""

    images: dict[str, Image]  # camera -> (N, H, W, 3)
    proprio_NP: Float
    place_NK4: Float
    """x, y, z [m] and yaw [rad] in the base frame; NaN where there is no such thing."""
    pixel_NCK2: Float
    """Across and down its frame in [-1, 1]; NaN where it is not in it or unknown."""
    task: Sequence[str]
    """Without its scene."""
    scene: Sequence[int]
    """Which kitchen; 0 where nobody said."""


def arrangements(folder: Path) -> Shots:
    """Those of all placing tasks of the pretraining kitchens, made where not in `folder`. Raises MismatchError where it holds others."""
    names = sorted({task for split in SPLITS.values() for task in split.pretraining if "kitchen/put-" in task})
    wanted = {
        "twin": TWIN_VERSION, "tasks": names, "each": EACH, "frames": FRAMES, "first_seed": FIRST_SEED, "image_size": ptr_data.IMAGE_SIZE,
        "cameras": list(ptr_data.CAMERAS),
    }  # fmt: skip
    if not (folder / "arrangements.npz").is_file():
        made = [shots(name, FIRST_SEED + EACH * number, EACH, moved=True) for number, name in enumerate(names)]
        _write(folder, joined(made), wanted)
    found = np.load(folder / "arrangements.npz")
    before = json.loads(str(found["made"])) if "made" in found else {}
    differing = next((name for name in wanted if before.get(name) != wanted[name]), None)
    if differing is not None:
        raise MismatchError(
            f"{folder} holds arrangements with {differing} = {before.get(differing)}, now it is {wanted[differing]}; an encoder is taught by one "
            "kind, so choose another folder, or remove this one's arrangements.npz to have them made anew."
        )
    images = {camera: np.load(folder / f"arrangements-{camera}.npy", mmap_mode="r") for camera in ptr_data.CAMERAS}
    tasks, scenes = [str(task) for task in found["task"]], found["scene"].tolist()
    return Shots(images, found["proprio"], found["place"], found["pixel"], tasks, scenes)


def joined(parts: Sequence[Shots]) -> Shots:
    """One after the other."""
    images = {camera: np.concatenate([part.images[camera] for part in parts]) for camera in parts[0].images}
    proprio, place, pixel = (np.concatenate([part[column] for part in parts]) for column in (1, 2, 3))
    tasks, scenes = [task for part in parts for task in part.task], [scene for part in parts for scene in part.scene]
    return Shots(images, proprio, place, pixel, tasks, scenes)


def shots(name: str, first_seed: int, count: int, *, moved: bool) -> Shots:
    """So many starts of a task in a kitchen, as `kitchen/put-carrot-on-plate@1`, a frame each; `moved`: a second frame after some steps, and the
    camera over the shoulder somewhere else at each start."""
    task, size = find_kitchen(name), (ptr_data.IMAGE_SIZE, ptr_data.IMAGE_SIZE)
    simulator = KitchenSimulator(task, cameras=ptr_data.CAMERAS, image_size=size)
    inside = _Inside.of(simulator)
    if moved:
        simulator._look = _Anywhere(simulator._look, inside)  # type: ignore[assignment]
    rng, rows = np.random.default_rng(first_seed), []
    for seed in range(first_seed, first_seed + count):
        now = simulator.reset(seed)
        rows.append((now.images, now.proprio, *inside.where(simulator)))
        if moved:
            order, turn = rng.uniform(LOW, HIGH), rng.uniform(-TURN, TURN)
            for _ in range(rng.integers(1, 4)):
                now = simulator.step(np.array([*order, 0.0, 0.0, turn, 1.0], np.float32)).observation
            rows.append((now.images, now.proprio, *inside.where(simulator)))
    simulator.close()
    images = {camera: np.stack([row[0][camera] for row in rows]) for camera in ptr_data.CAMERAS}
    proprio, place, pixel = (np.stack([row[column] for row in rows]).astype(np.float32) for column in (1, 2, 3))
    return Shots(images, proprio, place, pixel, [task.name] * len(rows), [task.scene] * len(rows))


@dataclass(frozen=True)
class _Inside:
    """A simulator's cameras, which nobody but who teaches an encoder is to know."""

    model: Any
    data: Any
    cameras: tuple[int, ...]

    @classmethod
    def of(cls, simulator: KitchenSimulator) -> _Inside:
        model = simulator._model
        return cls(model, simulator._data, tuple(int(model.camera(camera).id) for camera in ptr_data.CAMERAS))

    def where(self, simulator: KitchenSimulator) -> tuple[Float, Float]:
        """(K, 4) and (C, K, 2) as `Shots` has them."""
        place, objects = np.full((len(KINDS), 4), np.nan, np.float32), simulator.state().objects
        for name, pose in objects.items():
            kind = kinds_of(simulator.definition)[0] if name == HANDLE else name
            turned = pose.rotation
            place[KINDS.index(kind)] = *pose.position, np.arctan2(turned[1, 0], turned[0, 0])
        layout = find_layout(simulator.definition.scene)
        for kind, box, height in (("sink", layout.sink, SINK_FLOOR_M), ("stove", layout.stove, STOVE_M)):
            place[KINDS.index(kind)] = *box.centre, height, 0.0
        return place, np.stack([self._pixels(camera, place[:, :3]) for camera in self.cameras])

    def _pixels(self, camera: int, place_K3: Float) -> Float:
        """(K, 2) in a pinhole camera that looks along its -z; NaN behind it and beside its frame, which is square."""
        right, up, back = ((place_K3 - self.data.cam_xpos[camera]) @ self.data.cam_xmat[camera].reshape(3, 3)).T
        half = np.tan(np.deg2rad(self.model.cam_fovy[camera]) / 2)
        with np.errstate(invalid="ignore"):
            found = np.stack([right / (-back * half), up / (back * half)], axis=1)
            found[~((back < 0) & (np.abs(found).max(axis=1) < 1))] = np.nan
        out: Float = found.astype(np.float32)
        return out


@final
class _Anywhere:
    """A kitchen's looks, with the camera over the shoulder somewhere else."""

    def __init__(self, look: Any, inside: _Inside):
        self._look, self._model, self._camera = look, inside.model, inside.cameras[0]

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """As `robot_pt_sim.kitchen.look.Look.draw`."""
        found: dict[str, Any] = self._look.draw(rng)
        stands = rng.uniform(STANDS_LOW, STANDS_HIGH) * (1, rng.choice((-1, 1)), 1)
        back = stands - (np.array(LOOKS_AT) + rng.uniform(-BESIDE_M, BESIDE_M, 3))
        back /= np.linalg.norm(back)
        right = np.cross((0.0, 0.0, 1.0), back)
        right /= np.linalg.norm(right)
        axes, quaternion = np.stack([right, np.cross(back, right), back], axis=1), np.zeros(4)
        import_mujoco().mju_mat2Quat(quaternion, axes.flatten())
        self._model.cam_pos[self._camera], self._model.cam_quat[self._camera] = stands, quaternion
        return found


def _write(folder: Path, made: Shots, how: Mapping[str, Any]) -> None:
    """The file that says they are there, and how they were made, last, and whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for camera, frames in made.images.items():
        np.save(folder / f"arrangements-{camera}.npy", frames)
    columns = {"proprio": made.proprio_NP, "place": made.place_NK4, "pixel": made.pixel_NCK2}
    written = folder / "arrangements.part.npz"
    np.savez(written, **columns, task=np.array(made.task), scene=np.array(made.scene), made=json.dumps(how))
    written.replace(folder / "arrangements.npz")
