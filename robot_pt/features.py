"""Features of a frozen encoder, computed once: data whose images are numbers already, and a policy that looks through the encoder.

Every frame becomes one row of float16: the backbone's map, averaged over the cells of a coarse grid so that places survive ("map"),
and the encoder's own output ("encoder"). A head is then trained like any agent on the state alone (`FeatureSource` puts the features
behind proprio and takes the cameras away): milliseconds per update. `FeaturePolicy` acts with it on frames.

    look = Extractor(encoder, camera="primary", image_size=(64, 64))
    table = FeatureTable.of(source, look, Path("features"))      # kept there; the next call opens it
    agent = BC.build(...)                                        # on FeatureSource(source, table, "map"), cameras=()
    policy = FeaturePolicy(Policy.load(run), look, "map")

Shapes: N steps of a source's columns, n frames, V views of each frame, D features.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray

from robot_pt.augment import AugmentConfig, augment
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.evaluate import ActingPolicy
from robot_pt.images import resize
from robot_pt.networks.encoders import ImageEncoder
from robot_pt.networks.modes import evaluating
from robot_pt.safe_files import sync_folder
from robot_pt.schema import Episode, Float, Image, Int, Observation, Spec, window_of
from robot_pt.sources import EpisodeSource

Kind = Literal["map", "encoder"]
KINDS: tuple[Kind, ...] = ("map", "encoder")
MOST = 2048
"""Features kept of a map: the finest grid of 8, 4, 2 or 1 cells a side that stays within."""
FORMAT = 1
_CHUNK = 512  # frames looked at and written at a time
Progress = Callable[[int, int], None]
"""(frames done, frames in all) -> None."""


class Looks(Protocol):
    """What frames are looked at through: `Extractor`, or `robot_pt.agents.encoded.FrozenEncoders`."""

    @property
    def camera(self) -> str: ...

    @property
    def image_size(self) -> tuple[int, int]: ...

    @property
    def widths(self) -> dict[Kind, int]:
        """Kind -> how many features; side by side in this order."""
        ...

    @property
    def width(self) -> int:
        """All of them."""
        ...

    @property
    def precision(self) -> type[np.floating[Any]]:
        """What the table keeps them in."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ between encoders, cameras and image sizes."""
        ...

    def __call__(self, frames: Image, /) -> Float:
        """(n, H, W, 3) uint8 of any size -> (n, width) float32."""
        ...


@final
class Extractor:
    """Frames in, features out. The encoder is only looked through: nothing here changes it.

    Attributes:
        widths: kind -> how many features; side by side in this order.
        fingerprint: of weights, architecture, camera and image size.
    """

    precision = np.float16

    def __init__(self, encoder: ImageEncoder, *, camera: str, image_size: tuple[int, int], batch: int = 256):
        self._encoder, self.camera, self.image_size, self._batch = encoder.eval(), camera, image_size, batch
        self._device = next(encoder.parameters()).device
        grid = [g for g in (8, 4, 2, 1) if g <= min(encoder.grid) and encoder.channels * g * g <= MOST]
        self._cells = max(grid, default=1)
        latent = int(encoder.bottleneck[0].out_features)  # type: ignore[arg-type]
        self.widths: dict[Kind, int] = {"map": encoder.channels * self._cells**2, "encoder": latent}
        self.channels, self.width = encoder.channels, sum(self.widths.values())
        said = f"{FORMAT} {camera} {image_size} {self._cells}"
        digest = hashlib.sha256(said.encode())
        for name, value in sorted(encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    def columns(self, kind: Kind) -> slice:
        """Where the features of `kind` stand."""
        return slice(0, self.widths["map"]) if kind == "map" else slice(self.widths["map"], self.width)

    def __call__(self, frames: Image) -> Float:
        """(n, H, W, 3) uint8 of any size -> (n, D) float32. Raises DataError where a feature is not finite."""
        ready = np.ascontiguousarray(resize(frames, self.image_size))
        parts = [self._look(ready[i : i + self._batch]) for i in range(0, len(ready), self._batch)]
        return np.concatenate(parts) if parts else np.zeros((0, self.width), np.float32)

    def _look(self, frames: Image) -> Float:
        with torch.inference_mode(), evaluating(self._encoder):
            map_BCHW = self._encoder.feature_map(torch.from_numpy(frames).to(self._device)).float()
            coarse = torch.nn.functional.adaptive_avg_pool2d(map_BCHW, self._cells).flatten(1)
            whole = self._encoder.bottleneck(self._encoder.pool(map_BCHW)).float()
            out: Float = torch.cat([coarse, whole], dim=1).cpu().numpy()
        if not (np.abs(out) < 65504).all():  # the largest float16
            raise DataError(
                "the encoder's features are NaN, Inf or beyond float16; its weights are damaged: take an earlier checkpoint."
            )
        return out


@final
class FeatureTable:
    """Features of every step that belongs to an episode, in a memory map."""

    def __init__(self, features: NDArray[np.floating[Any]], row_N: Int, widths: dict[Kind, int]):
        self._features, self._row, self._widths = features, row_N, widths

    @property
    def views(self) -> int:
        return int(self._features.shape[1])

    def __call__(self, steps: Int, kind: Kind, view: int = 0) -> Float:
        """(len(steps), D) float32 of these rows of the source's columns."""
        rows = self._row[steps]
        assert (rows >= 0).all(), "a step outside all episodes"
        first = 0 if kind == "map" else self._widths["map"]
        out: Float = self._features[rows, view, first : first + self._widths[kind]].astype(np.float32)
        return out

    @classmethod
    def of(
        cls, source: EpisodeSource, look: Looks, folder: Path, *, views: int = 1, augmentation: AugmentConfig | None = None,
        progress: Progress | None = None,
    ) -> FeatureTable:  # fmt: skip
        """Open the table in `folder` that belongs to this encoder and these frames; what is missing of it is computed.

        Killed at any time, the next call goes on with the next chunk. View 0 is the frame as it is, others are crops and colours
        drawn by `augmentation`, the same on every machine. Raises MismatchError where the source lacks the camera, UserError
        where the disk takes no more or views have no augmentation.
        """
        if look.camera not in source.spec.cameras:
            raise MismatchError(
                f"camera {look.camera!r} is not in the {source.spec.embodiment} data, which has {sorted(source.spec.cameras)}; choose one."
            )
        if views < 1 or (views > 1 and augmentation is None):
            raise UserError(f"{views} views of each frame were asked for; give 1, or more with an augmentation.")
        steps = _steps(source)
        shape = (len(steps), views, look.width)
        said = f"{look.fingerprint} {views} {augmentation if views > 1 else None}"
        name = hashlib.sha256(said.encode()).hexdigest()[:16]
        path = folder / f"{name}-{fingerprint(source, look.camera)}.npy"
        if not path.exists():
            try:
                _write(path, shape, source, steps, look, augmentation, progress)
            except OSError as error:
                raise UserError(
                    f"the features {path} cannot be written ({error.strerror}); free space, repeat."
                ) from None
        row = np.full(len(source.actions), -1, np.int64)
        row[steps] = np.arange(len(steps))
        return cls(np.load(path, mmap_mode="r"), row, dict(look.widths))


def fingerprint(source: EpisodeSource, camera: str) -> str:
    """16 hex digits that differ between data sets: episodes, columns, and the frames at both ends of up to 32 of them."""
    table, steps = source.episodes, _steps(source)
    digest = hashlib.sha256(json.dumps([camera, table.length.tolist(), table.task]).encode())
    for column in (source.proprio, source.actions):
        digest.update(np.ascontiguousarray(column[steps]).tobytes())
    some = np.linspace(0, len(table) - 1, min(32, len(table))).astype(np.int64)
    some = some[table.length[some] > 0]
    ends = np.concatenate([table.start[some], table.start[some] + table.length[some] - 1])
    digest.update(source.images(ends, camera, (16, 16)).tobytes())
    return digest.hexdigest()[:16]


def _steps(source: EpisodeSource) -> Int:
    steps = source.episodes.rows()
    if not len(steps):
        raise DataError("there is no step to look at; give data with episodes.")
    return steps


def _write(
    path: Path, shape: tuple[int, int, int], source: EpisodeSource, steps: Int, look: Looks,
    augmentation: AugmentConfig | None, progress: Progress | None,
) -> None:  # fmt: skip
    """An .npy file that grows by whole frames under another name: not a memory map, on which a full disk kills the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = np.dtype(look.precision).newbyteorder("<")
    part, frame_bytes = path.with_suffix(".part"), kept.itemsize * shape[1] * shape[2]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kept.str, "fortran_order": False, "shape": shape})
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another process may be at it: wait, and find it done
        if path.exists():
            return
        size, head = os.fstat(file.fileno()).st_size, header.getvalue()
        done = (
            max(0, size - len(head)) // (frame_bytes * _CHUNK) * _CHUNK
        )  # whole chunks: the same batches, the same bits
        file.truncate(len(head) + done * frame_bytes if size >= len(head) else 0)
        if size < len(head):
            file.write(head)
        for first in range(done, len(steps), _CHUNK):
            rows = steps[first : first + _CHUNK]
            frames = source.images(rows, look.camera, look.image_size)
            seen = [look(_view(frames, rows, v, augmentation)) for v in range(shape[1])]
            file.write(np.stack(seen, axis=1).astype(kept).tobytes())
            if progress is not None:
                progress(first + len(rows), len(steps))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def _view(frames: Image, rows: Int, view: int, augmentation: AugmentConfig | None) -> Image:
    if view == 0 or augmentation is None:
        return frames
    seen: Image = augment(torch.from_numpy(frames), torch.from_numpy(rows), view, 0, augmentation).numpy()
    return seen


def feature_spec(spec: Spec, count: int) -> Spec:
    """`spec` with so many features behind the state and no camera."""
    names = tuple(f"feature_{i}" for i in range(count))
    return replace(spec, cameras={}, proprio_names=(*spec.proprio_names, *names))


@final
class FeatureSource:
    """`source` as an EpisodeSource of the state alone, proprio followed by the features of each step; rows without episode are zero."""

    def __init__(self, source: EpisodeSource, table: FeatureTable, kind: Kind, view: int = 0):
        steps = _steps(source)
        found = table(steps, kind, view)
        features = np.zeros((len(source.actions), found.shape[1]), np.float32)
        features[steps] = found
        self.spec, self.episodes = feature_spec(source.spec, found.shape[1]), source.episodes
        self.proprio = np.concatenate([source.proprio, features], axis=1)
        self.actions, self.rewards = source.actions, source.rewards
        self.terminated, self.truncated = source.terminated, source.truncated

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """Raises DataError: there are none."""
        raise DataError(f"features have taken the place of images; camera {camera!r} is in the source they come from.")


def feature_episode(episode: Episode, look: Extractor, kind: Kind) -> Episode:
    """An episode as `FeatureSource` has them; its frames must be arrays."""
    frames = episode.images[look.camera]
    assert isinstance(frames, np.ndarray), "frames as a simulator gives them"
    features = look(frames)[:, look.columns(kind)]
    return replace(
        episode, spec=feature_spec(episode.spec, features.shape[1]), images={},
        proprio=np.concatenate([episode.proprio, features], axis=1).astype(np.float32),
    )  # fmt: skip


@final
class FeaturePolicy:
    """A policy of state and features that is shown frames."""

    def __init__(self, policy: ActingPolicy, look: Extractor, kind: Kind):
        self.version, self.window = f"{policy.version}+{look.fingerprint}", window_of(policy)
        self._policy, self._look, self._kind = policy, look, kind

    def reset(self, task: str | None) -> None:
        self._policy.reset(task)

    def act(self, history: Sequence[Observation]) -> Float:
        """As `robot_pt.policy.Policy.act`, which sees as many of the last observations as it looks at. Raises as `seen`."""
        first = max(1, len(history) - self.window + 1)
        return self._policy.act([self.seen(history[:end]) for end in range(first, max(len(history), 1) + 1)])

    def seen(self, history: Sequence[Observation]) -> Observation:
        """The newest observation as the policy of features takes it."""
        if not history:
            raise UserError("the policy was asked to act without an observation; give at least the newest one.")
        frame = history[-1].images.get(self._look.camera)
        if frame is None:
            raise UserError(f"the observation lacks camera {self._look.camera!r}; it has {sorted(history[-1].images)}.")
        feature = self._look(frame[None])[0, self._look.columns(self._kind)]
        rounded = feature.astype(np.float16).astype(np.float32)  # as it was trained
        return history[-1]._replace(
            images={}, proprio=np.concatenate([history[-1].proprio, rounded]).astype(np.float32)
        )
