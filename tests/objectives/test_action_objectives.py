"""What holds for every objective that learns from actions or returns, and for SiamMAE: updates repeat, state continues bit for bit."""

import json
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from robot_pt.clips import ClipBatch, Clips, Ends
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.resnet import STAGES
from robot_pt.objectives import Needs
from robot_pt.recipes import objectives, trajectories
from robot_pt.replay import to_device
from robot_pt.rewards import RewardLabel
from robot_pt.schema import FAILURE, SUCCESS
from robot_pt.tasks import TaskTable
from tests.core.conftest import build as memory_source

NAMES = ("siammae", "spr", "sgi", "idm", "decision_transformer", "multi_task_dt", "distributional_cql")
TASKS = TaskTable.of(["lift", "stack"], spare=2)
SIDE = 32
SMALLER: dict[str, dict[str, Any]] = {
    "siammae": {"decoder_width": 32, "decoder_heads": 4, "decoder_blocks": 1}, "spr": {"width": 16, "hidden": 32},
    "sgi": {"width": 16, "hidden": 32, "loss": "cosine"}, "idm": {"hidden": 32},
    "decision_transformer": {"width": 32, "layers": 1}, "multi_task_dt": {"width": 32, "layers": 1}, "distributional_cql": {"hidden": (32,)},
}  # fmt: skip


def source() -> Any:
    """Two successes and a failure; pixels say which row they are, so views of other rows are other pictures."""
    return memory_source([9, 7, 12], success=[SUCCESS, FAILURE, SUCCESS], tasks=["lift", "stack", "lift"], seed=3)


def build(name: str, *, seed: int = 0, bf16: bool = False, encoder: EncoderConfig | None = None, **options: Any) -> Any:
    config = objectives.config_for(name, steps=20, bf16=bf16)
    config = replace(trajectories.fitted(config, [source()], False), **(SMALLER[name] | options))
    return objectives.objective_class(name).build(
        source().spec, image_size=(SIDE, SIDE), task_slots=TASKS.slots, encoder=encoder or EncoderConfig(name="small", latent=32),
        config=config, seed=seed,
    )  # fmt: skip


def clips_of(objective: Any, size: int = 6) -> Clips:
    rewards = {n: getattr(objective.config, n) for n in ("reward", "gamma") if hasattr(objective.config, n)}
    return Clips(
        [source()], [1.0], objective.plan, cameras=["primary"], image_size=(SIDE, SIDE), batch_size=size, seed=5,
        actions=objective.needs.actions, task_table=TASKS, **rewards,
    )  # fmt: skip


def batch_of(objective: Any, number: int = 0, size: int = 6) -> ClipBatch:
    found: ClipBatch = to_device(clips_of(objective, size).batch(number), "cpu")
    return found


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(v, two[n]) for n, v in one.items())


@pytest.mark.parametrize("name", NAMES)
def test_state_continues_bit_for_bit(name: str) -> None:
    first, second = build(name), build(name, seed=1)
    for step in range(2):
        first.update(batch_of(first, step), step)
    second.load_state_dict(first.state_dict())
    second.seed = first.seed
    assert same(first.state_dict(), second.state_dict())
    told = [objective.update(batch_of(objective, 2), 2) for objective in (first, second)]
    assert same(*told)
    assert same(first.state_dict(), second.state_dict())
    assert "objective/loss" in told[0]
    assert all(v.ndim == 0 and not v.requires_grad and v.isfinite() for v in told[0].values())


@pytest.mark.parametrize("name", NAMES)
def test_noise_follows_from_the_step_and_the_seed(name: str) -> None:
    loss = {}
    for step, seed in ((0, 0), (0, 0), (1, 0), (0, 1)):
        objective = build(name)
        objective.seed = seed
        told = objective.update(batch_of(objective), step)["objective/loss"]
        loss.setdefault((step, seed), []).append(float(told))
    assert loss[0, 0][0] == loss[0, 0][1]
    assert len({v[0] for v in loss.values()}) == 3


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_fixed_by_the_seed_and_leave_the_callers_random_numbers_alone(name: str) -> None:
    torch.manual_seed(9)
    before = torch.get_rng_state()
    one = build(name)
    assert torch.equal(before, torch.get_rng_state())
    assert same(one.state_dict(), build(name).state_dict())
    assert not same(one.state_dict(), build(name, seed=1).state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_what_it_says_it_trains_it_trains(name: str) -> None:
    objective = build(name)
    before = {n: p.clone() for n, p in objective.encoder.named_parameters()}
    objective.update(batch_of(objective), 0)
    moved = {n.split(".")[0] for n, p in objective.encoder.named_parameters() if not torch.equal(p, before[n])}
    assert moved == ({"backbone"} if objective.trains == "backbone" else {"backbone", "pool", "bottleneck"})


@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_other_networks_is_refused(name: str) -> None:
    objective = build(name)
    state = objective.state_dict()
    state.pop(next(n for n in state if n.startswith("encoder.")))
    with pytest.raises(MismatchError, match="misses tensor encoder"):
        objective.load_state_dict(state)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_near_float32(name: str) -> None:
    losses = [float(o.update(batch_of(o), 0)["objective/loss"]) for o in (build(name), build(name, bf16=True))]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoder", ["vit_tiny", next(iter(STAGES))])
def test_any_backbone(name: str, encoder: str) -> None:
    objective = build(name, encoder=EncoderConfig(name=encoder, latent=32))
    assert objective.update(batch_of(objective, size=2), 0)["objective/loss"].isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_configs_survive_json(name: str) -> None:
    config = build(name).config
    assert objectives.config_from_json(name, json.loads(json.dumps(asdict(config)))) == config
    assert {"optim"} <= {f.name for f in fields(config)}


@pytest.mark.parametrize("name", NAMES)
def test_what_it_asks_of_the_data(name: str) -> None:
    told: Needs = objectives.objective_class(name).needs
    kind = {"siammae": "video", "spr": "demonstration", "sgi": "demonstration", "idm": "demonstration"}.get(
        name, "trajectory"
    )
    assert told == Needs(kind, actions=kind != "video", returns=kind == "trajectory")


@pytest.mark.parametrize("name", ["siammae", "idm", "decision_transformer", "multi_task_dt", "distributional_cql"])
def test_half_batches_have_the_gradient_of_the_whole(name: str) -> None:
    """Where samples do not meet: noise is of the sample, so two processes learn what one does."""
    whole, parts = build(name), [build(name) for _ in range(2)]
    batch = batch_of(whole, size=8)._replace(valid=torch.ones(8, batch_of(whole).valid.shape[1], dtype=torch.bool))
    gradient: list[torch.Tensor] = []
    whole.grad_sync = lambda parameters: gradient.extend(p.grad.clone() for p in parameters if p.grad is not None)
    whole.update(batch, 0)
    halves: list[list[torch.Tensor]] = []
    for i, part in enumerate(parts):
        rows = slice(4 * i, 4 * i + 4)
        cut = ClipBatch(*({c: v[rows] for c, v in x.items()} if isinstance(x, dict) else x[rows] for x in batch))
        own: list[torch.Tensor] = []
        part.grad_sync = lambda parameters, own=own: own.extend(
            p.grad.clone() for p in parameters if p.grad is not None
        )
        part.update(cut, 0)
        halves.append(own)
    for all_, one, two in zip(gradient, *halves, strict=True):
        scale = float(all_.abs().max()) + 1e-6
        assert float((all_ - (one + two) / 2).abs().max()) / scale < (0.05 if name == "siammae" else 1e-3)


# Clips of a step and one `gap` later.


def test_only_the_ends_are_decoded_and_every_action_is_there() -> None:
    data = source()
    batches = Clips([data], [1.0], Ends(3), cameras=["primary"], image_size=(4, 4), batch_size=32, seed=0, actions=True)
    batch = batches.batch(0)
    assert batch.images["primary"].shape == (32, 2, 4, 4, 3)
    assert len(data.decoded) == 64
    start = data.episodes.start[batch.episode]
    rows = start[:, None] + batch.step
    np.testing.assert_array_equal(batch.images["primary"][:, :, 0, 0, 0], rows[:, [0, 3]])
    np.testing.assert_array_equal(batch.action, data.actions[rows])
    np.testing.assert_array_equal(batch.step[batch.valid[:, 3]][:, 3], batch.step[batch.valid[:, 3]][:, 0] + 3)
    with pytest.raises(UserError, match="0 steps apart; give at least 1"):
        Ends(0)


# What trajectory objectives are told.


def test_labels_come_from_success_where_there_is_one() -> None:
    config = objectives.config_for("decision_transformer", steps=1, bf16=False)
    told = trajectories.fitted(config, [source()], False)
    assert told.reward == config.reward
    assert trajectories.fitted(config, [memory_source([4])], True).reward == replace(config.reward, assume_success=True)


@pytest.mark.parametrize("name", ["decision_transformer", "multi_task_dt", "distributional_cql"])
def test_stored_rewards_bring_their_own_range(name: str) -> None:
    data = memory_source([5, 4])
    data.rewards[:] = np.arange(9) - 2.0
    data.terminated[[4, 8]] = True
    config = objectives.config_for(name, steps=1, bf16=False)
    told = trajectories.fitted(config, [data], False)
    assert told.reward == RewardLabel(source="stored", scale=1.0, shift=0.0, terminal="stored")
    gamma, steps = config.gamma, [data.rewards[:5], data.rewards[5:]]
    every = [sum(gamma**k * r for k, r in enumerate(episode[t:])) for episode in steps for t in range(len(episode))]
    if name == "decision_transformer":
        assert told.return_scale == pytest.approx(max(np.abs(every)))
    else:
        assert told.returns == pytest.approx((min(every), max(every)), rel=1e-5)
        objectives.objective_class(name).build(
            data.spec,
            image_size=(SIDE, SIDE),
            task_slots=1,
            encoder=EncoderConfig(name="small", latent=32),
            config=told,
        )


def test_one_and_the_same_return_still_has_a_range() -> None:
    data = memory_source([1, 1])
    data.rewards[:] = 2.0
    data.terminated[:] = True
    told = trajectories.fitted(objectives.config_for("distributional_cql", steps=1, bf16=False), [data], False)
    assert told.returns == (2.0, 3.0)


def test_objectives_without_rewards_are_left_alone() -> None:
    config = objectives.config_for("spr", steps=1, bf16=False)
    assert trajectories.fitted(config, [source()], True) is config


def test_data_without_labels_is_told_how_to_say_that_all_of_it_succeeds() -> None:
    unlabelled = [memory_source([4])]
    with pytest.raises(DataError, match="pass --assume-success if its episodes all succeed, choose one of curl"):
        objectives.require_data("decision_transformer", unlabelled, assume_success=False)
    objectives.require_data("decision_transformer", unlabelled, assume_success=True)
