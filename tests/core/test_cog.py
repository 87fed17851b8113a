"""COG: what prior data looks like to it, and that value crosses from the task's data into it."""

from typing import Any

import numpy as np
import pytest
import torch

from robot_pt.agents.cog import COG, REWARD, COGConfig, joint, unrewarded
from robot_pt.agents.cql import CQL, CQLConfig
from robot_pt.errors import DataError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from robot_pt.replay import Replay, to_device
from robot_pt.schema import SUCCESS, UNKNOWN
from robot_pt.sources import filter_episodes, leaf
from robot_pt.tasks import TaskTable
from robot_pt.transitions import transitions
from tests.core.state_batch import BOUNDS, SPEC, TASKS, state_batch

UNIT = Bounds(low=(-1.0,) * 7, high=(1.0,) * 7, origin="test")
SMALL: dict[str, Any] = {"actor_hidden": (32, 32), "critic_hidden": (32, 32)}


def test_prior_data_gives_no_reward_and_no_end(memory_source: Any) -> None:
    source = memory_source((6, 4), success=[SUCCESS, UNKNOWN])
    source.terminated[5], source.rewards[:] = True, 3.0
    prior = unrewarded(source)
    for label in (REWARD, REWARD.__class__(source="stored", terminal="either", assume_success=True)):
        index = transitions(prior, label, 0.99)
        assert (index.reward == label.shift).all()
        assert (index.discount > 0).all()
    assert transitions(source, REWARD, 0.99).reward.max() == 1
    assert source.rewards.min() == 3.0  # the data itself is as it was
    assert source.terminated[5]
    np.testing.assert_array_equal(prior.actions, source.actions)
    np.testing.assert_array_equal(prior.images(np.array([7]), "primary"), source.images(np.array([7]), "primary"))
    assert leaf(prior, 7) == (source, 7)


def test_the_mix_is_by_steps_or_as_asked(memory_source: Any) -> None:
    prior, task = memory_source((6, 6, 6)), memory_source((6,), success=[SUCCESS])
    sources, ratios = joint(prior, task)
    assert ratios == pytest.approx([0.75, 0.25])
    assert sources[1] is task
    assert joint(prior, task, task_share=0.1)[1] == pytest.approx([0.9, 0.1])
    with pytest.raises(UserError, match=r"share of a batch is 1\.0; give a number between 0 and 1"):
        joint(prior, task, task_share=1.0)
    empty = filter_episodes(prior, lambda table, e: False)
    with pytest.raises(DataError, match="needs prior and task data; there are 0 and 6 steps"):
        joint(empty, task)


def test_the_update_is_that_of_cql() -> None:
    options: dict[str, Any] = {
        "cameras": (), "image_size": (0, 0), "task_slots": TASKS, "encoder": EncoderConfig(), "bounds": BOUNDS,
    }  # fmt: skip
    config = COGConfig(bc_warm_start_steps=1, **SMALL)
    same = CQLConfig(**{name: getattr(config, name) for name in config.__dataclass_fields__})
    ours, theirs = COG.build(SPEC, config=config, **options), CQL.build(SPEC, config=same, **options)
    for step in range(3):
        one, other = ours.update(state_batch(seed=step), step), theirs.update(state_batch(seed=step), step)
        assert one == other
    assert COG.defaults().weight == 1.0
    assert COG.defaults().bc_warm_start_steps == 10_000


def walk(source: Any, places: list[list[int]], rng: np.random.Generator) -> None:
    """Fill a memory source with episodes through these places: one-hot proprio, first action dimension the direction."""
    row = 0
    for episode in places:
        for here, there in zip(episode, [*episode[1:], episode[-1] + 1], strict=True):
            source.proprio[row] = np.eye(7)[here]
            source.actions[row] = rng.uniform(-0.1, 0.1, 7)
            source.actions[row, 0] = rng.uniform(0.2, 1) * np.sign(there - here or 1)
            row += 1


def test_value_crosses_from_the_task_into_data_that_never_saw_a_reward(memory_source: Any) -> None:
    """Prior episodes wander over places 0 to 3, task episodes walk from 3 to 6 and succeed; the policy walks from 0 to 6."""
    rng = np.random.default_rng(0)
    prior, task = memory_source((10,) * 30), memory_source((4,) * 40, success=[SUCCESS] * 40)
    wander = []
    for _ in range(30):
        episode = [int(rng.integers(0, 4))]
        while len(episode) < 10:
            step = int(rng.choice([-1, 1]))
            episode.append(episode[-1] + step if 0 <= episode[-1] + step <= 3 else episode[-1] - step)
        wander.append(episode)
    walk(prior, wander, rng)
    walk(task, [[3, 4, 5, 6]] * 40, rng)
    tasks = TaskTable.of(["lift"], spare=0)
    sources, ratios = joint(prior, task, task_share=0.5)
    config = COGConfig(
        bc_warm_start_steps=0, weight=0.05, actions=4, actor_learning_rate=3e-3, critic_learning_rate=3e-3, tau=0.05,
        initial_temperature=0.01, layer_norm=True, **SMALL,
    )  # fmt: skip
    agent = COG.build(
        prior.spec, cameras=(), image_size=(0, 0), task_slots=1, encoder=EncoderConfig(), bounds=UNIT, config=config,
    )  # fmt: skip
    with Replay(
        sources,
        ratios,
        cameras=(),
        image_size=(0, 0),
        batch_size=128,
        reward=REWARD,
        gamma=0.9,
        task_table=tasks,
        seed=0,
    ) as replay:
        for step in range(400):
            metrics = agent.update(to_device(next(replay), "cpu"), step)
    assert torch.isfinite(metrics["critic/loss"])
    places = torch.eye(7)
    moves = agent.actor.mode({}, places, torch.zeros(7, dtype=torch.int64), torch.zeros(7, 0))[:, 0]
    assert (moves > 0).all()
    batch = to_device(replay.batch(10_000), "cpu")
    right, place = batch.action[:, 0] > 0, batch.proprio.argmax(1)
    values = agent.values(batch)
    of_place = torch.stack([values[right & (place == p)].mean() for p in range(4)])
    assert (
        of_place[3] > of_place[0] + 0.1
    )  # the nearer to success, the better, though none of these episodes reached it
    assert of_place[0] > 0.2
