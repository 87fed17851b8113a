"""Domain randomisation: light, colours and cameras of one episode, drawn from its seed; all of it logged."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from robot_pt.robots.model import import_mujoco

LIGHT, AMBIENT, TINT = 0.2, 0.15, 0.06
"""Half-ranges: share of a light's and of the ambient brightness, and of each colour channel."""
CAMERA_M, CAMERA_RAD = 0.008, 0.015
"""Standard deviations of a camera's place and of its turn about each axis."""


@final
class Look:
    """Changes a model's looks, never its physics."""

    def __init__(self, model: Any):
        self._mujoco, self._model = import_mujoco(), model
        self._nominal = {
            name: np.array(getattr(model, name))
            for name in ("light_diffuse", "geom_rgba", "mat_rgba", "cam_pos", "cam_quat")
        }
        self._ambient = np.array(model.vis.headlight.ambient)

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Another look; returns what was drawn, as JSON values."""
        model, nominal = self._model, self._nominal
        light = rng.uniform(1 - LIGHT, 1 + LIGHT, model.nlight)
        ambient = float(rng.uniform(1 - AMBIENT, 1 + AMBIENT))
        tints = rng.uniform(-TINT, TINT, (model.nmat, 3))
        bodies = rng.uniform(-TINT, TINT, (model.nbody, 3))[model.body_rootid]  # the arm has one colour
        shift = rng.normal(0.0, CAMERA_M, (model.ncam, 3))
        turn = rng.normal(0.0, CAMERA_RAD, (model.ncam, 3))
        model.light_diffuse[:] = nominal["light_diffuse"] * light[:, None]
        model.vis.headlight.ambient[:] = self._ambient * ambient
        model.mat_rgba[:, :3] = np.clip(nominal["mat_rgba"][:, :3] + tints, 0.0, 1.0)
        model.geom_rgba[:, :3] = np.clip(nominal["geom_rgba"][:, :3] + bodies[model.geom_bodyid], 0.0, 1.0)
        model.cam_pos[:] = nominal["cam_pos"] + shift
        model.cam_quat[:] = nominal["cam_quat"]
        for quaternion, by in zip(model.cam_quat, turn, strict=True):
            self._mujoco.mju_quatIntegrate(quaternion, by, 1.0)
        return {
            "light": light.round(4).tolist(), "ambient": round(ambient, 4), "materials": tints.round(4).tolist(),
            "bodies": bodies.round(4).tolist(), "camera_shift_m": shift.round(5).tolist(), "camera_turn_rad": turn.round(5).tolist(),
        }  # fmt: skip

    def restore(self) -> None:
        """The layout's own."""
        for name, values in self._nominal.items():
            getattr(self._model, name)[:] = values
        self._model.vis.headlight.ambient[:] = self._ambient
