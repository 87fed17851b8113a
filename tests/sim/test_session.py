"""Policy -> Session -> Gate -> Simulator in a for loop gives what the simulator alone gives."""

import numpy as np
import pytest

from robot_pt import robots
from robot_pt.commands import ArmState
from robot_pt.gate.gate import Gate
from robot_pt.gate.limits import Box, GateLimits
from robot_pt.session import Session, SessionSettings
from robot_pt.targets import action_between

STEPS = 35


class Wanderer:
    """Looks at the state of the newest observation, moves about, and asks for the table and for too long steps on its way."""

    version, record = "wanderer", None

    def __init__(self, spec):
        self.spec = spec

    def reset(self, task, instruction=None):
        self.steps = 0

    def act(self, history):
        seen, k = history[-1].proprio, self.steps
        goal = [0.5 + 0.1 * np.sin(k / 5), 0.1 * np.cos(k / 4), -0.13 if k % 20 < 10 else 0.0]
        turn = [0.02 * np.sin(k), 0.01, 0.1 * np.cos(k / 3) - 0.1 * seen[5]]
        self.steps += 1
        return np.array([[*np.clip(goal - seen[:3], -0.04, 0.04), *turn, k % 8 < 4]], np.float32)


def directly(simulator, policy, seed):
    """(requested, sent) actions of an episode as an evaluation plays it."""
    policy.reset(None)
    observation, requested, sent = simulator.reset(seed), [], []
    for _ in range(STEPS):
        requested.append(policy.act([observation])[0])
        result = simulator.step(requested[-1])
        sent.append(result.sent_action)
        observation = result.observation
    return np.array(requested), np.array(sent)


def state_of(simulator, observation):
    """The joints as a driver reads them: in double precision, which an observation does not keep."""
    q = np.array(simulator._data.qpos[simulator._arm_qpos])
    return ArmState(observation.time_ns, q, float(observation.proprio[6]))


def through_session_and_gate(simulator, policy, seed):
    arm, limits = robots.load("panda"), simulator.definition.limits
    observation = simulator.reset(seed)
    session = Session(policy, simulator.spec, arm, settings=SessionSettings(lockstep=True))
    session.warm_up(1)
    same = {
        "max_step_m": limits.max_step_m,
        "max_step_rad": limits.max_step_rad,
    }  # as the simulator's, to the last digit
    box = Box(limits.low[:3], limits.high[:3])
    gate = Gate(arm, GateLimits.for_robot(arm, lockstep=True, workspace=box, **same))
    previous, requested, sent = None, [], []
    for _ in range(STEPS):
        now, state = observation.time_ns, state_of(simulator, observation)
        if previous is None:  # the gate arms an arm that it has seen at rest
            for age_ns in range(600_000_000, 0, -10_000_000):
                gate.on_state(now - age_ns, state._replace(stamp_ns=now - age_ns))
        gate.on_state(now, state)
        session.observe_arm(state, now)
        for camera, frame in observation.images.items():
            session.observe_image(camera, now, frame, now)
        if previous is None:
            gate.tick(now)
            assert gate.request(now, "arm").ok
            assert gate.request(now, "start_policy").ok
            assert session.start(now).ok
            previous = gate.tick(now).command
        gate.on_target(now, "policy", session.tick(now))
        output = gate.tick(now)
        session.executed(output.command)
        result = simulator.step(action_between(previous, output.command))
        requested.append(session.last_step.action)
        sent.append(result.sent_action)
        previous, observation = output.command, result.observation
    return np.array(requested), np.array(sent)


@pytest.mark.parametrize("seed", [5, 6])
def test_the_same_actions_reach_the_arm_as_in_an_evaluation(scene, seed):
    simulator = scene("lift")
    policy = Wanderer(simulator.spec)
    requested, sent = directly(simulator, policy, seed)
    assert (np.abs(requested - sent)[:, :3].max(1) > 1e-3).any(), "nothing was clipped"
    again, executed = through_session_and_gate(simulator, policy, seed)
    np.testing.assert_allclose(again, requested, rtol=0, atol=1e-6)
    np.testing.assert_allclose(executed, sent, rtol=0, atol=1e-6)
