"""Policies acting in simulators, in parallel processes."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from robot_pt.errors import UserError
from robot_pt.evaluate import ActingPolicy, PolicyFactory
from robot_pt.results import EpisodeResult
from robot_pt.schema import Episode, Float, Observation, window_of
from robot_pt.simulator import Simulator
from robot_pt_sim.collection import EpisodeStore, Progress, describe, recorder_of
from robot_pt_sim.helping import Operator, StuckHelper
from robot_pt_sim.processes import default_workers, run_jobs
from robot_pt_sim.recording import EpisodeRecorder
from robot_pt_sim.simulators import AnySimulator, build, camera_roles, check_variant, spec_of


def rollouts(
    policy: PolicyFactory,
    task: str,
    seeds: Sequence[int],
    *,
    workers: int | None = None,
    camera: str | Sequence[str] = "primary",
    image_size: tuple[int, int] = (64, 64),
    keep_frames: bool = False,
    out: Callable[[Episode], object] | EpisodeStore | None = None,
    play: int | None = None,
    history: int = 16,
    progress: Progress | None = None,
    apart: bool = False,
    **variant: Any,
) -> Iterator[EpisodeResult]:
    """Yield one result per seed, in the order of `seeds`, as the episodes end.

    `policy`: picklable, called once in every process. Of each chunk it returns, `play` actions are played (None = all);
    it sees the last `history` observations, or as many as it looks at. `keep_frames`: results carry every frame of the first camera.
    `out` is handed every episode (operator "policy"). `apart`: in a process of its own also with one worker, whose death is a UserError then
    and not this process's. `variant`: fields of the task to change, as in `collect`.
    Raises UserError for an unknown task, camera or variant, and for an action that is not finite.
    """
    for name, value in (("play", play), ("history", history)):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}; give at least 1.")
    roles = camera_roles(camera)
    check_variant(task, variant)
    spec_of(task, roles, image_size)
    setup = RolloutSetup(policy, task, roles, image_size, keep_frames, out is not None, play, history, variant)
    count = default_workers() if workers is None else workers
    return _results(setup, list(seeds), count, apart, out, progress)


def _results(
    setup: RolloutSetup,
    seeds: list[int],
    workers: int,
    apart: bool,
    out: Callable[[Episode], object] | EpisodeStore | None,
    progress: Progress | None,
) -> Iterator[EpisodeResult]:
    with closing(run_jobs(setup, seeds, workers, what=f"{setup.task} from seed", apart=apart)) as played:
        for done, (result, episode) in enumerate(played, start=1):
            if out is not None:
                (out.append if isinstance(out, EpisodeStore) else out)(episode)
            if progress is not None:
                progress(done, len(seeds))
            yield result


@dataclass(frozen=True)
class RolloutSetup:
    """Builds the worker of one process."""

    policy: PolicyFactory
    task: str
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    keep_frames: bool
    keep_episode: bool
    play: int | None
    history: int
    variant: Mapping[str, Any]

    def __call__(self) -> RolloutWorker:
        make = partial(build, cameras=self.cameras, image_size=self.image_size, variant=self.variant)
        return RolloutWorker(make(self.task), self.policy(), self)


class RolloutWorker:
    """Plays one episode per seed."""

    def __init__(self, simulator: AnySimulator, policy: ActingPolicy, setup: RolloutSetup):
        self._simulator, self._policy, self._setup = simulator, policy, setup

    def __call__(self, seed: int) -> tuple[EpisodeResult, Episode | None]:
        simulator, setup = self._simulator, self._setup
        version = str(self._policy.version)
        recorder = recorder_of(simulator)
        play_episode(simulator, self._policy, seed, recorder, play=setup.play, history=setup.history)
        episode = recorder.episode(operator="policy", metadata=describe(simulator), policy_version=version)
        frames = episode.images[setup.cameras[0]] if setup.cameras else None
        result = EpisodeResult(
            seed=seed,
            success=bool(episode.success),
            steps=len(episode),
            total_reward=float(episode.rewards.sum()),
            initial_conditions=simulator.initial_conditions(),
            policy_version=version,
            frames=frames if setup.keep_frames and isinstance(frames, np.ndarray) else None,
        )
        return result, episode if setup.keep_episode else None

    def close(self) -> None:
        self._simulator.close()


class Stage:
    """Rollouts in this process, whose simulator is kept for the next ones of its task. To be closed."""

    def __init__(self, *, camera: str | Sequence[str], image_size: tuple[int, int]):
        self._cameras, self._size = camera_roles(camera), image_size
        self._kept: tuple[str, AnySimulator] | None = None

    def __call__(self, policy: PolicyFactory, task: str, seeds: Sequence[int]) -> Iterator[EpisodeResult]:
        """As `rollouts` with one worker: one result per seed, in their order."""
        if "tensorflow" in sys.modules:  # which cannot live beside a software renderer
            yield from rollouts(policy, task, seeds, workers=1, camera=self._cameras, image_size=self._size)
            return
        setup = RolloutSetup(policy, task, self._cameras, self._size, False, False, None, 16, {})
        worker = RolloutWorker(self._simulator(task), policy(), setup)
        for seed in seeds:
            try:
                result, _ = worker(seed)
            except BaseException:  # an episode that was cut, or a renderer that failed: nobody goes on with this one
                self.close()
                raise
            yield result

    def _simulator(self, task: str) -> AnySimulator:
        if self._kept is None or self._kept[0] != task:
            self.close()
            self._kept = task, build(task, cameras=self._cameras, image_size=self._size, variant={})
        return self._kept[1]

    def close(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None


class EpisodePlayer:
    """One simulator of one task, an episode per call: the player of an online actor (`robot_pt.online.actor`)."""

    def __init__(
        self, task: str, cameras: Sequence[str], image_size: tuple[int, int], *, help_after_s: float | None = None
    ):
        """`help_after_s`: a scripted operator takes over where the policy is stuck then, see `StuckHelper`. None: nobody does."""
        self._simulator = build(task, cameras=tuple(cameras), image_size=image_size, variant={})
        self._operator = None if help_after_s is None else StuckHelper(self._simulator, help_after_s)

    def __call__(self, policy: ActingPolicy, seed: int) -> Episode:
        """From the start that `seed` makes to the end, stepped as in an evaluation."""
        recorder = recorder_of(self._simulator)
        play_episode(self._simulator, policy, seed, recorder, beside=self._operator)
        return recorder.episode(
            operator="policy", metadata=describe(self._simulator), policy_version=str(policy.version)
        )

    def close(self) -> None:
        self._simulator.close()


@runtime_checkable
class Hearing(Protocol):
    """A policy that may be conditioned on a sentence, as `robot_pt.policy.Policy`."""

    @property
    def hears(self) -> bool: ...

    def reset(self, task: str | None, instruction: str | None = None, /) -> None: ...


def play_episode(
    simulator: Simulator,
    policy: ActingPolicy,
    seed: int,
    recorder: EpisodeRecorder,
    *,
    play: int | None = None,
    history: int = 16,
    beside: Operator | None = None,
) -> None:
    """Reset both and step until the episode ends, recording every step. `beside`: who may take over; the policy is asked all the same."""
    if isinstance(policy, Hearing) and policy.hears:
        policy.reset(simulator.task, simulator.instruction)
    else:
        policy.reset(simulator.task)
    observation = simulator.reset(seed)
    if beside is not None:
        beside.begin(seed)
    seen: deque[Observation] = deque([observation], maxlen=max(history, window_of(policy)))
    while True:
        for action in _chunk(policy, seen, play):
            taken = None if beside is None else beside(len(recorder))
            result = simulator.step(action if taken is None else taken)
            driver = "" if taken is None else "intervention"
            recorder.add(observation, action if taken is None else taken, result, driver=driver)
            observation = result.observation
            seen.append(observation)
            if result.terminated or result.truncated:
                return


def _chunk(policy: ActingPolicy, seen: Sequence[Observation], play: int | None) -> Float:
    chunk = np.asarray(policy.act(list(seen)), np.float32)
    if chunk.ndim != 2 or len(chunk) == 0:
        raise UserError(
            f"policy {policy.version!r} returned an action chunk of shape {chunk.shape}; it must be (steps, action numbers)."
        )
    return chunk[:play]
