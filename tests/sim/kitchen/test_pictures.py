"""sim/pictures.py draws what the simulator renders, at the places the docstring says."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt_sim import collect
from robot_pt_sim.rendering import choose_backend

sys.path.insert(0, str(Path(__file__).parents[3] / "sim"))

import pictures

SCRIPT = Path(pictures.__file__)


def test_a_row_is_what_the_cameras_saw(monkeypatch, tmp_path):
    try:
        choose_backend()
    except UserError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(pictures, "SIZE", 32)
    monkeypatch.setattr(pictures, "TASKS", ("open-drawer",))
    monkeypatch.setattr(sys, "argv", ["pictures.py", str(tmp_path / "one.png")])
    pictures.main()
    drawn = cv2.imread(str(tmp_path / "one.png"))[..., ::-1]
    episodes = []
    collect(
        "kitchen/open-drawer@1",
        1,
        episodes.append,
        seed=pictures.SEED,
        camera=pictures.CAMERAS,
        image_size=(32, 32),
        workers=1,
    )
    step = 32 + pictures.GAP
    assert drawn.shape == (32, 7 * step - pictures.GAP, 3)
    for column, camera in enumerate(pictures.CAMERAS):
        assert np.array_equal(drawn[:, column * step : column * step + 32], episodes[0].images[camera][0])
    assert np.array_equal(drawn[:, -32:], episodes[0].images["primary"][-1])


def test_without_a_file_it_says_how():
    said = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert said.returncode == 1
    assert "python sim/pictures.py sim/kitchens.jpg" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("name", ["one.docx", "nowhere/one.jpg", "one"])
def test_what_cannot_be_drawn_into_is_said_before_anything_is_played(monkeypatch, tmp_path, name):
    monkeypatch.setattr(sys, "argv", ["pictures.py", str(tmp_path / name)])
    monkeypatch.setattr(pictures, "collect", None)
    with pytest.raises(SystemExit, match=r"name a \.jpg or \.png in a folder that there is"):
        pictures.main()
