"""Control steps per second of the WidowX in its toy kitchens, without pictures and with one 128x128 camera, beside robosuite's PickPlace.

Run: ``python benchmarks/kitchen.py [--quick]``. Prints a table, then one JSON object on the last line. Processor time of one thread,
medians over interleaved rounds of one run; both at 5 control steps per second of simulated time, moved at random, and drawn by the same
renderer: no shadows, reflections or multisampling, nothing outside the picture.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from quick import asked_quick

from robot_pt_sim import collect, make
from robot_pt_sim.installation import import_robosuite
from robot_pt_sim.rendering import CameraRenderer

SIZE, TASK = 128, "kitchen/put-carrot-on-plate@3"
STEPS = 10
"""Per round."""
TARGETS = {"steps/s, ours / robosuite": 10.0, "steps/s with a frame, ours / robosuite": 6.0}
MOST_MB = 400.0
_MEMORY = f"""
from pathlib import Path
from robot_pt_sim import make
simulator = make({TASK!r}, image_size=({SIZE}, {SIZE}), seed=0)
for _ in range(20):
    simulator.step([0, 0, 0, 0, 0, 0, 1])
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1e3)
"""


def robosuite_scene() -> Any:
    """robosuite's own PickPlace at 5 Hz, four objects, observations off where it allows."""
    env = import_robosuite().make(
        "PickPlace",
        robots="Panda",
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        use_object_obs=False,
        renderer="mujoco",
        control_freq=5,
        hard_reset=False,
        ignore_done=True,
        seed=0,
    )
    env.reset()
    return env


def ours(seed: int, **options: Any) -> Callable[[], None]:
    """Steps of one simulator with random actions."""
    simulator, rng = make(TASK, seed=seed, **options), np.random.default_rng(seed)

    def run() -> None:
        for _ in range(STEPS):
            move = rng.uniform(-0.04, 0.04, 3)
            simulator.step(np.array([*move, 0, 0, rng.uniform(-0.2, 0.2), rng.random()], np.float32))

    return run


def theirs(seed: int, camera: str = "") -> Callable[[], None]:
    """The same of robosuite's, with a frame of the camera after every step if one is named."""
    env, rng = robosuite_scene(), np.random.default_rng(seed)
    model, data = env.sim.model._model, env.sim.data._data
    number = int(model.camera(camera).id) if camera else -1
    renderer = CameraRenderer(model, (SIZE, SIZE), [number]) if camera else None

    def run() -> None:
        for _ in range(STEPS):
            env.step(rng.uniform(-1, 1, env.action_dim))
            if renderer is not None:
                renderer.render(data, number)

    return run


def rates(cases: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Steps per second of processor time; the first round of each is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in cases}
    for run in cases.values():
        run()
    for _ in range(rounds):
        for name, run in cases.items():
            start = time.process_time()
            run()
            spent[name].append(time.process_time() - start)
    return {name: STEPS / float(np.median(times)) for name, times in spent.items()}


def episodes_per_minute(episodes: int) -> float:
    """Mixed demonstrations at 64x64 per minute of one core's time, the kitchen's making included."""
    start = time.process_time()
    collect(TASK, episodes, lambda episode: None, workers=1, noise="mixed", image_size=(64, 64))
    return 60 * episodes / (time.process_time() - start)


def megabytes() -> float:
    """Peak resident memory of a process that renders one kitchen."""
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure and print."""
    quick = asked_quick(__doc__)
    os.environ["LP_NUM_THREADS"] = "1"  # the software renderer reads it when its first context is made
    cases = {
        "ours, steps/s": ours(0, render=False),
        "robosuite, steps/s": theirs(0),
        "ours, steps/s with a frame": ours(0, image_size=(SIZE, SIZE)),
        "robosuite, steps/s with a frame": theirs(0, "agentview"),
    }
    found = rates(cases, 3 if quick else 15)
    for what in ("steps/s", "steps/s with a frame"):
        found[f"{what}, ours / robosuite"] = found[f"ours, {what}"] / found[f"robosuite, {what}"]
    found["episodes per minute and core"] = episodes_per_minute(10 if quick else 60)
    found["MB per worker"] = megabytes()
    for name, value in found.items():
        print(f"{name:42}{value:9.1f}{f'  (at least {TARGETS[name]:g})' if name in TARGETS else ''}")
    print(json.dumps({"benchmark": "kitchen", "results": found, "targets": TARGETS, "most_mb": MOST_MB}))


if __name__ == "__main__":
    main()
