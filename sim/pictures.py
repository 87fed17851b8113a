"""The picture of README.md and sim/README.md: an expert's episode in each kitchen, by rows; the three cameras as it begins, then the first through it.

python sim/pictures.py sim/kitchens.jpg     half a minute
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from robot_pt.errors import UserError
from robot_pt.schema import Episode, Image
from robot_pt_sim import collect

CAMERAS = ("primary", "secondary", "wrist")
SIZE, GAP = 160, 3
"""Of a frame and between frames [px]."""
THROUGH = (0.35, 0.6, 0.8, 1.0)
"""Shares of an episode whose frames are shown."""
TASKS = (
    "put-carrot-on-plate",
    "open-drawer",
    "put-egg-in-pot",
    "turn-lever-left",
    "open-door",
    "put-croissant-on-plate",
)
"""One per kitchen, 1 to 6."""
SEED, QUALITY = 3, 85


def row(episode: Episode) -> Image:
    """(SIZE, W, 3) RGB: what the cameras see first, then what the first of them sees later."""
    films = [np.asarray(episode.images[camera]) for camera in CAMERAS]
    last = len(films[0]) - 1
    shown = [film[0] for film in films] + [films[0][round(share * last)] for share in THROUGH]
    gap = np.full((SIZE, GAP, 3), 255, np.uint8)
    return np.concatenate([part for frame in shown for part in (frame, gap)][:-1], axis=1)


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit((__doc__ or "").split("\n\n")[1])
    path = Path(sys.argv[1])
    if not cv2.haveImageWriter(str(path)) or not path.parent.is_dir():
        raise SystemExit(f"{path} cannot be drawn into; name a .jpg or .png in a folder that there is.")
    rows: list[Image] = []
    try:
        for scene, task in enumerate(TASKS, 1):
            where = f"kitchen/{task}@{scene}"
            collect(
                where, 1, lambda e: rows.append(row(e)), seed=SEED, camera=CAMERAS, image_size=(SIZE, SIZE), workers=1
            )
    except UserError as error:
        raise SystemExit(str(error)) from None
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    picture = np.concatenate([part for one in rows for part in (one, gap)][:-1], axis=0)
    if not cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
        raise SystemExit(f"{path} could not be written.")


if __name__ == "__main__":
    main()
