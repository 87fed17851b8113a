"""One control step (0.2 s) and one 64x64 frame of the Panda's Lift scene, beside robosuite stepping and rendering itself.

Run: ``python benchmarks/simulator.py [--quick]``. Prints a table, then one JSON object on the last line. Processor time of one
thread, medians over interleaved rounds of one run: the same model, 100 physics steps of 2 ms per control step.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from quick import asked_quick

from robot_pt_sim import collect, make
from robot_pt_sim.installation import import_robosuite

SIZE = 64
TARGETS = {"robosuite / ours, step": 2.0, "robosuite / ours, step and frame": 1.5}


def robosuite_scene(render: bool) -> Any:
    """robosuite's own Lift at 5 Hz, observations off where it allows."""
    env = import_robosuite().make(
        "Lift",
        robots="Panda",
        has_renderer=False,
        has_offscreen_renderer=render,
        use_camera_obs=render,
        use_object_obs=False,
        camera_heights=SIZE,
        camera_widths=SIZE,
        renderer="mujoco",
        control_freq=5,
        hard_reset=False,
        ignore_done=True,
        seed=0,
    )
    env.reset()
    return env


def medians(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds of processor time per call; the first call of each is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in cases}
    for call in cases.values():
        call()
    for _ in range(rounds):
        for name, call in cases.items():
            start = time.process_time()
            call()
            spent[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.median(times)) for name, times in spent.items()}


def episodes_per_minute(episodes: int) -> float:
    """Mixed `lift-red` demonstrations per minute of one core's time, first scene included."""
    start = time.process_time()
    collect("lift-red", episodes, lambda episode: None, workers=1, noise="mixed", image_size=(SIZE, SIZE))
    return 60 * episodes / (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    quick = asked_quick(__doc__)
    os.environ["LP_NUM_THREADS"] = "1"  # the software renderer reads it when its first context is made
    blind, seeing = make("lift", seed=0, render=False), make("lift", seed=0, image_size=(SIZE, SIZE))
    their_blind, their_seeing = robosuite_scene(False), robosuite_scene(True)
    action = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
    cases: dict[str, Callable[[], object]] = {
        "ours, step": lambda: blind.step(action),
        "robosuite, step": lambda: their_blind.step(np.zeros(7)),
        "ours, step and frame": lambda: seeing.step(action),
        "robosuite, step and frame": lambda: their_seeing.step(np.zeros(7)),
    }
    found = medians(cases, 10 if quick else 60)
    for what in ("step", "step and frame"):
        found[f"robosuite / ours, {what}"] = found[f"robosuite, {what}"] / found[f"ours, {what}"]
    for scene in (blind, seeing, their_blind, their_seeing):
        scene.close()
    found["lift-red episodes per minute and core"] = episodes_per_minute(10 if quick else 60)
    for name, value in found.items():
        print(f"{name:42}{value:9.2f}{f'  (at least {TARGETS[name]})' if name in TARGETS else ''}")
    print(json.dumps({"benchmark": "simulator", "results": found, "targets": TARGETS}))


if __name__ == "__main__":
    main()
