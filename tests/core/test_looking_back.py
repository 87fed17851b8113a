"""Policies that look at several frames or draw their actions, from a checkpoint: history, memory, noise, sessions."""

import numpy as np
import pytest
import torch

from robot_pt import checkpoint
from robot_pt.agents.autoregressive_bc import AutoregressiveBC, AutoregressiveBCConfig
from robot_pt.agents.bet import BeT, BeTConfig
from robot_pt.controls import ImageBlanked
from robot_pt.errors import UserError
from robot_pt.frame_memory import FrameMemory
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.online.policies import Exploring
from robot_pt.policy import Policy
from robot_pt.policy_record import PolicyRecord
from robot_pt.schema import Observation, Spec, window_of
from robot_pt.tasks import TaskTable

SPEC = Spec(cameras={"primary": (32, 32)}, embodiment="toy")
TASKS = TaskTable.of(["lift", "stack"])
WINDOW = 4


def saved(folder, agent) -> None:
    record = PolicyRecord.of(agent="test", network=agent.actor.config, spec=SPEC, tasks=TASKS)
    checkpoint.save(folder, 1, agent, record, {})


def parts() -> dict:
    return {
        "cameras": ("primary",), "image_size": (16, 16), "task_slots": TASKS.slots, "seed": 1,
        "encoder": EncoderConfig(name="small", latent=16),
    }  # fmt: skip


def transformer(**changes) -> BeT:
    config = BeTConfig(window=WINDOW, bins=8, layers=1, heads=2, width=16, **changes)
    agent = BeT.build(SPEC, config=config, **parts())
    low, high = agent.actor.normalizer.low.numpy(), agent.actor.normalizer.high.numpy()
    agent.fit(np.random.default_rng(0).uniform(low, high, (200, 7)).astype(np.float32))
    with torch.no_grad():  # fresh heads answer nearly the same to everything
        agent.actor.head.weight.mul_(20)
    return agent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bet")
    saved(folder, transformer())
    return folder


def observe(seed: int) -> Observation:
    rng = np.random.default_rng(seed)
    return Observation(
        {"primary": rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)}, rng.normal(size=7).astype(np.float32)
    )


EPISODE = [observe(seed) for seed in range(7)]


def reset(policy: Policy, task: str = "lift") -> Policy:
    policy.reset(task)
    return policy


def passes(policy: Policy) -> list[Observation]:
    """Every observation that is encoded from now on."""
    encoded: list[Observation] = []
    plain = policy._prepare
    policy._prepare = lambda o: (encoded.append(o), plain(o))[1]
    return encoded


def test_acting_costs_one_pass_of_the_encoder_per_step(run) -> None:
    policy = reset(Policy.load(run))
    assert policy.window == WINDOW
    encoded = passes(policy)
    for t in range(len(EPISODE)):
        assert policy.act(EPISODE[: t + 1]).shape == (1, 7)
        assert len(encoded) == t + 1
    policy.act(EPISODE)
    assert len(encoded) == len(EPISODE)
    policy.act([observe(20), observe(21)])  # two that were not there while it thought
    assert len(encoded) == len(EPISODE) + 2


def test_what_it_remembers_gives_the_action_of_seeing_it_all(run, tmp_path) -> None:
    saved(tmp_path, transformer(acts="mode"))
    policy, fresh = reset(Policy.load(tmp_path)), Policy.load(tmp_path)
    for t in range(len(EPISODE)):
        seen = EPISODE[: t + 1]
        action = policy.act(seen)
        np.testing.assert_array_equal(action, reset(fresh).act(seen))
        copies = [o._replace(images=dict(o.images)) for o in seen]
        np.testing.assert_array_equal(action, policy.act(copies))
    older = [observe(30), *EPISODE[-WINDOW + 1 :]]
    assert not np.array_equal(policy.act(EPISODE), policy.act(older)), "the oldest frame of the window must matter"
    np.testing.assert_array_equal(policy.act([observe(31), *EPISODE[-WINDOW:]]), policy.act(EPISODE))


def test_a_new_episode_or_task_forgets(run, tmp_path) -> None:
    saved(tmp_path, transformer(acts="mode"))
    policy = reset(Policy.load(tmp_path))
    lift = policy.act(EPISODE[:2])
    encoded = passes(policy)
    stack = reset(policy, "stack").act(EPISODE[:2])
    assert len(encoded) == 2
    assert not np.array_equal(lift, stack)
    np.testing.assert_array_equal(reset(policy).act(EPISODE[:2]), lift)


def test_the_action_is_the_networks(tmp_path) -> None:
    agent = transformer(acts="mode")
    saved(tmp_path, agent)
    policy = reset(Policy.load(tmp_path), "stack")
    frames = torch.from_numpy(np.stack([policy_pixels(policy, o) for o in EPISODE[:3]]))
    proprio = torch.from_numpy(np.stack([o.proprio for o in EPISODE[:3]]))
    with torch.no_grad():
        along = agent.actor.eval().along(
            {"primary": frames}, proprio, torch.ones(3, dtype=torch.int64), torch.zeros(3, 0)
        )
        want = agent.actor.normalizer.decode(along.mode())
    for t in range(3):
        np.testing.assert_allclose(policy.act(EPISODE[: t + 1])[0], want[t].numpy(), atol=1e-6)


def policy_pixels(policy: Policy, observation: Observation) -> np.ndarray:
    policy._prepare(observation)
    return policy._pixels["primary"].copy()


def test_drawn_actions_repeat_with_the_episode_and_differ_between_them(run) -> None:
    one, other = reset(Policy.load(run)), reset(Policy.load(run))
    first = [one.act(EPISODE[: t + 1]) for t in range(5)]
    assert all(np.array_equal(a, other.act(EPISODE[: t + 1])) for t, a in enumerate(first))
    again = reset(one)
    assert all(np.array_equal(a, again.act(EPISODE[: t + 1])) for t, a in enumerate(first))
    still = [EPISODE[0]] * 40
    drawn = {tuple(np.round(a[0], 6)) for a in (one.act(still[:WINDOW]) for _ in range(40))}
    assert len(drawn) > 1, "one bin only: nothing is drawn"
    starts = {tuple(np.round(reset(one).act([observe(seed)])[0], 3)) for seed in range(20)}
    assert len(starts) > 4


def test_exploring_draws_or_adds_noise(run) -> None:
    policy = reset(Policy.load(run))
    drawn = [policy.explore(EPISODE[:3], np.random.default_rng(seed)) for seed in range(30)]
    bins = transformer().actor
    assert 1 < len({tuple(np.round(a[0], 6)) for a in drawn}) <= len(bins.centres)
    np.testing.assert_array_equal(drawn[3], policy.explore(EPISODE[:3], np.random.default_rng(3)))
    near = [policy.explore(EPISODE[:3], np.random.default_rng(seed), 0.01)[0, :6] for seed in range(30)]
    assert 0 < np.std(near, axis=0).max() < 0.01
    exploring = Exploring(policy, 0, std=None, on_act=lambda: None)
    assert exploring.act(EPISODE[:3]).shape == (1, 7)
    assert window_of(exploring) == window_of(ImageBlanked(policy)) == WINDOW
    assert window_of(object()) == 1


def test_bad_observations_are_refused_and_leave_the_memory_whole(run) -> None:
    policy = Policy.load(run)
    with pytest.raises(UserError, match="call reset"):
        policy.act(EPISODE[:1])
    reset(policy).act(EPISODE[:3])
    for bad in (EPISODE[0]._replace(images={}), EPISODE[0]._replace(proprio=np.full(7, np.nan, np.float32))):
        with pytest.raises(UserError):
            policy.act([*EPISODE[:3], bad])
    encoded = passes(policy)
    policy.act(EPISODE[:4])
    assert len(encoded) == 1
    with pytest.raises(UserError, match="without an observation"):
        policy.act([])


def test_an_autoregressive_policy_acts_by_its_mode_or_by_draws(tmp_path) -> None:
    for acts in ("mode", "sample"):
        agent = AutoregressiveBC.build(SPEC, config=AutoregressiveBCConfig(hidden=(16,), bins=8, acts=acts), **parts())
        saved(tmp_path / acts, agent)
    by_mode, by_draws = (reset(Policy.load(tmp_path / acts)) for acts in ("mode", "sample"))
    np.testing.assert_array_equal(by_mode.act(EPISODE[:1]), by_mode.act(EPISODE[:1]))
    assert len({tuple(by_draws.act(EPISODE[:1])[0]) for _ in range(5)}) == 5
    explored = by_mode.explore(EPISODE[:1], np.random.default_rng(0))
    assert explored.shape == (1, 7)
    assert not np.array_equal(explored, by_mode.explore(EPISODE[:1], np.random.default_rng(1)))


def test_a_memory_knows_observations_by_identity() -> None:
    calls = []
    memory = FrameMemory(2, lambda o: (calls.append(o), torch.full((1, 3), float(o.time_ns)))[1])
    a, b = (Observation({}, np.zeros(1, np.float32), t) for t in (1, 2))
    assert memory.features([a, a, b]).tolist() == [[[1.0] * 3, [2.0] * 3]]
    memory.features([b, a])
    assert len(calls) == 2
    memory.clear()
    memory.features([a])
    assert len(calls) == 3
