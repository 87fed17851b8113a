"""Alarms on curves drawn by hand, where it is known when they must and must not be raised, and on a real divergence."""

import math

import numpy as np
import pytest
import torch

from robot_pt.errors import UserError
from robot_pt.online.alarms import Alarm, DipAlarm, QAlarms, Values
from robot_pt.online.monitors import QProbe, probe
from robot_pt.replay import to_device
from tests.online.toys import STATE, make_episode


def kinds(alarms: list[Alarm]) -> list[tuple[str, int]]:
    return [(a.kind, a.update) for a in alarms]


def watch(data, policy=None, spread=None) -> list[Alarm]:
    """Returns lie within [-10, 10]."""
    alarms, out = QAlarms(lowest=-10, highest=10), []
    for k, q in enumerate(data):
        p, s = (q if policy is None else policy[k]), (1.0 if spread is None else spread[k])
        out += alarms.add(100 * k, Values(q, p, s))
    return out


def test_q_that_stays_among_the_returns_raises_nothing() -> None:
    noise = np.random.default_rng(0).normal(0, 3, 500)
    assert watch(np.linspace(-9, 9, 500) + noise) == []


@pytest.mark.parametrize("sign", [1, -1])
def test_exponential_growth_is_divergence_at_the_third_probe_outside(sign: int) -> None:
    q = [sign * 2.0**k for k in range(12)]  # 2^5 = 32 is the first beyond 20
    assert kinds(watch(q)) == [("divergence", 700)]


def test_the_policy_s_q_counts_as_the_data_s_does() -> None:
    assert kinds(watch([0.0] * 8, policy=[0, 0, 50, 50, 50, 50, 50, 50])) == [("divergence", 400)]


def test_a_spike_is_no_divergence_and_a_second_bout_is_said_again() -> None:
    assert watch([0, 0, 99, 99, 0, 0, 99, 99, 0]) == []
    assert kinds(watch([99, 99, 99, 99, 0, 99, 99, 99])) == [("divergence", 200), ("divergence", 700)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_divergence_at_once(bad: float) -> None:
    assert kinds(watch([0, 0, bad, bad])) == [("divergence", 200)]


def test_spread_that_falls_to_a_tenth_is_a_collapse_of_scale() -> None:
    spread = [2.0, 2.2, 1.8, 2.0, 2.0] + [1.0] * 5 + [0.19] * 5
    assert kinds(watch([0.0] * 15, spread=spread)) == [("scale collapse", 1200)]
    assert watch([0.0] * 15, spread=[2.0] * 5 + [0.21] * 10) == []


def test_bounds_must_be_a_range() -> None:
    for low, high in ((1, 1), (2, 1), (math.nan, 1), (-math.inf, 1)):
        with pytest.raises(UserError, match="are no range"):
            QAlarms(lowest=low, highest=high)
    with pytest.raises(UserError, match="at least 1"):
        QAlarms(lowest=0, highest=1, patience=0)


def successes(rates: list[tuple[float, int]], seed: int) -> list[bool]:
    rng = np.random.default_rng(seed)
    return [bool(rng.random() < rate) for rate, count in rates for _ in range(count)]


def dips(results: list[bool], start_episodes: int) -> list[Alarm]:
    alarm, out = DipAlarm(start_version="v0"), []
    for k, success in enumerate(results):
        out += alarm.add(k, success, "v0" if k < start_episodes else f"v{k}")
    return out


def test_a_policy_that_unlearns_is_noticed_within_a_window() -> None:
    for seed in range(20):
        (alarm, *_) = dips(successes([(0.9, 20), (0.1, 40)], seed), 20)
        assert alarm.kind == "unlearning dip"
        assert 24 <= alarm.update <= 42


def test_one_that_stays_or_improves_raises_nothing() -> None:
    """Two 95 % intervals apart is rarer than one in a thousand windows of a steady policy; 40 runs of 60 episodes raise none."""
    for seed in range(20):
        assert dips(successes([(0.5, 20), (0.5, 40)], seed), 20) == []
        assert dips(successes([(0.3, 20), (0.9, 40)], seed), 20) == []


def test_without_episodes_of_the_start_the_first_window_is_the_base() -> None:
    assert kinds(dips([True] * 20 + [False] * 20, 0))[0][0] == "unlearning dip"
    assert dips([True] * 5 + [False] * 5, 0) == []


def test_a_dip_that_recovers_is_said_once_each_time() -> None:
    found = dips([True] * 20 + [False] * 20 + [True] * 40 + [False] * 20, 20)
    assert [a.kind for a in found] == ["unlearning dip"] * 2


# The probe


@pytest.fixture
def stored(tmp_path, store, tasks, reward):
    from robot_pt.online.replay import OnlineReplay

    replay = OnlineReplay(
        {},
        online=1.0,
        spec=STATE,
        cameras=(),
        image_size=(0, 0),
        batch_size=64,
        reward=reward,
        gamma=0.9,
        task_table=tasks,
        seed=0,
    )
    for i in range(4):
        name = store.append(make_episode(i, success=i % 2 == 0))
        replay.append(store.read(name), store.path / name)
    return to_device(replay.batch(0, 4), "cpu")


class Quadratic:
    """A critic known in closed form: Q(s, a) = c - |a - a*|^2 with a* = 0; its policy is another agent's."""

    def __init__(self, agent, c: float):
        self.acting, self._c = agent.acting, c

    def values(self, batch):
        return self._c - batch.action.square().sum(1)


def test_the_probe_is_what_it_says(stored, agent) -> None:
    found = probe(Quadratic(agent, 1.0), stored)
    mode = agent.acting.mode(stored.images, stored.proprio, stored.task, stored.language)
    assert found.data == pytest.approx(float((1 - stored.action.square().sum(1)).mean()), rel=1e-5)
    assert found.policy == pytest.approx(float((1 - mode.square().sum(1)).mean()), rel=1e-5)
    assert found.random == pytest.approx(1 - 2 * 0.2**2 / 3, abs=0.01)  # uniform on [-0.2, 0.2] in two dimensions
    assert found.return_to_go == pytest.approx(float(stored.return_to_go.mean()), rel=1e-5)
    below = (1 - mode.square().sum(1) < stored.return_to_go).float().mean()
    assert found.bound_rate == pytest.approx(float(below))
    assert 0 < found.bound_rate < 1
    assert set(found.metrics()) == {f"probe/{n}" for n in QProbe._fields}


def test_an_agent_without_critic_has_no_probe(stored, agent) -> None:
    assert probe(agent, stored) is None


def test_probing_changes_nothing(stored, agent) -> None:
    before = {k: v.clone() for k, v in agent.state_dict().items()}
    probe(Quadratic(agent, 0.0), stored)
    assert all(torch.equal(v, before[k]) for k, v in agent.state_dict().items())


def test_a_real_divergence_is_noticed(stored, tasks) -> None:
    """Bootstrapping with a discount above 1 has no fixed point: Q of a real agent runs away, and the alarm says so."""
    from robot_pt.agents.rlpd import RLPD, RLPDConfig
    from robot_pt.networks.encoders import EncoderConfig
    from robot_pt.normalize import Bounds

    config = RLPDConfig(heads=2, subset=None, layer_norm=False, critic_hidden=(32, 32), actor_hidden=(32, 32), critic_updates=1,
                        backup_entropy=False, critic_learning_rate=3e-3, tau=0.5)  # fmt: skip
    agent = RLPD.build(
        STATE, cameras=(), image_size=(0, 0), task_slots=3, encoder=EncoderConfig(name="small"), config=config,
        bounds=Bounds(low=(-0.2, -0.2), high=(0.2, 0.2), origin="test"), proprio=((0.0, 0.0), (5.0, 5.0)), seed=0,
    )  # fmt: skip
    sound = stored
    wrong = stored._replace(discount=torch.full_like(stored.discount, 1.2), reward=torch.full_like(stored.reward, -1.0))
    for batch, expected in ((sound, []), (wrong, ["divergence"])):
        alarms, raised = QAlarms(lowest=-10.0, highest=10.0), []
        for step in range(400):
            agent.update(batch, step)
            if step % 20 == 0:
                found = probe(agent, batch)
                raised += alarms.add(step, Values(found.data, found.policy, found.spread))
        assert [a.kind for a in raised if a.kind == "divergence"][:1] == expected
