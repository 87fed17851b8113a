"""Domain randomisation of what cannot be seen: masses and friction of the things of one episode, drawn from its seed; all of it logged."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from robot_pt.robots.model import import_mujoco

MASS, FRICTION = 1.3, 1.2
"""Largest factor, and one over the smallest."""


@final
class Matter:
    """Changes how heavy and how slippery the free bodies of a model are, and nothing else of it."""

    def __init__(self, model: Any, things: tuple[str, ...]):
        """`things`: names of free bodies, whose geoms are all their own."""
        self._mujoco, self._model, self._things = import_mujoco(), model, things
        self._bodies = [int(model.body(name).id) for name in things]
        self._geoms = [np.flatnonzero(model.geom_bodyid == body) for body in self._bodies]
        self._nominal = {
            name: np.array(getattr(model, name)) for name in ("body_mass", "body_inertia", "geom_friction")
        }

    def draw(self, rng: np.random.Generator, data: Any) -> dict[str, dict[str, float]]:
        """Other factors of mass and sliding friction for each thing, returned as JSON values; `data` is worked in and left at its start."""
        masses, frictions = (most ** rng.uniform(-1.0, 1.0, len(self._things)) for most in (MASS, FRICTION))
        model, nominal = self._model, self._nominal
        for body, geoms, mass, friction in zip(self._bodies, self._geoms, masses, frictions, strict=True):
            model.body_mass[body] = mass * nominal["body_mass"][body]
            model.body_inertia[body] = mass * nominal["body_inertia"][body]
            model.geom_friction[geoms, 0] = friction * nominal["geom_friction"][geoms, 0]
        self._mujoco.mj_setConst(model, data)
        self._mujoco.mj_resetData(model, data)
        return {
            "mass": {n: round(float(m), 4) for n, m in zip(self._things, masses, strict=True)},
            "friction": {n: round(float(f), 4) for n, f in zip(self._things, frictions, strict=True)},
        }
