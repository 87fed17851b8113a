"""How far off the places lie that a frozen encoder's features tell on demonstrations nobody trained on, and what such an error costs.

    python benchmarks/ptr_places.py RUN --task kitchen/put-carrot-on-plate@5 --data runs/ptr --seed 0

reads the thing's and the goal's places off the features by ridge regression (`told`), from the target's own demonstrations alone or with the robot
data beside them, and by a small network that knows the task (`learned`), and lets RUN, a cell that sees the state, act from the cell's own starts with both places wrong by as much all through an episode
(`acted`). Needs data and encoder of the version "features" in --data.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import ptr_arrangements
import ptr_data
import ptr_sight
import torch
from ptr_cell import ENCODER, QUICK
from ptr_look import SEED, Look, Looking, Sight
from torch import nn
from torch.nn.functional import one_hot, smooth_l1_loss

from robot_pt.errors import UserError
from robot_pt.evaluate import evaluate
from robot_pt.policy import Policy
from robot_pt.probes.linear import PENALTIES, Array, Ridge, Scale
from robot_pt.recipes.origins import Origin
from robot_pt.schema import Float, Observation
from robot_pt.sources import EpisodeSource
from robot_pt_sim.kitchen.seen import NAMES
from robot_pt_sim.kitchen.seen import seen as state_seen
from robot_pt_sim.kitchen.splits import PRETRAINING_SCENES
from robot_pt_sim.kitchen.tasks import TASKS, find_kitchen
from robot_pt_sim.kitchen.twin import KitchenSimulator
from robot_pt_sim.rollouts import rollouts

PLACES = ("thing_x", "thing_y", "goal_x", "goal_y")
MEDIAN = float(np.sqrt(2 * np.log(2)))
"""Of the length of an error in x and y that are each normal with deviation 1."""
STARTS, FIRST_START = 80, 700_000
OWN = 18
"""Of its own arrangements a detector is asked for each so many-th."""
READING, UNIT_M = 2500, 0.05
"""Updates of the network that reads places, and the unit it reads them in."""
ERRORS_CM = (0.0, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Seen:
    """Steps as features of their frames, and where things are."""

    features_nD: Float
    place_nK: Float  # [m], K as PLACES
    task_n: Sequence[str] = ()


def seen(frames: EpisodeSource, state: EpisodeSource, look: Looking, cache: Path) -> Seen:
    """Both sources hold the same episodes."""
    columns = [state.spec.proprio_names.index(name) for name in PLACES]
    rows = ptr_data.rows
    places = state.proprio[rows(state)][:, columns]
    return Seen(look.through(frames, cache).proprio[rows(frames)], places, ptr_data.tasks_of(frames))


def looked_at(data: Path, task: str, seed: int, look: Looking) -> tuple[Seen, Seen, Seen]:
    """The target's demonstrations to learn from and to judge by, and the robot data, of what benchmarks/ptr.py left in `data`."""
    frames, state = (ptr_data.target(data, version, task, seed) for version in ("features", "state"))
    robot = [ptr_data.pretraining(data, version, QUICK.data) for version in ("features", "state")]
    pairs = ((frames.train, state.train), (frames.judges, state.judges), (robot[0], robot[1]))
    train, judges, beside = (seen(one, other, look, data / "features") for one, other in pairs)
    return train, judges, beside


def at_starts(task: str, look: Looking) -> Seen:
    """First observations of starts that nobody trains on: nothing of where the thing is can be told from where the hand is."""
    size, eyes, place = (ptr_data.IMAGE_SIZE, ptr_data.IMAGE_SIZE), look.eyes(), [NAMES.index(n) for n in PLACES]
    simulator = KitchenSimulator(find_kitchen(task), cameras=ptr_data.CAMERAS, image_size=size)
    features, places = [], []
    for seed in range(FIRST_START, FIRST_START + STARTS):
        features.append(eyes.seen(simulator.reset(seed), task.split("@")[0]).proprio)
        places.append(state_seen(simulator.definition, simulator.state().objects)[place])
    simulator.close()
    return Seen(np.stack(features), np.stack(places).astype(np.float32), [task.split("@")[0]] * STARTS)


def outright(detector: ptr_sight.Detector, shots: ptr_arrangements.Shots) -> dict[str, list[float]]:
    """Median and 80th percentile of how far off the places [cm] and the thing's yaw [degrees] are that a detector itself tells."""
    kinds = [ptr_arrangements.kinds_of(TASKS[task]) for task in shots.task]
    slots = np.array([[ptr_arrangements.KINDS.index(kind) for kind in pair] for pair in kinds])
    read = ptr_sight.read_off(detector, shots.images, shots.proprio_NP, shots.task).reshape(
        len(kinds), 2, ptr_sight.ONE
    )
    told = len(ptr_sight.TOLD)
    found = {}
    for one, name in enumerate(("thing_cm", "goal_cm")):
        place = shots.place_NK4[np.arange(len(kinds)), slots[:, one]]
        off = np.linalg.norm(read[:, one, told : told + 2] * ptr_sight.UNIT_M - place[:, :2], axis=1)
        found[name] = (100 * np.percentile(off, (50, 80))).round(1).tolist()
        if one == 0:
            true, turn = ptr_sight.from_hand(place, shots.proprio_NP)[:, 3:5], read[:, 0, 3:5]
            cosine = (true * turn).sum(1) / np.linalg.norm(turn, axis=1)
            yaw = np.degrees(np.arccos(cosine.clip(-1, 1))) / 2
            found["thing_yaw_deg"] = np.percentile(yaw, (50, 80)).round(0).tolist()
    return found


def look_of(encoders: Path, objective: str, cameras: Sequence[str]) -> Looking:
    """What benchmarks/ptr.py left in `encoders`."""
    if objective == "sight":
        return Sight(ptr_sight.kept_in(encoders, SEED, QUICK.encoder_updates))
    return Look(tuple(Origin.of(encoders / f"{objective}-{camera}-{SEED}") for camera in cameras))


def told(target: Seen, judges: Seen, robot: Seen | None) -> dict[str, float]:
    """Median distance [cm] of the places told from the true ones on `judges`, with the penalty that suits them best, so at least so far;
    the robot data, where given, weighs as much as the target's demonstrations."""
    x, y = target.features_nD, target.place_nK
    if robot is not None:
        often = max(1, len(robot.features_nD) // len(x))
        x = np.concatenate([robot.features_nD, np.tile(x, (often, 1))])
        y = np.concatenate([robot.place_nK, np.tile(y, (often, 1))])
    scale = Scale.of(x)
    ridge, looked_at = Ridge(scale(x)), scale(judges.features_nD)
    weights = [ridge.weights(y.astype(np.float64), penalty) for penalty in PENALTIES]
    return least([looked_at @ w + offset for w, offset in weights], judges.place_nK)


def learned(target: Seen, robot: Seen, judged: Sequence[Seen]) -> list[dict[str, float]]:
    """As `told`, on each of `judged`, by a small network that knows the task: robot data, a tenth of each batch the target's demonstrations."""
    torch.manual_seed(0)
    tasks, scale = sorted({*robot.task_n, *target.task_n}), Scale.of(robot.features_nD)

    def inputs(seen: Seen) -> torch.Tensor:
        slots = torch.tensor([tasks.index(task) for task in seen.task_n])
        return torch.cat([torch.from_numpy(scale(seen.features_nD)).float(), one_hot(slots, len(tasks)).float()], 1)

    (x, y), (own, its) = ((inputs(s), torch.from_numpy(s.place_nK / UNIT_M)) for s in (robot, target))
    net = nn.Sequential(nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Linear(128, len(PLACES)))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, READING)
    for _ in range(READING):
        some, few = torch.randint(len(x), (58,)), torch.randint(len(own), (6,))
        guess = net(torch.cat([x[some], own[few]]))
        loss = smooth_l1_loss(guess, torch.cat([y[some], its[few]]), beta=0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return [least([UNIT_M * net(inputs(seen)).numpy()], seen.place_nK) for seen in judged]


def least(guesses: Sequence[Array | Float], place_nK: Float) -> dict[str, float]:
    """Of several guesses that with the smallest sum of both median distances [cm]."""
    found = [_distances(guess - place_nK) for guess in guesses]
    thing, goal = min(found, key=sum)
    return {"thing_cm": round(thing, 1), "goal_cm": round(goal, 1)}


def _distances(error_nK: Array | Float) -> tuple[float, float]:
    thing, goal = (np.median(np.linalg.norm(error_nK[:, part], axis=1)) for part in (slice(0, 2), slice(2, 4)))
    return 100 * float(thing), 100 * float(goal)


@final
@dataclass
class Mistaken:
    """A policy of the state that is told wrong places: normal errors of a median length, the same for all of an episode and for equal starts."""

    policy: Policy
    error_cm: float
    version: str = "mistaken"
    window: int = 1
    _offset: Float | None = field(default=None, init=False)

    def reset(self, task: str | None) -> None:
        self.policy.reset(task)
        self._offset = None

    def act(self, history: Sequence[Observation]) -> Float:
        """As `robot_pt.policy.Policy.act`."""
        now = history[-1]
        columns = [self.policy.spec.proprio_names.index(name) for name in PLACES]
        if self._offset is None:
            rng = np.random.default_rng(np.frombuffer(now.proprio.astype(np.float32).tobytes(), np.uint32))
            self._offset = rng.normal(0.0, self.error_cm / 100 / MEDIAN, len(PLACES)).astype(np.float32)
        wrong = now.proprio.copy()
        wrong[columns] += self._offset
        return self.policy.act([now._replace(proprio=wrong)])


def acted(run: Path, task: str, seed: int, episodes: int) -> Mapping[float, int]:
    """Error [cm] -> successes from the starts of the cell."""
    found, size = {}, (ptr_data.IMAGE_SIZE, ptr_data.IMAGE_SIZE)
    for error in ERRORS_CM:
        play = partial(rollouts, partial(_load, run, error), task, workers=1, camera=(), image_size=size)
        played = evaluate(play, task=task, episodes=episodes, seed=seed, name=f"{run.name}-{error}")
        found[error] = sum(bool(result.success) for result in played.results)
    return found


def _load(run: Path, error_cm: float) -> Mistaken:
    torch.set_num_threads(1)
    return Mistaken(Policy.load(run), error_cm)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", help="none: features alone are read")
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", type=Path, default=Path("runs/ptr"), help="--out of benchmarks/ptr.py")
    parser.add_argument("--seed", type=int, default=0, help="of the cell, which draws demonstrations and starts")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--objective", default=ENCODER, help="whose encoders")
    parser.add_argument("--cameras", default=",".join(ptr_data.CAMERAS), help="comma-separated")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        report(options)
    except UserError as error:
        raise SystemExit(str(error)) from None


def say_outright(task: str, look: Sight, folder: Path) -> None:
    """What the detector reads off first observations: of its own arrangements, of other starts of the task in its kitchens, of the target's."""
    (name, _, scene), detector = task.partition("@"), ptr_sight.opened(look.path)
    own = ptr_arrangements.arrangements(folder)
    first = np.arange(0, len(own.task), OWN * ptr_arrangements.FRAMES)
    print(json.dumps({"read off its own arrangements": outright(detector, ptr_sight.some(own, first))}))
    for kitchen in (*PRETRAINING_SCENES, int(scene)):
        shots = ptr_arrangements.shots(f"{name}@{kitchen}", FIRST_START, STARTS, moved=False)
        print(json.dumps({f"read off other starts of {name}@{kitchen}": outright(detector, shots)}))


def report(options: argparse.Namespace) -> None:
    look = look_of(options.data / "encoders", options.objective, options.cameras.split(","))
    if isinstance(look, Sight):
        say_outright(options.task, look, options.data / "encoders" / "sight")
    train, judges, robot = looked_at(options.data, options.task, options.seed, look)
    constant = np.broadcast_to(train.place_nK.mean(0), judges.place_nK.shape)
    print(json.dumps({"one place for all": least([constant], judges.place_nK)}))
    print(json.dumps({"from demonstrations": told(train, judges, None), "steps": len(train.place_nK)}))
    print(json.dumps({"and robot data": told(train, judges, robot), "steps": len(robot.place_nK)}))
    starts = at_starts(options.task, look)
    at_judges, at_first = learned(train, robot, [judges, starts])
    print(json.dumps({"and robot data, by a network": at_judges}))
    constant = np.broadcast_to(train.place_nK.mean(0), starts.place_nK.shape)
    print(
        json.dumps(
            {"the same at first observations": at_first, "one place for all": least([constant], starts.place_nK)}
        )
    )
    if options.run is not None:
        print(json.dumps({"successes by error [cm]": acted(options.run, options.task, options.seed, options.episodes)}))


if __name__ == "__main__":
    main()
