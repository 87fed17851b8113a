"""What `robot-pt online` was asked for, and what follows from it: settings, update ratio, sources, task slots, replay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from robot_pt import checkpoint
from robot_pt.agents import Agent
from robot_pt.agents.off_policy import Positive
from robot_pt.agents.taking_over import take_over
from robot_pt.distributed import Ranks
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.features import Looks
from robot_pt.online.actor import store_of
from robot_pt.online.budget import Alternation, Budget
from robot_pt.online.publishing import CheckLimits
from robot_pt.online.replay import OnlineReplay
from robot_pt.policy_record import PolicyRecord, require_fits
from robot_pt.recipes import algorithms, cal_ql_domains, runs
from robot_pt.recipes.algorithms import ALGORITHMS, Algorithm
from robot_pt.recipes.datasets import Reading, open_all
from robot_pt.recipes.finetune import tasks_with
from robot_pt.recipes.limits import at_least
from robot_pt.recipes.options import changed
from robot_pt.recipes.progress import say, warn
from robot_pt.recipes.sim_versions import of_stores, of_task, together
from robot_pt.recipes.target import prior_of
from robot_pt.remote_files import remote_url, require_place
from robot_pt.schema import Spec
from robot_pt.simulated import versions_of
from robot_pt.sources import EpisodeSource
from robot_pt.tasks import PLACE, TaskTable


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The command line, as config.json keeps it: actors and a resumed learner read it there. None leaves it to the algorithm."""

    task: str = ""
    """Simulated task the actors play; empty without actors."""
    episodes: int = 200
    """Episodes of all actors together."""
    actors: int = 1
    follow: tuple[str, ...] = ()
    """Further stores to follow, such as a robot's."""
    data: tuple[str, ...] = ()
    target: str | None = None
    algorithm: Algorithm | None = None
    freeze_encoder: bool = False
    options: tuple[str, ...] = ()
    """Fields of the algorithm's config, NAME=VALUE."""
    offline_share: float | None = None
    target_share: float = 0.0
    intervention_share: float = 0.0
    help_after: float | None = None
    """Seconds into a simulated episode after which a scripted operator takes over where the policy is stuck."""
    credit_help: bool = False
    """Own steps before a takeover are worth what the person reached."""
    utd: float | None = None
    warm_up: int | None = None
    alternation: Alternation = "trajectory"
    ahead: int = 1
    """Episodes an actor may be ahead of the learner."""
    updates: int | None = None
    hours: float | None = None
    batch_size: int | None = None
    noise: float | None = None
    bound_share: float = 1.0
    max_change: float | None = None
    judge: str | None = None
    """Folder of the success classifier that says which episodes succeeded."""
    checkpoint_every: int = 2000
    publish_every: int = 500
    assume_success: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(0, actors=self.actors, ahead=self.ahead)
        at_least(1, episodes=self.episodes, checkpoint_every=self.checkpoint_every, publish_every=self.publish_every)
        at_least(1, **{k: v for k, v in (("updates", self.updates), ("batch_size", self.batch_size)) if v is not None})
        runs.require_amounts(1, self.seed)
        if bool(self.task) != bool(self.actors):
            raise UserError(
                f"--task is {self.task!r} with {self.actors} actors; name a task for actors to play, or give --actors 0 with --follow STORE."
            )
        if not self.actors and not self.follow:
            raise UserError("--actors 0 needs a store that others write; name it with --follow.")
        for place in self.follow:
            require_place(place, "--follow")
        shares = (self.offline_share or 0.0, self.target_share, self.intervention_share)
        if any(not 0 <= share <= 1 for share in shares) or sum(shares) > 1:
            raise UserError(
                f"shares of a batch are {shares} for offline data, target demos and interventions; give numbers from 0 that leave room "
                "for online episodes within 1."
            )
        if (self.target is None) != (self.target_share == 0):
            raise UserError(
                f"--target is {self.target} with --target-share {self.target_share:g}; give both, or neither."
            )
        if self.help_after is not None and not (self.actors and 0 <= self.help_after < math.inf):
            raise UserError(
                f"--help-after is {self.help_after} with {self.actors} actors; give seconds from 0, and simulated actors: on a robot a person takes over."
            )
        if self.noise is not None and not 0 <= self.noise <= 1:
            raise UserError(f"--noise is {self.noise}; give 0 to 1, in half ranges of each action number.")
        self.limits()

    @classmethod
    def of_run(cls, out: Path) -> Wanted:
        """What the run in `out` was started with. Raises DataError where it is no online run."""
        _, document = runs.read_settings(out)
        arguments = document.get("arguments")
        known = {f.name for f in fields(cls)}
        if document.get("verb") != "online" or not isinstance(arguments, dict) or set(arguments) != known:
            raise DataError(f"{out} is no run of `robot-pt online`; give the --out folder of one.")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def limits(self) -> CheckLimits:
        """What a policy may do on stored observations. Raises UserError for limits that are none."""
        return CheckLimits(
            bound_share=self.bound_share, change=math.inf if self.max_change is None else self.max_change
        )


DECIDE = (
    "task", "actors", "freeze_encoder", "options", "offline_share", "target_share", "intervention_share", "help_after", "credit_help", "utd", "warm_up",
    "alternation", "noise",
)  # fmt: skip
"""What decides the numbers of a run beside its settings and data: a resumed run asks for the same."""


def require_same(out: Path, wanted: Wanted) -> None:
    """Raise MismatchError, naming the option, where the run in `out` was started with another number of `DECIDE`."""
    before = Wanted.of_run(out)
    for name in DECIDE:
        then, now = getattr(before, name), getattr(wanted, name)
        if then != now:
            option = f"--{name.replace('_', '-')}"
            said = (f"{option} {then}" if then not in (None, "") else f"no {option}" for then in (then, now))
            raise MismatchError(
                f"{out} was started with {next(said)}, now it is {next(said)}; resume with the same arguments, or choose another --out."
            )


class Plan(NamedTuple):
    """How the algorithm learns online, changed by what was asked for."""

    budget: Budget
    offline_share: float
    batch_size: int


def settings_of(before: runs.RunSettings, wanted: Wanted) -> runs.RunSettings:
    """The settings of the run it starts from with another algorithm, whose networks are shaped to take its weights."""
    name = wanted.algorithm or before.algorithm
    options = before.options if name == before.algorithm else _fitting(name, before)
    encoder = replace(before.encoder, weights="")  # the start brings them; the file may be elsewhere by now
    reward = replace(before.reward, assume_success=wanted.assume_success)
    after = replace(before, algorithm=name, options=options, encoder=encoder, reward=reward, seed=wanted.seed)
    if wanted.options:
        after = with_config(after, changed(config_of(after), wanted.options, name))
    if wanted.freeze_encoder and not before.cameras:
        raise UserError("--freeze-encoder is about images and the RUN learned from the state alone; leave it out.")
    after = replace(after, frozen="encoder" if wanted.freeze_encoder else before.frozen)
    return without_views(after) if after.frozen == "encoder" and encodes_once(after) else after


def encodes_once(settings: runs.RunSettings) -> bool:
    """Whether frames may be replaced by features of a frozen encoder: not where windows of frames are drawn."""
    return bool(settings.cameras) and settings.sampling()["window"] is None


def without_views(settings: runs.RunSettings) -> runs.RunSettings:
    """The same without augmentation: every frame is encoded once, as it is."""
    return with_config(settings, replace(config_of(settings), augment=None))


def config_of(settings: runs.RunSettings) -> Any:
    """The algorithm's own config."""
    own = {"ptr": settings.ptr, "bc": settings.bc}.get(settings.algorithm, settings.options)
    return algorithms.default_config(settings.algorithm) if own is None else own


def with_config(settings: runs.RunSettings, config: Any) -> runs.RunSettings:
    """The same with another config of its algorithm."""
    name = settings.algorithm if settings.algorithm in ("ptr", "bc") else "options"
    return replace(settings, **{name: config})


SHAPES = (
    "critic", "critic_hidden", "actor_hidden", "heads", "layer_norm", "categories", "log_std_range", "scaled_log_std", "action_clip",
    "augment",
)  # fmt: skip
"""Fields of configs that shape networks, and so decide whether weights fit."""


def _fitting(name: str, before: runs.RunSettings) -> Any:
    """Algorithm `name`'s own config with the network shapes of the run before."""
    options = algorithms.default_config(name)
    if options is None:
        return None
    earlier = before.ptr if before.algorithm == "ptr" else before.bc if before.algorithm == "bc" else before.options
    if hasattr(type(options), "after") and not ALGORITHMS[before.algorithm].imitates:
        return type(options).after(earlier)
    shapes = {k: getattr(earlier, k) for k in SHAPES if hasattr(earlier, k)}
    if before.algorithm in ("ptr", "bc"):  # their networks have one shape
        three = (256, 256, 256)
        shapes |= {"critic_hidden": three, "actor_hidden": three, "scaled_log_std": False, "action_clip": 0.99}
        normed = getattr(options, "layer_norm", False)  # which PTR's critic has not: such a critic starts fresh
        shapes |= {"critic": "ptr"} if before.cameras and before.algorithm == "ptr" and not normed else {}
    known = {f.name for f in fields(options)}
    return replace(options, **{k: v for k, v in shapes.items() if k in known})


def plan_of(
    agent: Agent, wanted: Wanted, settings: runs.RunSettings, document: Mapping[str, Any] | None = None
) -> Plan:
    """`document`: config.json of the run it starts from, which may have been pretrained as a domain's authors do."""
    own = cal_ql_domains.plan_in(document or {}, settings.algorithm) or getattr(agent, "plan", None)
    ratio, warm_up, share = (own.updates_per_step, own.warm_up_steps, own.offline_share) if own else (1.0, 0, 0.5)
    batch = own.batch_size if own and not settings.cameras else settings.batch_size
    budget = Budget(
        utd=wanted.utd if wanted.utd is not None else ratio,
        warm_up_steps=wanted.warm_up if wanted.warm_up is not None else warm_up,
        alternation=wanted.alternation,
        most_updates=wanted.updates,
        most_seconds=None if wanted.hours is None else 3600 * wanted.hours,
    )
    share = share if wanted.offline_share is None else wanted.offline_share
    return Plan(budget, share if wanted.data else 0.0, wanted.batch_size or batch)


def spec_of_episodes(trained: PolicyRecord, wanted: Wanted) -> Spec:
    """What the episodes that come look like: the simulator's, or those of the robot that the policy was trained for."""
    if not wanted.task:
        return trained.spec
    from robot_pt_sim.simulators import spec_of

    offered: Spec = spec_of(wanted.task, trained.cameras, trained.image_size)
    require_fits(trained.spec, offered)
    return offered


def open_sources(
    out: Path, wanted: Wanted, reading: Reading, algorithm: str, *, own_rewards: bool = False
) -> dict[str, EpisodeSource]:
    """The data that is there already, by its name in the mixture, see `open_all`. Raises as `prior_of`, MismatchError for two versions of a simulator."""
    given = {"offline": [Path(p) for p in wanted.data], "target": [Path(wanted.target)] if wanted.target else []}
    sources: dict[str, EpisodeSource] = {
        name: open_all(
            paths,
            assume_success=wanted.assume_success,
            reading=reading.of(paths),
            what=f"{name} data",
            own_rewards=own_rewards,
        )
        for name, paths in given.items()
        if paths
    }
    met = {f"the {name} data": versions_of(source) for name, source in sources.items()}
    followed = [Path(place) for place in wanted.follow if remote_url(place) is None]
    met |= of_stores([*(store_of(out, i) for i in range(wanted.actors)), *followed])
    together({**met, f"{wanted.task} here": of_task(wanted.task)}, reading.mixed_versions)
    if wanted.target and "offline" in sources:
        sources["offline"] = prior_of(algorithm, sources["offline"], given["offline"], Path(wanted.target))
    return sources


def task_table(trained: PolicyRecord, start: Path, wanted: Wanted, sources: Mapping[str, EpisodeSource]) -> TaskTable:
    """The run's tasks with those of actors and target in spare slots."""
    # what episodes say: of a task in some place the task alone
    new = [wanted.task.partition(PLACE)[0]] if wanted.task and wanted.task not in trained.tasks else []
    new += sources["target"].episodes.task if "target" in sources else []
    return tasks_with(trained, start, new, sources["offline"].episodes.task if "offline" in sources else [])


def replay_of(
    settings: runs.RunSettings, wanted: Wanted, plan: Plan, sources: Mapping[str, EpisodeSource], tasks: TaskTable, spec: Spec,
    ranks: Ranks, *, look: Looks | None = None, features: Path = Path("features"),
) -> OnlineReplay:  # fmt: skip
    """The mixture the learner draws from, this process's part of it. Raises UserError for a batch that cannot be shared equally."""
    shares = {"offline": plan.offline_share, "target": wanted.target_share}
    fixed = {name: (source, shares[name]) for name, source in sources.items() if shares[name] > 0}
    online = 1.0 - sum(share for _, share in fixed.values()) - wanted.intervention_share
    if online < -1e-9:
        raise UserError(
            f"the algorithm takes {plan.offline_share:g} of a batch from offline data, target demos and interventions were given "
            f"{wanted.target_share:g} and {wanted.intervention_share:g}; lower one, or give --offline-share."
        )
    if online < 1e-9 and not wanted.intervention_share:
        raise UserError(
            f"offline data and target demos fill a batch ({', '.join(f'{name} {share:g}' for name, (_, share) in fixed.items())}), so that no episode "
            "of the job would be learned from; leave room within 1 by --offline-share or --target-share, or train on what there is with pretrain."
        )
    sampling = settings.sampling()
    return OnlineReplay(
        fixed, online=max(online, 0.0), interventions=wanted.intervention_share, spec=spec, cameras=settings.cameras,
        image_size=settings.image_size, batch_size=plan.batch_size, reward=settings.reward, gamma=settings.gamma, task_table=tasks,
        seed=settings.seed, language_dim=settings.language_size, **sampling,
        rank=ranks.rank, world_size=ranks.world_size, pinned=ranks.device.type == "cuda", look=look, features=features,
        credit_help=wanted.credit_help,
    )  # fmt: skip


class _TakingOver(NamedTuple):
    """Stands for the agent while a checkpoint of another algorithm is read."""

    agent: Agent
    same: bool
    fresh: list[str]

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if self.same:
            self.agent.load_state_dict(state)
        else:
            self.fresh.extend(take_over(self.agent, state))


def load_start(agent: Agent, folder: Path, *, same_algorithm: bool, options: Sequence[str] = ()) -> None:
    """The weights of the run that online learning starts from; says what of the agent they do not reach.

    Of `options`, an initial_temperature or initial_multiplier takes the place of what the run had learned.
    """
    taking: Any = _TakingOver(agent, same_algorithm, [])
    checkpoint.load_agent(folder, taking)
    for name in ("temperature", "multiplier"):
        part = getattr(agent, name, None)
        if isinstance(part, Positive) and any(word.startswith(f"initial_{name}=") for word in options):
            part.restart(getattr(agent.config, f"initial_{name}"))  # type: ignore[attr-defined]
    if "critic" in taking.fresh:
        warn(
            f"{', '.join(taking.fresh)} start fresh: {folder} has none that fit; expect a dip, or give --warm-up and --data."
        )
    elif taking.fresh:
        say(f"{', '.join(taking.fresh)} start fresh.")


def exploration(settings: runs.RunSettings, wanted: Wanted) -> float | None:
    """How actors explore: None draws from the learned distribution, a number is the noise added to its central action."""
    return wanted.noise if wanted.noise is not None else ALGORITHMS[settings.algorithm].exploration
