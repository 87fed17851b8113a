"""A real checkpoint behind a session."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from robot_pt import checkpoint
from robot_pt.agents.bc import BC, BCConfig
from robot_pt.commands import ArmState
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.policy import Policy
from robot_pt.policy_record import PolicyRecord
from robot_pt.schema import Observation, Spec
from robot_pt.session import Session, StepLimits, step_lengths
from robot_pt.tasks import TaskTable

ROBOT = Spec(cameras={"primary": (48, 64), "wrist": (48, 64)}, embodiment="toy")
NOW = 10_000_000_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that looks at one camera, 16 x 16, and was trained on steps of 1 cm."""
    folder, tasks = tmp_path_factory.mktemp("run"), TaskTable.of(["lift"])
    agent = BC.build(
        ROBOT, cameras=("primary",), image_size=(16, 16), task_slots=tasks.slots, language_size=0, seed=1,
        encoder=EncoderConfig(name="small", latent=16), config=BCConfig(head="tanh_gaussian", std="state"),
    )  # fmt: skip
    lengths = step_lengths(np.full((10, 7), 0.006))
    record = PolicyRecord.of(
        agent="bc", network=agent.actor.config, spec=ROBOT, tasks=tasks, data=[{"name": "toy", "step_lengths": lengths}]
    )
    checkpoint.save(folder, 7, agent, record, {})
    return folder


def session_of(policy, toy, **changes):
    slow = replace(ROBOT, control_hz=5.0)
    return Session(policy, slow, toy.Arm(), **changes)


def test_its_actions_become_targets(run, toy):
    policy = Policy.load(run)
    session = session_of(policy, toy, limits=StepLimits())
    assert session.notes == []
    session.warm_up(2)
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    session.observe_arm(ArmState(NOW, np.array([0.3, 0, 0.2, 0, 0, 0]), 1.0))
    session.observe_image("primary", NOW, frame)
    assert session.start(NOW).ok
    target = session.tick(NOW)
    policy.reset("lift")
    proprio = np.array([0.3, 0, 0.2, 0, 0, 0, 1.0], np.float32)
    action = policy.act([Observation({"primary": frame}, proprio)])[0]
    np.testing.assert_array_equal(session.last_step.action, action)
    np.testing.assert_allclose(
        target.T_base_tool[:3, 3], np.add([0.3, 0, 0.2], action[:3].astype(np.float64)), atol=1e-12
    )
    assert session.last_step.policy_version == policy.version


def test_limits_far_below_its_training_actions_are_refused(run, toy):
    with pytest.raises(MismatchError, match="max_step_translation_m"):
        session_of(Policy.load(run), toy, limits=StepLimits(max_step_m=0.005))


def test_damaged_weights_are_one_sentence_before_anything_moves(run, toy):
    policy = Policy.load(run)
    with torch.no_grad():
        next(policy._actor.parameters()).fill_(float("nan"))
    session = session_of(policy, toy)
    with pytest.raises(UserError, match="damaged"):
        session.warm_up(2)
    assert session.phase == "failed"


def test_an_unknown_task_is_one_sentence_at_configure(run, toy):
    with pytest.raises(UserError, match="'dance'"):
        session_of(Policy.load(run), toy, task="dance")
