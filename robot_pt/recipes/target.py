"""Target demonstrations: a few to train on, the others to choose the checkpoint; what finetuning and joint training share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robot_pt import checkpoint
from robot_pt.agents import Agent
from robot_pt.agents.cog import unrewarded
from robot_pt.distributed import Ranks
from robot_pt.errors import DataError, UserError
from robot_pt.recipes import runs
from robot_pt.recipes.datasets import Reading, open_all
from robot_pt.recipes.progress import say
from robot_pt.recipes.sim_versions import together
from robot_pt.replay import episode_batches
from robot_pt.report import Selection
from robot_pt.selection import Choice, Selector, held_out_demos
from robot_pt.simulated import versions_of
from robot_pt.sources import Concat, EpisodeSource, EpisodeView, filter_episodes
from robot_pt.tasks import TaskTable

HELD_OUT = 0.1
"""Share of episodes that is not trained on (PTR: 90/10 per task folder)."""
HELD_OUT_DEMOS = 10
"""At most this many target demonstrations judge checkpoints."""


class Target(NamedTuple):
    """The new task's demonstrations beside the data they are mixed with."""

    train: EpisodeSource
    judges: EpisodeSource
    mixing_ratio: float
    """Share of the other data in a batch."""
    tasks: Sequence[str]
    """Of all demonstrations, those that neither train nor judge included."""

    def beside(self, source: EpisodeSource) -> tuple[list[EpisodeSource], list[float]]:
        """(sources, shares of a batch) for `robot_pt.replay.Replay`."""
        return [source, self.train], [self.mixing_ratio, 1 - self.mixing_ratio]


def open_target(
    target: Path, data: Sequence[Path], *, demos: int, mixing_ratio: float, assume_success: bool, seed: int, reading: Reading
) -> tuple[Target, EpisodeSource]:  # fmt: skip
    """(demonstrations, data beside them without those that judge).

    Raises as `split_demos`, UserError for a ratio that is none, MismatchError for two versions of a simulator.
    """
    require_ratio(mixing_ratio)
    wanted = open_all([target], assume_success=assume_success, reading=reading, what="target data")
    train, judges = split_demos(wanted, demos, seed)
    others = [path for path in data if path.resolve() != target.resolve()]
    parts: list[EpisodeSource] = []
    if others or not data:
        parts.append(open_all(others, assume_success=assume_success, reading=reading, what="pretraining data"))
        met = {f"the target {target}": versions_of(wanted), "the pretraining data": versions_of(parts[0])}
        together(met, reading.mixed_versions)
    if len(others) < len(data):  # the target is among the data: what judges checkpoints must not be trained on
        parts.append(_without(wanted, judges))
    say(
        f"target: {len(train.episodes)} demonstrations to train on, {len(judges.episodes)} held out to choose the checkpoint."
    )
    return Target(train, judges, mixing_ratio, wanted.episodes.task), parts[0] if len(parts) == 1 else Concat(parts)


def prior_of(algorithm: str, source: EpisodeSource, data: Sequence[Path], target: Path) -> EpisodeSource:
    """The data beside `target` as the algorithm is told of it: COG without a reward or an end, every other one as it is.

    Raises UserError where COG's target is among the data, as its rewards would be given and taken away at once.
    """
    if algorithm != "cog":
        return source
    if any(path.resolve() == target.resolve() for path in data):
        raise UserError(
            f"cog takes the rewards of --data away, and {target} is among it and is the --target too; give it as the --target alone."
        )
    return unrewarded(source)


def require_ratio(mixing_ratio: float) -> None:
    """Raise UserError unless the target data has a share of every batch."""
    if not 0 <= mixing_ratio < 1:
        raise UserError(
            f"--mixing-ratio is {mixing_ratio}; give the share of pretraining data in a batch, 0 to below 1."
        )


def split_demos(target: EpisodeSource, demos: int, seed: int) -> tuple[EpisodeView, EpisodeView]:
    """(to train on, held out): `demos` episodes, and the others up to HELD_OUT_DEMOS; at least one, even of few.

    Raises UserError when `demos` is below 1, DataError when there are not two episodes.
    """
    count = len(target.episodes)
    if demos < 1:
        raise UserError(f"--demos is {demos}; give at least 1.")
    if count < 2:
        raise DataError(
            f"the target data holds {count} episode; give at least 2: one to learn from, one to choose the checkpoint on."
        )
    order = np.random.default_rng(seed).permutation(count)
    train = min(demos, count - max(1, round(HELD_OUT * min(count, demos))))
    rest = order[train : train + HELD_OUT_DEMOS]
    return EpisodeView(target, target.episodes.select(np.sort(order[:train]))), EpisodeView(
        target, target.episodes.select(np.sort(rest))
    )


def _without(source: EpisodeSource, left_out: EpisodeSource) -> EpisodeView:
    """The episodes of `source` that are not among those of its view `left_out`."""
    starts = set(left_out.episodes.start.tolist())
    return filter_episodes(source, lambda table, e: int(table.start[e]) not in starts)


def named(
    describe: Callable[[EpisodeSource], list[dict[str, Any]]], parts: Sequence[EpisodeSource]
) -> list[dict[str, Any]]:
    """The rows of `describe`; those of a second part say that they are the target's."""
    rows = [describe(part) for part in parts]
    return [*rows[0], *({**row, "name": f"target: {row['name']}"} for of in rows[1:] for row in of)]


def selector_of(
    settings: runs.RunSettings, judges: EpisodeSource, tasks: TaskTable, out: Path, ranks: Ranks, resume: bool
) -> Selector:
    """What scores the checkpoints of `out` on held-out demonstrations."""
    demos, successful = held_out_demos(judges, settings.reward)
    batches = episode_batches(
        demos, cameras=settings.cameras, image_size=settings.image_size, reward=settings.reward, gamma=settings.gamma,
        task_table=tasks, language_dim=settings.language_size,
    )  # fmt: skip
    done = checkpoint.steps(out)
    return Selector(
        out, list(batches), successful=successful, device=ranks.device, start=done[-1] if resume and done else 0
    )


def judge(selector: Selector, agent: Agent) -> Callable[[int], Choice]:
    """To be called after every checkpoint."""

    def after(step: int) -> Choice:
        return selector.after(step, agent)

    return after


def outcome(selector: Selector | None) -> tuple[Selection | None, list[Any]]:
    """What the report shows: the rule's table, and Q along the held-out demos at the chosen checkpoint."""
    if selector is None or not selector.scores:
        return None, []
    choice = selector.choice()
    rows = [
        {"step": s.step, "rank correlation": s.rise, "action error": s.action_error, "log likelihood": s.log_likelihood}
        for s in selector.scores
    ]
    values = next(s.values for s in selector.scores if s.step == choice.step)
    return Selection(rule=choice.reason, rows=rows, chosen=choice.step), [np.array(v, np.float32) for v in values]
