"""Further arrangements of the pretraining kitchens as frames with places, for an encoder; of benchmarks/ptr_look.py.

600 episodes show 600 arrangements, and nine steps of ten with the hand at the thing, where its place is the hand's. Here every placing task of
every pretraining kitchen is laid out anew `EACH` times: a frame at the start and one after some steps anywhere, without demonstrations.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
import ptr_data
import ptr_told

from robot_pt.images import resize
from robot_pt.schema import UNKNOWN, EpisodeTable, Float, Image, Int, Spec
from robot_pt_sim.kitchen.seen import NAMES, seen
from robot_pt_sim.kitchen.splits import SPLITS
from robot_pt_sim.kitchen.tasks import find_kitchen
from robot_pt_sim.kitchen.twin import KitchenSimulator

EACH, FIRST_SEED = 25, 50_000
OFTEN = 4
"""As often as every step of the robot data is drawn each of these frames, so that they are half of a batch."""
FRAMES = 2
"""Of every arrangement."""
LOW, HIGH, TURN = (-0.05, -0.05, -0.04), (0.05, 0.05, 0.0), 0.25
"""Of the steps away from the start [m], [rad]: one order, given one to three times."""
SIZE = (64, 64)
State = tuple[Float, list[str], dict[str, Image]]


@final
class Arrangements:
    """An EpisodeSource whose episodes are arrangements and whose actions are places, as `ptr_told.ToldSource`; made where not in `folder`."""

    def __init__(self, spec: Spec, folder: Path):
        state_NP, tasks, self._images = _kept(folder)
        count = len(state_NP)
        self.spec, self.episodes = spec, _table(count // FRAMES, tasks)
        arm = len(spec.proprio_names)
        self.proprio = state_NP[:, :arm]
        self.actions = ptr_told.places(state_NP, (*spec.proprio_names, *NAMES))
        self.rewards, self.terminated = np.zeros(count, np.float32), np.zeros(count, bool)
        self.truncated = np.arange(count) % FRAMES == FRAMES - 1

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """They are kept at the encoders' size."""
        found: Image = self._images[camera][steps]
        return found if size is None or size == SIZE else resize(found, size)


def _table(count: int, tasks: list[str]) -> EpisodeTable:
    same = {name: [said] * count for name, said in (("instruction", ""), ("dataset", "arrangements"), ("split", ""), ("operator", "scripted"))}  # fmt: skip
    return EpisodeTable(
        start=np.arange(0, FRAMES * count, FRAMES), length=np.full(count, FRAMES), task=tasks[::FRAMES],
        success=np.full(count, UNKNOWN, np.int8), **same,
    )  # fmt: skip


def _kept(folder: Path) -> State:
    path = folder / "arrangements.npz"
    if not path.is_file():
        state, tasks, images = _made()
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, state=state, tasks=np.array(tasks), **images)
    found = np.load(path)
    return found["state"], [str(task) for task in found["tasks"]], {c: found[c] for c in ptr_data.CAMERAS}


def _made() -> State:
    names = sorted({task for split in SPLITS.values() for task in split.pretraining if "kitchen/put-" in task})
    state: list[Float] = []
    tasks: list[str] = []
    frames: dict[str, list[Image]] = {camera: [] for camera in ptr_data.CAMERAS}
    for number, name in enumerate(names):
        size = (ptr_data.IMAGE_SIZE, ptr_data.IMAGE_SIZE)
        simulator = KitchenSimulator(find_kitchen(name), cameras=ptr_data.CAMERAS, image_size=size)
        rng = np.random.default_rng(number)
        for start in range(EACH):
            now = simulator.reset(FIRST_SEED + 100 * number + start)
            for frame in range(FRAMES):
                for camera, kept in frames.items():
                    kept.append(now.images[camera])
                state.append(np.concatenate([now.proprio, seen(simulator.definition, simulator.state().objects)]))
                tasks.append(name.split("@")[0])
                if frame < FRAMES - 1:
                    order, turn = rng.uniform(LOW, HIGH), rng.uniform(-TURN, TURN)
                    for _ in range(rng.integers(1, 4)):
                        now = simulator.step(np.array([*order, 0.0, 0.0, turn, 1.0], np.float32)).observation
        simulator.close()
    small = {camera: np.ascontiguousarray(resize(np.stack(kept), SIZE)) for camera, kept in frames.items()}
    return np.array(state, np.float32), tasks, small
