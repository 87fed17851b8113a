"""Fixtures of the tests of learning on the job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from robot_pt.agents.bc import BC
from robot_pt.policy_record import PolicyRecord
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Episode
from robot_pt.store import DemoStore
from robot_pt.tasks import TaskTable
from tests.online.toys import STATE, light_agent, make_episode


@pytest.fixture
def episode() -> Callable[..., Episode]:
    return make_episode


@pytest.fixture
def store(tmp_path: Path) -> DemoStore:
    return DemoStore.create(tmp_path / "store", STATE)


@pytest.fixture
def tasks() -> TaskTable:
    return TaskTable.of(["go"], spare=2)


@pytest.fixture
def reward() -> RewardLabel:
    return RewardLabel(final_steps=1)


@pytest.fixture
def agent() -> BC:
    return light_agent()


@pytest.fixture
def record(agent: BC, tasks: TaskTable) -> PolicyRecord:
    return PolicyRecord.of(agent="bc", network=agent.actor.config, spec=STATE, tasks=tasks)
