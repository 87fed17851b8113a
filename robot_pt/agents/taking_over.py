"""Weights from one algorithm into another: what has the same name and shape goes over, the rest starts fresh and is named.

The optimiser's moments of a part go with it, as in the released code of WSRL (arXiv 2412.07762), where the agent stays and only its loss
changes.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from robot_pt.agents import Agent
from robot_pt.agents.state import part_of
from robot_pt.errors import MismatchError

PARTS = ("critic", "target", "temperature", "multiplier", "value")


def take_over(agent: Agent, state: Mapping[str, Tensor]) -> list[str]:
    """Load another algorithm's `state_dict` into `agent`; returns the parts of it that start fresh. A fresh critic keeps the image encoder.

    Heads say their deviation in different ways: where that alone differs, the mean goes over and the deviation starts fresh. A running average in `state`, which is what acted, becomes the actor where the agent keeps none. Raises MismatchError when the
    actor does not fit: then nothing that was learned would act.
    """
    own = agent.state_dict()
    merged = dict(own)
    actor = _of(state, "actor")
    fresh = []
    if not _fits(actor, own, "actor"):
        actor, wanted = _without_deviation(actor), _without_deviation(_of(own, "actor"))
        if not _fits(actor, wanted, "actor"):
            raise MismatchError(
                "the run's policy network does not fit the algorithm's; choose the algorithm it was trained with, or pretrain with this one."
            )
        fresh.append("the policy's deviation")
    merged |= part_of(state, ["actor"])
    acting = {name.replace("average.", "actor.", 1): value for name, value in _of(state, "average").items()}
    acting = {name: value for name, value in acting.items() if name in actor}
    if acting and not _of(own, "average"):
        merged |= acting
    elif _of(own, "average"):
        merged |= {name.replace("actor.", "average.", 1): value for name, value in (acting or actor).items()}
    for part in PARTS:
        wanted = _of(own, part)
        if not wanted:
            continue
        found = _of(state, part)
        if _fits(found, own, part):
            merged |= part_of(state, [part])
        else:
            fresh.append(part)
    if "critic" in fresh and "target" not in fresh:  # a slow target of another critic would pull towards nothing
        merged |= _of(own, "target")  # it has no moments
        fresh.append("target")
    if "critic" in fresh:  # its heads; where it looks through the same encoder, that goes over
        looks = {name: value for name, value in _of(state, "critic.encoder").items() if name in own}
        if looks and _fits(looks, own, "critic.encoder"):
            merged |= looks | {name.replace("critic.", "target.", 1): value for name, value in looks.items()}
    agent.load_state_dict(merged)
    return fresh


def _of(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name.startswith(f"{part}.")}


def _without_deviation(actor: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in actor.items() if "log_std" not in name}


def _fits(found: Mapping[str, Tensor], own: Mapping[str, Tensor], part: str) -> bool:
    wanted = _of(own, part)
    return set(found) == set(wanted) and all(found[name].shape == value.shape for name, value in wanted.items())
