"""benchmarks/ptr_places.py: told from features that hold places and from ones that do not; a policy that is told wrong places."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robot_pt.schema import Observation

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ptr_arrangements
import ptr_places
import ptr_sight


def drawn(rng: np.random.Generator, count: int, hold: float) -> ptr_places.Seen:
    """Places 5 cm around their mean on each axis, features that hold them or not beside six that say nothing."""
    place = rng.normal(0.0, 0.05, (count, 4)).astype(np.float32)
    blind = rng.normal(size=(count, 6)).astype(np.float32)
    return ptr_places.Seen(np.concatenate([hold * 20 * place, blind], axis=1), place)


def test_places_are_told_where_features_hold_them_and_not_otherwise() -> None:
    rng = np.random.default_rng(0)
    held = ptr_places.told(drawn(rng, 300, 1.0), drawn(rng, 200, 1.0), drawn(rng, 900, 1.0))
    assert held == {"thing_cm": 0.0, "goal_cm": 0.0}
    lost = ptr_places.told(drawn(rng, 300, 0.0), drawn(rng, 2000, 0.0), None)
    assert lost["thing_cm"] == pytest.approx(5 * np.sqrt(2 * np.log(2)), abs=0.6), "no better than the mean place"


def test_a_network_tells_the_places_of_a_task_among_others() -> None:
    rng = np.random.default_rng(0)

    def of(task: str, sign: int, count: int) -> ptr_places.Seen:
        seen = drawn(rng, count, 1.0)
        return replace(seen, features_nD=seen.features_nD * sign, task_n=[task] * count)

    robot, target = of("a", 1, 600), of("b", -1, 300)
    same, blind = ptr_places.learned(target, robot, [of("b", -1, 200), drawn_blind(rng, "b", 200)])
    assert max(same.values()) < 2.5, "which feature means what is the task's own"
    assert min(blind.values()) > 4.0


def drawn_blind(rng: np.random.Generator, task: str, count: int) -> ptr_places.Seen:
    return replace(drawn(rng, count, 0.0), task_n=[task] * count)


def test_what_a_detector_tells_is_compared_with_where_things_are(monkeypatch) -> None:
    shots = ptr_arrangements.shots("kitchen/put-carrot-on-plate@1", 50_000, 2, moved=False)
    slots = [ptr_arrangements.KINDS.index(kind) for kind in ("carrot", "plate")]
    parts = []
    for slot, off_m, turned in ((slots[0], 0.03, 0.2), (slots[1], 0.01, 0.0)):
        place = shots.place_NK4[:, slot] + np.array([off_m, 0, 0, turned], np.float32)
        told = ptr_sight.from_hand(place, shots.proprio_NP)
        parts += [told, place[:, :2] / ptr_sight.UNIT_M, np.zeros((2, 2), np.float32)]
    monkeypatch.setattr(ptr_sight, "read_off", lambda *_: np.concatenate(parts, axis=1))
    found = ptr_places.outright(ptr_sight.Detector(), shots)
    assert found == {"thing_cm": [3.0, 3.0], "thing_yaw_deg": [11.0, 11.0], "goal_cm": [1.0, 1.0]}


class Told:
    """Keeps what it was told."""

    version, window = "told", 1
    spec = SimpleNamespace(proprio_names=("x", *ptr_places.PLACES))

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def reset(self, task: str | None) -> None:
        pass

    def act(self, history):
        self.seen.append(history[-1].proprio)
        return np.zeros((1, 7), np.float32)


def played(error_cm: float, starts: list[int]) -> np.ndarray:
    """(episodes, 2 steps, 5) how far off what the policy was told is."""
    inner = Told()
    policy = ptr_places.Mistaken(inner, error_cm)
    shown = [np.array([x, start, 0, 0, 0], np.float32) for start in starts for x in (0.0, 1.0)]
    for step, row in enumerate(shown):
        if step % 2 == 0:
            policy.reset("any")
        policy.act([Observation({}, row)])
    return (np.stack(inner.seen) - np.stack(shown)).reshape(len(starts), 2, 5)


def test_a_mistaken_policy_is_wrong_by_the_error_all_through_an_episode() -> None:
    off = played(2.0, list(range(400)))
    np.testing.assert_allclose(off[:, 0], off[:, 1], atol=1e-4)
    assert not off[:, :, 0].any(), "the arm is where it is"
    for part in (slice(1, 3), slice(3, 5)):
        assert np.median(np.linalg.norm(off[:, 0, part], axis=1)) == pytest.approx(0.02, rel=0.15)
    np.testing.assert_array_equal(
        played(2.0, [7, 3])[0], played(2.0, [5, 7])[1], "by the start, whatever was played before"
    )
    assert not played(0.0, [1]).any()
