"""What a representation run's report shows of its encoder: the objective's own picture, or nearest neighbours among frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from robot_pt import images
from robot_pt.clips import ClipBatch, Clips
from robot_pt.networks.modes import evaluating
from robot_pt.replay import to_device
from robot_pt.report import Picture, Seen
from robot_pt.schema import Image

ROWS, NEIGHBOURS, AMONG = 6, 5, 256
"""Strips shown, frames found per strip, frames looked through."""
_SCALE = 96  # pixels of a shown frame


def seen_by(learner: Any, clips: Clips, device: torch.device) -> Seen:
    """Strips of frames of the training data."""
    if hasattr(learner, "picture"):
        batch = to_device(clips.batch(0), device)
        few = ClipBatch(*(_first(column, ROWS) for column in batch))
        with evaluating(learner.encoder):
            strips = learner.picture(few).cpu().numpy()
        return Seen(summary=learner.caption, rows=[_strip(strip, f"clip {i + 1}") for i, strip in enumerate(strips)])
    return _neighbours(learner, clips, device)


def _neighbours(learner: Any, clips: Clips, device: torch.device) -> Seen:
    frames, episode, step = _frames(clips)
    with torch.inference_mode(), evaluating(learner.encoder):
        found = [
            _code(learner, torch.from_numpy(frames[i : i + 64]).to(device)).cpu() for i in range(0, len(frames), 64)
        ]
    code = F.normalize(torch.cat(found), dim=1)
    near = (code @ code.T).numpy()
    same = episode[:, None] == episode
    elsewhere = not same.all()
    near[same if elsewhere else np.eye(len(near), dtype=bool)] = -np.inf
    rows = []
    for query in np.linspace(0, len(frames) - 1, min(ROWS, len(frames))).astype(int):
        order = np.argsort(-near[query], kind="stable")[:NEIGHBOURS]
        names = ", ".join(f"{episode[i]}:{step[i]}" for i in order)
        rows.append(_strip(frames[[query, *order]], f"episode:step {episode[query]}:{step[query]}; then {names}"))
    where = "of other episodes" if elsewhere else "of the only episode"
    what = "the encoder's feature" if learner.trains == "encoder" else "the backbone's averaged map"
    return Seen(
        summary=f"Left, a frame; then the frames {where} that {what} finds most alike, of {len(frames)} drawn.",
        rows=rows,
    )


def _code(learner: Any, frames: torch.Tensor) -> torch.Tensor:
    """(n, D): what of the encoder was trained."""
    if learner.trains == "encoder":
        out: torch.Tensor = learner.encoder(frames)
        return out
    averaged: torch.Tensor = learner.encoder.feature_map(frames).float().mean(dim=(2, 3))
    return averaged


def _frames(clips: Clips) -> tuple[Image, Any, Any]:
    """Different frames of the first batches: (n, H, W, 3), and episode and step of each."""
    kept: dict[tuple[int, int], Image] = {}
    for number in range(max(1, AMONG // clips.batch_size)):
        batch = clips.batch(number)
        pixels = next(iter(batch.images.values()))
        for frame, e, t in zip(pixels[:, 0], batch.episode.tolist(), batch.step[:, 0].tolist(), strict=True):
            kept.setdefault((e, t), frame.copy())
    keys = np.array(list(kept), np.int64)
    return np.stack(list(kept.values())), keys[:, 0], keys[:, 1]


def _strip(frames: Image, caption: str) -> Picture:
    height, width = frames.shape[1:3]
    size = (_SCALE, round(_SCALE * width / height))
    row = np.concatenate(list(images.resize(np.ascontiguousarray(frames), size)), axis=1)
    return Picture(jpeg=images.encode_jpeg(row, 85), caption=caption)


def _first(column: Any, count: int) -> Any:
    return {name: value[:count] for name, value in column.items()} if isinstance(column, dict) else column[:count]
