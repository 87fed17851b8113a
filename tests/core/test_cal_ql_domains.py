"""Every published setting of Cal-QL, written out a second time; and what the labels make of the domains' rewards."""

from typing import Any

import numpy as np
import pytest
import torch

from robot_pt.agents.cal_ql import CalQL
from robot_pt.agents.cql import CQL, CQLConfig
from robot_pt.agents.ptr import PTR
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.recipes import cal_ql_domains as domains
from robot_pt.recipes.cal_ql_domains import Domain
from robot_pt.rewards import return_to_go
from robot_pt.schema import UNKNOWN, Spec

COMMON: dict[str, Any] = {
    "actor_learning_rate": 1e-4, "critic_learning_rate": 3e-4, "temperature_learning_rate": 1e-4, "tau": 5e-3, "heads": 2,
    "target_entropy_factor": 1.0, "initial_temperature": 1.0, "scaled_log_std": True, "log_std_range": (-20.0, 2.0),
    "action_clip": 0.99999, "actions": 10, "backup": "max", "backup_entropy": False, "gap_floor": None, "gap_ceiling": None,
    "subset": None, "bc_warm_start_steps": 0,
}  # fmt: skip
TABLE: list[tuple[Domain, dict[str, Any], dict[str, Any]]] = [
    (domains.antmaze(),
     {"weight": 5, "target_gap": 0.8, "importance": True, "actor_hidden": (256,) * 2, "critic_hidden": (256,) * 4},
     {"scale": 10, "shift": -5, "share": 0.5, "offline": 1_000_000, "online": 1_000_000}),
    (domains.adroit_binary(),
     {"weight": 1, "target_gap": None, "importance": True, "actor_hidden": (512,) * 2, "critic_hidden": (512,) * 3},
     {"scale": 10, "shift": 5, "share": 0.5, "offline": 20_000, "online": 1_000_000}),
    (domains.adroit_binary("pen"),
     {"weight": 1, "target_gap": None, "importance": True, "actor_hidden": (512,) * 2, "critic_hidden": (512,) * 3},
     {"scale": 10, "shift": 5, "share": 0.5, "offline": 20_000, "online": 200_000}),
    (domains.kitchen(),
     {"weight": 5, "target_gap": None, "importance": False, "actor_hidden": (512,) * 3, "critic_hidden": (512,) * 3},
     {"scale": 1, "shift": 0, "share": 0.25, "offline": 500_000, "online": 1_500_000}),
]  # fmt: skip


@pytest.mark.parametrize(("domain", "config", "rest"), TABLE)
def test_settings_are_the_published_ones(domain: Domain, config: dict[str, Any], rest: dict[str, Any]) -> None:
    assert domain.published
    for name, value in {**COMMON, **config}.items():
        assert getattr(domain.config, name) == value, name
    assert (domain.reward.scale, domain.reward.shift) == (rest["scale"], rest["shift"])
    assert (domain.gamma, domain.plan.batch_size, domain.plan.updates_per_step) == (0.99, 256, 1.0)
    assert (domain.plan.offline_share, domain.offline_steps, domain.online_steps) == (
        rest["share"], rest["offline"], rest["online"],
    )  # fmt: skip


def returns(domain: Domain, stored: list[float], terminated: list[bool]) -> tuple[list[float], list[float]]:
    told = domain.reward.label(np.array(stored, np.float32), np.array(terminated), UNKNOWN)
    worst = domain.reward.worst_return(domain.gamma, told.reward)
    return told.reward.tolist(), return_to_go(
        told.reward, told.terminal, domain.gamma, tail=told.tail, tail_value=worst
    ).tolist()


def test_antmaze_never_reaching_the_goal_is_worth_minus_five_hundred() -> None:
    assert returns(domains.antmaze(), [0, 0, 0], [False] * 3) == ([-5] * 3, pytest.approx([-500] * 3, rel=1e-5))
    reward, worth = returns(domains.antmaze(), [0, 0, 1], [False] * 3)
    assert reward == [-5, -5, 5]
    assert worth == pytest.approx([-5 + 0.99 * (-5 + 0.99 * 5), -5 + 0.99 * 5, 5])


def test_adroit_success_ends_the_return_and_failure_lasts() -> None:
    assert returns(domains.adroit_binary(), [-1, -1, 0], [False, False, True])[0] == [-5, -5, 5]
    assert returns(domains.adroit_binary(), [-1, 0], [False, True])[1] == pytest.approx([-5 + 0.99 * 5, 5])
    assert returns(domains.adroit_binary(), [-1, -1], [False] * 2)[1] == pytest.approx([-500] * 2, rel=1e-5)


def test_kitchens_last_stage_count_lasts_for_ever() -> None:
    reward, worth = returns(domains.kitchen(), [0, 1, 2], [False] * 3)
    assert reward == [0, 1, 2]
    assert worth == pytest.approx([0.99 * (1 + 0.99 * 200), 1 + 0.99 * 200, 200], rel=1e-5)


@pytest.mark.parametrize("domain", [domains.visual_manipulation(), domains.ours()])
def test_what_is_not_published_says_so(domain: Domain) -> None:
    assert not domain.published


def test_every_domain_builds_both_algorithms() -> None:
    spec = Spec(cameras={"primary": (32, 32)}, embodiment="test")
    parts: dict[str, Any] = {
        "cameras": ["primary"],
        "image_size": (32, 32),
        "task_slots": 1,
        "encoder": EncoderConfig(name="small"),
    }
    for domain in (*(row[0] for row in TABLE), domains.visual_manipulation(), domains.ours()):
        assert CalQL.build(spec, config=domain.config, **parts).config == domain.config
        assert CQL.build(spec, config=CQLConfig(**vars(domain.config)), **parts).config.weight == domain.config.weight


def test_a_ptr_run_fits_ours() -> None:
    spec = Spec(cameras={"primary": (32, 32)}, embodiment="test")
    parts: dict[str, Any] = {
        "cameras": ["primary"],
        "image_size": (32, 32),
        "task_slots": 2,
        "encoder": EncoderConfig(name="small"),
    }
    ptr, agent = PTR.build(spec, seed=3, **parts), CalQL.build(spec, config=domains.ours().config, **parts)
    agent.actor.load_state_dict(ptr.actor.state_dict())
    agent.critic.load_state_dict(ptr.critic.state_dict())
    image = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    seen = ({"primary": image}, torch.ones(1, 7), torch.ones(1, dtype=torch.int64), torch.zeros(1, 0))
    assert torch.equal(agent.actor.mode(*seen), ptr.actor.mode(*seen))
