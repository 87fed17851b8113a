"""A detector of the kitchens' things, frozen, as the encoder of benchmarks/ptr.py's version "features": told a task, it reads off both cameras' frames
where its thing and its goal are.

Taught in simulation, by the state (privileged): which pixel shows what in further arrangements of the pretraining kitchens (`ptr_arrangements`), and
where thing and goal are there and in the robot data. Who looks through it sees frames and the arm's reading, and nothing of the state.

A heat map per kind of thing on a quarter of the frame's resolution, its soft-argmax (Levine et al., arXiv 1504.00702) as in Gaussian-target
detectors (Zhou et al., arXiv 1904.07850), then a small network from both cameras' pixels, what is seen there and of the whole frame, and the arm.

Shapes: B frames, C cameras, K kinds, P pairs of a frame and a kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import ptr_data
import torch
from ptr_arrangements import KINDS, Shots, joined, kinds_of
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, smooth_l1_loss, softmax

from robot_pt.augment import AugmentConfig, augment
from robot_pt.features import fingerprint as fingerprint_of
from robot_pt.images import resize
from robot_pt.recipes.turns import alone
from robot_pt.schema import PROPRIO_NAMES, Float, Image, Int
from robot_pt.sources import EpisodeSource
from robot_pt_sim.kitchen.seen import NAMES
from robot_pt_sim.kitchen.tasks import TASKS

GRID, WIDTH, NEAR, WHOLE, KIND = 16, 64, 48, 48, 16
"""Cells a side of the heat maps; numbers that a coarse cell and a fine one have, that tell of the whole frame, and that tell a kind."""
SIZE = (4 * GRID, 4 * GRID)
"""Of frames as it sees them [px]."""
BATCH, OF_ROBOT, RATE = 64, 20, 1.5e-3
"""Frames per update, how many of them are robot data, the learning rate's start."""
PHASES = ((1.2, 0.2), (0.8, 1.0))
"""Updates, beside those of other encoders, and what yaw weighs in them: places first. At 0.2 all along it was not learned from afar."""
BLUR = 0.06
"""Deviation of a thing's target in its heat map, of half a frame."""
UNIT_M = 0.05
GAIN, SHIFT = 0.12, 0.06
"""Deviations of each colour's brightness while it learns."""
TOLD = ("ahead", "aside", "height", "turn_cos", "turn_sin")
"""Of one thing, from the hand [UNIT_M]; height in the base frame; twice its yaw seen from the hand, as most things look the same from behind."""
ONE, CHUNK = len(TOLD) + 2 + len(ptr_data.CAMERAS), 256
"""Features of one thing: what is told, its place in the base frame [UNIT_M], how sure each camera is to see it; frames looked at at a time."""


class Seen(NamedTuple):
    """Of all kinds in one camera's frames."""

    pixel_BK2: Tensor
    """Across and down in [-1, 1]: the mean of `heat_BKG` as a distribution."""
    heat_BKG: Tensor
    """Logits of the GRID * GRID cells, row by row."""
    there_BK: Tensor
    """Logit of being in the frame."""
    near_BKW: Tensor
    """NEAR numbers of where it is, by the same distribution."""
    whole_BV: Tensor
    """WHOLE numbers of the frame."""


def _layer(inputs: int, outputs: int, size: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return [convolution, nn.GroupNorm(4, outputs), nn.ReLU(inplace=True)]


@final
class Camera(nn.Module):
    """One camera's frames, (B, H, W, 3) floats in [0, 1] of SIZE, as `Seen`."""

    grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(*_layer(3, 16, 5, 2), *_layer(16, 32, 3, 2), *_layer(32, 48, 3, 1))
        self.coarse = nn.Sequential(*_layer(48, WIDTH, 3, 2), *_layer(WIDTH, WIDTH, 3, 1), *_layer(WIDTH, WIDTH, 3, 1))
        squeezed = nn.Linear(16 * (GRID // 4) ** 2, WHOLE)
        self.whole = nn.Sequential(*_layer(WIDTH, 16, 3, 2), nn.Flatten(), squeezed, nn.LayerNorm(WHOLE))
        self.both = nn.Sequential(*_layer(WIDTH + 48, NEAR, 1, 1))
        self.heat = nn.Conv2d(NEAR, len(KINDS), 1)
        self.there = nn.Linear(2, 1)
        self.register_buffer("grid", _grid(), persistent=False)

    def forward(self, frames: Tensor) -> Seen:
        fine = self.fine((frames - 0.5).permute(0, 3, 1, 2))
        coarse = self.coarse(fine)
        large = nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear")
        cells = self.both(torch.cat([fine, large], dim=1))
        heat_BKG = self.heat(cells).flatten(2)
        share_BKG = softmax(heat_BKG, dim=-1)
        peak = torch.stack([heat_BKG.amax(-1), heat_BKG.logsumexp(-1)], dim=-1)
        near_BKW = share_BKG @ cells.flatten(2).transpose(1, 2)
        return Seen(share_BKG @ self.grid, heat_BKG, self.there(peak)[..., 0], near_BKW, self.whole(coarse))


@final
class Detector(nn.Module):
    """Both cameras, and what they tell together."""

    def __init__(self) -> None:
        super().__init__()
        self.cameras = nn.ModuleDict({camera: Camera() for camera in ptr_data.CAMERAS})
        self.kinds = nn.Embedding(len(KINDS), KIND)
        inputs = len(self.cameras) * (3 + NEAR + WHOLE) + len(PROPRIO_NAMES) + KIND
        self.read = nn.Sequential(
            nn.Linear(inputs, 192), nn.ReLU(), nn.Linear(192, 192), nn.ReLU(), nn.Linear(192, len(TOLD))
        )

    def forward(self, frames: Mapping[str, Tensor]) -> dict[str, Seen]:
        """By camera, of frames as `Camera` takes them."""
        return {name: camera(frames[name]) for name, camera in self.cameras.items()}

    def told(self, seen: Mapping[str, Seen], proprio_BP: Tensor, row_P: Tensor, kind_P: Tensor) -> Tensor:
        """(P, TOLD) of these kinds in these frames."""
        parts = [10 * proprio_BP[row_P, :3], proprio_BP[row_P, 3:], self.kinds(kind_P)]
        for one in seen.values():
            parts += [one.pixel_BK2[row_P, kind_P], one.there_BK[row_P, kind_P, None].clamp(-5, 5)]
            parts += [one.near_BKW[row_P, kind_P], one.whole_BV[row_P]]
        out: Tensor = self.read(torch.cat(parts, dim=1))
        return out


def from_hand(place_P4: Float, proprio_P7: Float) -> Float:
    """(P, TOLD) of places [m, rad] in the base frame."""
    dx, dy = (place_P4[:, :2] - proprio_P7[:, :2]).T / UNIT_M
    yaw = proprio_P7[:, PROPRIO_NAMES.index("yaw")]
    turn = 2 * (place_P4[:, 3] - yaw)
    ahead, aside = np.cos(yaw) * dx + np.sin(yaw) * dy, np.cos(yaw) * dy - np.sin(yaw) * dx
    out: Float = np.stack([ahead, aside, place_P4[:, 2] / UNIT_M, np.cos(turn), np.sin(turn)], axis=1)
    return out.astype(np.float32)


def in_base(told_P5: Float, proprio_P7: Float) -> Float:
    """(P, 2) [m] where that is in the base frame."""
    yaw = proprio_P7[:, PROPRIO_NAMES.index("yaw")]
    (ahead, aside), (cos, sin) = told_P5[:, :2].T * UNIT_M, (np.cos(yaw), np.sin(yaw))
    out: Float = proprio_P7[:, :2] + np.stack([cos * ahead - sin * aside, sin * ahead + cos * aside], axis=1)
    return out


def loss_of(detector: Detector, shots: Shots, turn: float = 1.0) -> tuple[Tensor, dict[str, float]]:
    """On these frames of SIZE, in colours drawn anew, and its parts; `turn` is what a thing's yaw weighs. Some frame has to show something."""
    frames = {name: _coloured(torch.from_numpy(shots.images[name])) for name in ptr_data.CAMERAS}
    seen = detector(frames)
    place, proprio = shots.place_NK4, shots.proprio_NP
    row_P, kind_P = np.nonzero(np.isfinite(place[..., 0]))
    wanted = torch.from_numpy(from_hand(place[row_P, kind_P], proprio[row_P]))
    row, kind = torch.from_numpy(row_P), torch.from_numpy(kind_P)
    guess = detector.told(seen, torch.from_numpy(proprio), row, kind)
    known = torch.isfinite(wanted)
    missed = torch.where(known, smooth_l1_loss(guess, wanted.nan_to_num(), beta=0.2, reduction="none"), 0.0)
    read = (missed * torch.tensor([1.0, 1.0, 0.5, turn, turn])).sum(1).mean()
    heat, there = torch.zeros(()), torch.zeros(())
    for number, camera in enumerate(seen.values()):
        one, other = _pixels(camera, shots.pixel_NCK2[:, number], row_P, kind_P)
        heat, there = heat + one, there + other
    return read + 0.3 * heat + 0.3 * there, {"read": read.item(), "heat": heat.item(), "there": there.item()}


def _pixels(seen: Seen, pixel_BK2: Float, row_P: Int, kind_P: Int) -> tuple[Tensor, Tensor]:
    """Cross entropies of where things are in one camera's frames, and of whether. Frames of which no pixel is known are left out: all robot data,
    and the few others that show nothing at all."""
    shows_B = np.isfinite(pixel_BK2[..., 0]).any(axis=1)
    row, kind = row_P[shows_B[row_P]], kind_P[shows_B[row_P]]
    at = torch.from_numpy(pixel_BK2[row, kind])
    inside = torch.isfinite(at[:, 0])
    there = binary_cross_entropy_with_logits(seen.there_BK[row, kind], inside.float())
    heat_PG = log_softmax(seen.heat_BKG[row, kind][inside], dim=-1)
    away = ((at[inside][:, None] - _grid()) / BLUR).square().sum(-1)
    return -(softmax(-away / 2, dim=-1) * heat_PG).sum(-1).mean(), there


def _grid() -> Tensor:
    """(GRID * GRID, 2): across and down of the cells' middles, row by row."""
    at = torch.linspace(-1 + 1 / GRID, 1 - 1 / GRID, GRID)
    down, across = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([across.flatten(), down.flatten()], dim=1)


def _coloured(image_BHWC: Tensor) -> Tensor:
    count = len(image_BHWC)
    gain, shift = 1 + GAIN * torch.randn(count, 1, 1, 3), SHIFT * torch.randn(count, 1, 1, 3)
    return (image_BHWC.float() / 255 * gain + shift).clamp(0, 1)


def robot_data(frames: EpisodeSource, state: EpisodeSource) -> Shots:
    """Every step of the robot data, whose thing and goal alone are known; both sources hold the same episodes."""
    rows, tasks = ptr_data.rows(frames), ptr_data.tasks_of(frames)
    names = list(state.spec.proprio_names)
    column = {name: state.proprio[ptr_data.rows(state), names.index(name)] for name in NAMES}
    place = np.full((len(rows), len(KINDS), 4), np.nan, np.float32)
    slots = {task: [KINDS.index(kind) for kind in kinds_of(TASKS[task])] for task in set(tasks)}
    thing, goal = np.array([slots[task] for task in tasks]).T
    every, yaw = np.arange(len(rows)), np.arctan2(column["thing_sin"], column["thing_cos"])
    place[every, goal, :3] = np.stack([column["goal_x"], column["goal_y"], column["goal_z"]], axis=1)
    place[every, thing] = np.stack([column["thing_x"], column["thing_y"], column["thing_z"], yaw], axis=1)
    images = {camera: frames.images(rows, camera, SIZE) for camera in ptr_data.CAMERAS}
    pixel = np.full((len(rows), len(images), len(KINDS), 2), np.nan, np.float32)
    return Shots(images, frames.proprio[rows], place, pixel, tasks, [0] * len(rows))


def taught(further: Shots, robot: Shots, steps: int, seed: int) -> Detector:
    """A detector whose phases have so many updates each, times `PHASES`."""
    torch.manual_seed(seed)
    small = [shots._replace(images={c: resized(f) for c, f in shots.images.items()}) for shots in (further, robot)]
    detector, colours = Detector().to(memory_format=torch.channels_last), torch.get_rng_state()
    for number, (share, turn) in enumerate(PHASES):
        torch.set_rng_state(colours)
        learn(detector, small[0], small[1], max(1, int(share * steps)), turn, seed + number)
    return detector.eval()


def learn(detector: Detector, further: Shots, robot: Shots, steps: int, turn: float, seed: int) -> None:
    """One phase, of frames of SIZE."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, max(steps, 40), pct_start=0.05)
    for step in range(steps):
        drawn = ((further, BATCH - OF_ROBOT), (robot, OF_ROBOT))
        batch = joined([some(shots, rng.integers(len(shots.task), size=count)) for shots, count in drawn])
        loss, said = loss_of(detector, batch, turn)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(step + 1, {name: round(value, 3) for name, value in said.items()}, flush=True)


def some(shots: Shots, rows: Int) -> Shots:
    """The frames of these numbers, in their order."""
    images = {camera: frames[rows] for camera, frames in shots.images.items()}
    picked = (shots.proprio_NP[rows], shots.place_NK4[rows], shots.pixel_NCK2[rows])
    return Shots(images, *picked, [shots.task[row] for row in rows], [shots.scene[row] for row in rows])


def read_off(detector: Detector, images: Mapping[str, Image], proprio_BP: Float, tasks: Sequence[str]) -> Float:
    """(B, 2 * ONE): of each frame's task thing and goal."""
    kinds = np.array([[KINDS.index(kind) for kind in kinds_of(TASKS[task])] for task in tasks])
    arm, rows = torch.from_numpy(np.ascontiguousarray(proprio_BP, np.float32)), torch.arange(len(tasks))
    out = []
    with torch.inference_mode():
        seen = detector({name: torch.from_numpy(resize(images[name], SIZE)).float() / 255 for name in ptr_data.CAMERAS})
        for kind in torch.from_numpy(kinds).T:
            told = detector.told(seen, arm, rows, kind).numpy()
            there = [one.there_BK[rows, kind].clamp(-3, 3).numpy()[:, None] / 3 for one in seen.values()]
            out.append(np.concatenate([told, in_base(told, proprio_BP) / UNIT_M, *there], axis=1))
    return np.concatenate(out, axis=1).astype(np.float32)


def features(detector: Detector, source: EpisodeSource, cache: Path, view: int, augmentation: AugmentConfig) -> Float:
    """(N, 2 * ONE) of the rows of `source`, zero outside episodes, kept in `cache`; view 0 is of frames as they are, others of such crops and colours."""
    drawn = f"-{hashlib.sha256(repr(augmentation).encode()).hexdigest()[:8]}" if view else ""
    path = cache / f"sight-{fingerprint(detector)}-{fingerprint_of(source, ptr_data.CAMERAS[0])}-{view}{drawn}.npy"
    with alone(path, "features of what the detector sees"):
        if not path.is_file():
            _write(path, _features(detector, source, view, augmentation))
    return np.load(path)  # type: ignore[no-any-return]


def _features(detector: Detector, source: EpisodeSource, view: int, augmentation: AugmentConfig) -> Float:
    rows, tasks = ptr_data.rows(source), ptr_data.tasks_of(source)
    found = np.zeros((len(source.proprio), 2 * ONE), np.float32)
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        images = {camera: source.images(part, camera, SIZE) for camera in ptr_data.CAMERAS}
        if view:
            images = {
                camera: augment(torch.from_numpy(frames), torch.from_numpy(part), view, stream, augmentation).numpy()
                for stream, (camera, frames) in enumerate(images.items())
            }
        found[part] = read_off(detector, images, source.proprio[part], tasks[first : first + CHUNK])
    return found


def _write(path: Path, found: Float) -> None:
    written = path.with_suffix(".part")
    with written.open("wb") as file:
        np.save(file, found)
    written.replace(path)


def kept_in(folder: Path, seed: int, steps: int) -> Path:
    """Where the detector of these lies."""
    return folder / f"sight-{seed}-{steps}.pt"


def save(detector: Detector, path: Path) -> None:
    """Its weights, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".part")
    torch.save(detector.state_dict(), written)
    written.replace(path)


def opened(path: Path) -> Detector:
    """As `save` left it."""
    detector = Detector()
    detector.load_state_dict(torch.load(path, weights_only=True))
    return detector.eval()


def fingerprint(detector: Detector) -> str:
    """16 hex digits that differ between weights."""
    digest = hashlib.sha256()
    for value in detector.state_dict().values():
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def resized(frames: Image) -> Image:
    """(N, H, W, 3) to SIZE, some at a time, as arrangements are a memory map."""
    parts = [resize(np.asarray(frames[first : first + 512]), SIZE) for first in range(0, len(frames), 512)]
    return np.concatenate(parts)
