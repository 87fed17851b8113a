"""How far off the places lie that a frozen encoder's features tell on demonstrations nobody trained on, and what such an error costs.

    python benchmarks/ptr_places.py RUN --task kitchen/put-carrot-on-plate@5 --data runs/ptr --seed 0

reads the thing's and the goal's places off the features by ridge regression (`told`), from the target's own demonstrations alone or with the robot
data beside them, and lets RUN, a cell that sees the state, act from the cell's own starts with both places wrong by as much all through an episode
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
import ptr_data
import torch
from ptr_cell import ENCODER, QUICK
from ptr_look import SEED, Look

from robot_pt.errors import UserError
from robot_pt.evaluate import evaluate
from robot_pt.policy import Policy
from robot_pt.probes.linear import PENALTIES, Array, Ridge, Scale
from robot_pt.recipes.origins import Origin
from robot_pt.schema import Float, Int, Observation
from robot_pt.sources import EpisodeSource
from robot_pt_sim.rollouts import rollouts

PLACES = ("thing_x", "thing_y", "goal_x", "goal_y")
MEDIAN = float(np.sqrt(2 * np.log(2)))
"""Of the length of an error in x and y that are each normal with deviation 1."""
ERRORS_CM = (0.0, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Seen:
    """Steps as features of their frames, and where things are."""

    features_nD: Float
    place_nK: Float  # [m], K as PLACES


def seen(frames: EpisodeSource, state: EpisodeSource, look: Look, cache: Path) -> Seen:
    """Both sources hold the same episodes."""
    columns = [state.spec.proprio_names.index(name) for name in PLACES]
    return Seen(look.through(frames, cache).proprio[_rows(frames)], state.proprio[_rows(state)][:, columns])


def looked_at(data: Path, task: str, seed: int, objective: str, cameras: Sequence[str]) -> tuple[Seen, Seen, Seen]:
    """The target's demonstrations to learn from and to judge by, and the robot data, of what benchmarks/ptr.py left in `data`, through that
    objective's encoders of these cameras."""
    look = Look(tuple(Origin.of(data / "encoders" / f"{objective}-{camera}-{SEED}") for camera in cameras))
    frames, state = (ptr_data.target(data, version, task, seed) for version in ("features", "state"))
    robot = [ptr_data.pretraining(data, version, QUICK.data) for version in ("features", "state")]
    pairs = ((frames.train, state.train), (frames.judges, state.judges), (robot[0], robot[1]))
    train, judges, beside = (seen(one, other, look, data / "features") for one, other in pairs)
    return train, judges, beside


def _rows(source: EpisodeSource) -> Int:
    table = source.episodes
    return np.concatenate([np.arange(s, s + n) for s, n in zip(table.start, table.length, strict=True)])


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


def report(options: argparse.Namespace) -> None:
    train, judges, robot = looked_at(
        options.data, options.task, options.seed, options.objective, options.cameras.split(",")
    )
    constant = np.broadcast_to(train.place_nK.mean(0), judges.place_nK.shape)
    print(json.dumps({"one place for all": least([constant], judges.place_nK)}))
    print(json.dumps({"from demonstrations": told(train, judges, None), "steps": len(train.place_nK)}))
    print(json.dumps({"and robot data": told(train, judges, robot), "steps": len(robot.place_nK)}))
    if options.run is not None:
        print(json.dumps({"successes by error [cm]": acted(options.run, options.task, options.seed, options.episodes)}))


if __name__ == "__main__":
    main()
