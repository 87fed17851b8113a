"""`robot-pt online`: a pretrained policy collects, the demo store grows, the learner improves it, the actors take the better one.

Actors are processes of their own, on this machine or on others that see the run's folder; the learner is this process. Either
may be killed at any time; `--resume` goes on with the same counters.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch

from robot_pt import checkpoint
from robot_pt.agents import Agent
from robot_pt.agents.encoded import FrozenEncoders
from robot_pt.distributed import Ranks, processes
from robot_pt.errors import DataError, UserError
from robot_pt.online import serving
from robot_pt.online.actor import LEARNER, Actor, ActorSettings, store_of
from robot_pt.online.arrivals import ArrivalLog
from robot_pt.online.follower import StoreFollower
from robot_pt.online.hearts import Heart
from robot_pt.online.intake import Intake
from robot_pt.online.learner import OnlineLearner, Pace
from robot_pt.online.locks import held
from robot_pt.online.mirror import Mirror, MirrorThread
from robot_pt.online.pools import ActorPool, LocalStarter, RobotCrew, Starter, SupervisedPool, python
from robot_pt.online.publishing import Publisher
from robot_pt.online.replay import OnlineReplay
from robot_pt.online.together import Helper, Lead
from robot_pt.online.verdicts import EpisodeJudge
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import loop, online_report, runs
from robot_pt.recipes import online_setup as setup
from robot_pt.recipes.datasets import Reading
from robot_pt.recipes.finetune import Origin, origin_of
from robot_pt.recipes.online_screen import Watch
from robot_pt.recipes.online_setup import Plan, Wanted
from robot_pt.recipes.progress import say, warn
from robot_pt.remote_files import remote_url
from robot_pt.safe_files import read_json
from robot_pt.schema import Episode, Spec
from robot_pt.sources import EpisodeSource
from robot_pt.stopping import asked_to_stop
from robot_pt.store import DemoStore
from robot_pt.success.classifier import SuccessClassifier
from robot_pt.tasks import TaskTable


class Prepared(NamedTuple):
    """Everything a learner needs, checked before anything starts."""

    wanted: Wanted
    settings: runs.RunSettings
    plan: Plan
    spec: Spec
    sources: Mapping[str, EpisodeSource]
    tasks: TaskTable
    agent: Agent
    origin: Origin
    ranks: Ranks
    judge: EpisodeJudge | None


def online(
    start: Path, out: Path, wanted: Wanted, *, resume: bool = False, reading: Reading | None = None, ray: str = ""
) -> dict[str, Any]:
    """Improve run `start` on the job, in `out`. Raises UserError and its kinds for whatever cannot be used.

    A resumed run may have another end, pace and limits, and other stores to follow; its actors read them in config.json.
    """
    if resume and checkpoint.steps(out):
        setup.require_same(out, wanted)
    with processes() as ranks:
        prepared = _prepare(start, out, wanted, resume, reading or Reading(), ranks)
        runs.start_or_resume(
            out,
            "online",
            prepared.settings,
            wanted.to_json(),
            resume=resume,
            write=ranks.is_first,
            origin=prepared.origin._asdict(),
        )
        if not (resume and checkpoint.steps(out)):
            same = prepared.settings.algorithm == runs.read_settings(start)[0].algorithm
            setup.load_start(prepared.agent, prepared.origin.folder(start), same_algorithm=same, options=wanted.options)
        if not ranks.is_first:
            with asked_to_stop():  # which the first is too, and says
                return _help(out, prepared, resume)
        with held(out / "locks" / "learner.lock", f"a learner of {out}"), asked_to_stop() as stop:
            runs.keep_arguments(out, wanted.to_json())
            return _learn(out, prepared, _pool(out, wanted, ray), stop, resume)


def act(out: Path, index: int) -> dict[str, Any]:
    """Be actor `index` of the run in `out`: what the learner starts, or a person on another machine."""
    wanted = Wanted.of_run(out)
    settings, _ = runs.read_settings(out)
    trained = PolicyRecord.from_json(read_json(_first_policy(out) / "policy.json"))
    spec = setup.spec_of_episodes(trained, wanted)

    def player() -> Any:
        from robot_pt_sim.rollouts import EpisodePlayer

        return EpisodePlayer(wanted.task, trained.cameras, trained.image_size, help_after_s=wanted.help_after)

    actor = ActorSettings(
        run=out, index=index, actors=wanted.actors, episodes=wanted.episodes, spec=spec, seed=wanted.seed,
        std=setup.exploration(settings, wanted), ahead=wanted.ahead,
    )  # fmt: skip
    torch.set_num_threads(1)
    with asked_to_stop() as stop:
        played = Actor(actor, player, stop).run()
    return {"run": str(out), "actor": index, "episodes": played, "of": actor.share}


def rollback(out: Path) -> dict[str, Any]:
    """Serve the version before, until `release`."""
    back = serving.rollback(out)
    return {"run": str(out), "serving": back.number, "version": back.version, "step": back.step, "held": True}


def release(out: Path) -> dict[str, Any]:
    """Let the learner publish again after a rollback."""
    free = serving.release(out)
    return {"run": str(out), "serving": free.number, "version": free.version, "step": free.step, "held": False}


def _prepare(start: Path, out: Path, wanted: Wanted, resume: bool, reading: Reading, ranks: Ranks) -> Prepared:
    before, document = runs.read_settings(start)
    settings = setup.settings_of(before, wanted)
    origin = origin_of(start, out, resume)
    trained = PolicyRecord.from_json(read_json(origin.folder(start) / "policy.json"))
    spec = setup.spec_of_episodes(trained, wanted)
    sources = setup.open_sources(
        out, wanted, reading, settings.algorithm, own_rewards=settings.reward.source == "stored"
    )
    tasks = setup.task_table(trained, start, wanted, sources)
    agent = settings.build(spec, ranks.device)
    agent.grad_sync = ranks.mean_gradients
    plan = setup.plan_of(agent, wanted, settings, document)
    settings = replace(settings, batch_size=plan.batch_size)
    return Prepared(
        wanted, settings, plan, spec, sources, tasks, agent, origin, ranks, _judge(out, wanted, settings, spec)
    )


def _judge(out: Path, wanted: Wanted, settings: runs.RunSettings, spec: Spec) -> EpisodeJudge | None:
    """The classifier that says which episodes succeeded.

    Raises DataError for a folder that is none, MismatchError for another camera, UserError where success is no reward.
    """
    if wanted.judge is None:
        return None
    if settings.reward.source != "success":
        raise UserError(
            "--judge says which episodes succeeded, and the RUN learns from stored rewards; leave it out, or start from another RUN."
        )
    simulated = [store_of(out, i) for i in range(wanted.actors)]
    return EpisodeJudge(SuccessClassifier.load(wanted.judge), spec, simulated=simulated)


def _learn(out: Path, it: Prepared, pool: ActorPool | None, stop: threading.Event, resume: bool) -> dict[str, Any]:
    began = time.monotonic()
    heart = Heart(out, LEARNER, "learner")
    heart.beat("starting")
    resumed = checkpoint.resume(out, it.agent) if resume and checkpoint.steps(out) else None
    record = runs.record(it.agent, it.settings, it.spec, it.tasks, _trained_on(it.sources))
    replay = _replay(out, it)
    log = ArrivalLog(out / "arrivals.jsonl")

    def usable(episode: Episode) -> None:
        replay.columns(episode)

    mirrors = _mirrors(out, it.wanted)
    follower = StoreFollower(
        [*_actor_stores(out, it), *_followed(it.wanted), *(m.folder for m in mirrors)], it.spec, cameras=it.settings.cameras,
        seen=[arrival.key for arrival in log.entries], usable=usable,
    )  # fmt: skip
    publisher = Publisher(out, record, it.wanted.limits())
    watch = Watch(out, it.settings, it.wanted, start_version=it.origin.version)
    learner = OnlineLearner(
        it.agent, replay, Intake(log, follower, replay, it.judge), it.plan.budget, publisher, heart, pool or RobotCrew(out), _saver(out, it.agent, record),
        it.origin.step, pace=Pace(checkpoint_every=it.wanted.checkpoint_every, publish_every=it.wanted.publish_every),
        device=it.ranks.device, observers=watch.observers, watchers=[watch], lead=Lead(it.ranks),
    )  # fmt: skip
    learner.intake.on_join.append(watch.arrived)
    with replay, closing(MirrorThread(mirrors)) as mirroring:
        learner.troubles_elsewhere = mirroring.troubles
        if resumed is not None:
            learner.resume(loop.position(resumed.state, "online", resumed.step, out))
            say(f"resumed at {learner.updates} online updates and {len(learner.intake.joined)} episodes.")
        it.ranks.wait()  # no checkpoint is written before all have read the last one
        learner.publish()  # what the actors start with
        if pool is not None:
            pool.start()
        try:
            metrics = learner.run(stop)
        finally:
            if pool is not None:
                pool.stop()
            page = online_report.write(out, it.settings, it.sources, log.entries, watch)
            learner.lead.end()
    return online_report.result(out, it.origin, learner, metrics, page, watch, time.monotonic() - began)


def _help(out: Path, it: Prepared, resume: bool) -> dict[str, Any]:
    """Be another process of the learner."""
    if resume and checkpoint.steps(out):
        checkpoint.resume(out, it.agent)
    replay = _replay(out, it)
    it.ranks.wait()
    with replay:
        return {"updates": Helper(it.agent, replay, out / "arrivals.jsonl", it.ranks, it.origin.step).run()}


def _replay(out: Path, it: Prepared) -> OnlineReplay:
    """What the learner draws from, its agent loaded: of frozen encoders what they make of each frame, once."""
    look = None
    if it.settings.frozen == "encoder" and setup.encodes_once(it.settings):
        look = FrozenEncoders.of(it.agent, it.settings.camera, it.settings.image_size)
        if look is None:
            warn(
                f"{it.settings.algorithm} has an image encoder beside actor and critic, which learns: no features are kept, updates see frames."
            )
    return setup.replay_of(
        it.settings, it.wanted, it.plan, it.sources, it.tasks, it.spec, it.ranks, look=look, features=out / "features"
    )  # fmt: skip


def _saver(out: Path, agent: Agent, record: PolicyRecord) -> Callable[[int, dict[str, Any]], None]:
    def save(step: int, state: dict[str, Any]) -> None:
        checkpoint.save(out, step, agent, record, {"online": state}, keep=2, keep_policies=2)

    return save


def _trained_on(sources: Mapping[str, EpisodeSource]) -> list[dict[str, Any]]:
    return [
        {**row, "name": f"{name}: {row['name']}"} for name, source in sources.items() for row in loop.trained_on(source)
    ]


def _actor_stores(out: Path, it: Prepared) -> list[Path]:
    """The actors' stores, made here so that a run whose folder cannot hold them is refused at once."""
    return [DemoStore.create(store_of(out, i), it.spec, exist_ok=True).path for i in range(it.wanted.actors)]


def _followed(wanted: Wanted) -> list[Path]:
    """The stores on this machine that others write."""
    return [Path(place) for place in wanted.follow if remote_url(place) is None]


def _mirrors(out: Path, wanted: Wanted) -> list[Mirror]:
    """Local copies of the stores elsewhere that others write."""
    urls = [url for place in wanted.follow if (url := remote_url(place)) is not None]
    return [Mirror(url, out / "mirrors" / sha256(url.encode()).hexdigest()[:10]) for url in urls]


def _pool(out: Path, wanted: Wanted, ray: str) -> ActorPool | None:
    """The actors; None where a robot brings the episodes."""
    if not wanted.actors:
        return None
    where = out.absolute()
    commands = [
        python("-m", "robot_pt", "online", "--actor", str(i), "--out", str(where)) for i in range(wanted.actors)
    ]
    shares = [len(range(i, wanted.episodes, wanted.actors)) for i in range(wanted.actors)]
    starter: Starter = LocalStarter()
    if ray:
        from robot_pt.online.ray_starter import RayStarter

        starter = RayStarter(None if ray == "local" else ray)
    return SupervisedPool(out, commands, shares, starter)


def _first_policy(out: Path) -> Path:
    """A policy of the run, from which an actor learns what it has to offer; waits while the learner starts."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return checkpoint.resolve(out)
        except DataError:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{out} has published no policy yet; start its learner with `robot-pt online`."
                ) from None
            time.sleep(0.2)
