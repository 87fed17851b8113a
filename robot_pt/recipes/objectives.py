"""Representation objectives by name, imported when one is asked for, and what each asks of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from robot_pt.errors import DataError, UserError
from robot_pt.recipes.algorithms import from_json
from robot_pt.schema import SUCCESS, UNKNOWN

if TYPE_CHECKING:  # the command line asks for the names alone
    from robot_pt.objectives import Needs
    from robot_pt.sources import EpisodeSource

Representation = Literal[
    "curl", "mae", "atc", "siammae", "r3m", "vip", "icvf", "spr", "sgi", "idm", "decision_transformer", "multi_task_dt",
    "distributional_cql",
]  # fmt: skip
"""Objectives that make an encoder and no policy."""
Objective = Literal[
    "curl", "mae", "atc", "siammae", "r3m", "vip", "icvf", "spr", "sgi", "idm", "decision_transformer", "multi_task_dt",
    "distributional_cql", "bc", "autoregressive_bc", "bet", "cql", "scaled_ql", "ptr",
]  # fmt: skip
ACTING = ("bc", "autoregressive_bc", "bet", "cql", "scaled_ql", "ptr")
"""Objectives that are algorithms: they make a policy, encoder included."""


class Entry(NamedTuple):
    """Where an objective lives; its config is named after it."""

    module: str
    objective: str


OBJECTIVES: dict[str, Entry] = {
    "curl": Entry("curl", "CURL"),
    "mae": Entry("mae", "MAE"),
    "atc": Entry("atc", "ATC"),
    "siammae": Entry("siammae", "SiamMAE"),
    "r3m": Entry("r3m", "R3M"),
    "vip": Entry("vip", "VIP"),
    "icvf": Entry("icvf", "ICVF"),
    "spr": Entry("spr", "SPR"),
    "sgi": Entry("sgi", "SGI"),
    "idm": Entry("idm", "IDM"),
    "decision_transformer": Entry("decision_transformer", "DecisionTransformer"),
    "multi_task_dt": Entry("multi_task_dt", "MultiTaskDT"),
    "distributional_cql": Entry("distributional_cql", "DistributionalCQL"),
}


def objective_class(name: str) -> Any:
    """The class of objective `name`. Raises UserError for a name that is none."""
    if name not in OBJECTIVES:
        raise UserError(f"there is no objective {name!r}; choose one of {', '.join(OBJECTIVES)}.")
    entry = OBJECTIVES[name]
    return getattr(import_module(f"robot_pt.objectives.{entry.module}"), entry.objective)


def config_class(name: str) -> Any:
    """The class of its config."""
    entry = OBJECTIVES[name]
    return getattr(import_module(f"robot_pt.objectives.{entry.module}"), f"{entry.objective}Config")


def config_for(name: str, *, steps: int, bf16: bool) -> Any:
    """The config of objective `name` for a run of `steps` updates: its schedule ends with it."""
    config = config_class(name)()
    return replace(config, optim=replace(config.optim, total_steps=steps, bf16=bf16))


def config_from_json(name: str, values: Mapping[str, Any]) -> Any:
    """As `dataclasses.asdict` and JSON left it. Raises DataError on anything else."""
    if name not in OBJECTIVES:
        raise DataError(
            f"config.json names objective {name!r}, which this version does not have; use the version that wrote it."
        )
    return from_json(config_class(name), values)


def require_data(name: str, sources: Sequence[EpisodeSource], *, assume_success: bool) -> None:
    """Raise DataError, one sentence, where the data lacks what objective `name` learns from, and say which objectives it is enough for."""
    lack = lacks(objective_class(name).needs, sources, assume_success)
    if lack is None:
        return
    enough = [other for other in OBJECTIVES if lacks(objective_class(other).needs, sources, assume_success) is None]
    remedies = (
        ["pass --assume-success if its episodes all succeed"]
        if lacks(objective_class(name).needs, sources, True) is None
        else []
    )
    remedies += [f"choose one of {', '.join(enough)}"] if enough else []
    raise DataError(
        f"{name} learns from {lack}, which the {sources[0].spec.embodiment} data has none of; "
        + ", ".join([*remedies, "or give other data." if remedies else "give other data."])
    )


def without_actions() -> list[str]:
    """Objectives that video is enough for."""
    return [name for name in OBJECTIVES if not objective_class(name).needs.actions]


def lacks(needs: Needs, sources: Sequence[EpisodeSource], assume_success: bool) -> str | None:
    """What `sources` do not have of what is needed, in words; None where they have all."""
    if needs.kind != "image" and max((int(s.episodes.length.max(initial=0)) for s in sources), default=0) < 2:
        return "the order of frames in an episode"
    if needs.actions and not all(s.spec.action_names for s in sources):
        return "actions"
    if needs.returns and not any(_rewarded(source, assume_success) for source in sources):
        return "rewards or success labels that tell episodes apart"
    return None


def _rewarded(source: EpisodeSource, assume_success: bool) -> bool:
    """Whether a learner is told more than one reward: an episode counts as a success, or stored rewards differ."""
    success, stored = source.episodes.success, source.rewards
    if bool((success == SUCCESS).any()) or (assume_success and bool((success == UNKNOWN).any())):
        return True
    return len(stored) > 0 and bool(stored.max() > stored.min())
