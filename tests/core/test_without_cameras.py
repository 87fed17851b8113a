"""The state alone, from the recorder to the acting policy: episodes, stores, replay, updates and policies without a camera."""

import numpy as np
import pytest
import torch

from robot_pt import checkpoint
from robot_pt.agents.bc import BC, BCConfig
from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from robot_pt.policy import Policy
from robot_pt.policy_record import PolicyRecord
from robot_pt.replay import Replay, episode_batches, to_device
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Episode, Observation, Spec
from robot_pt.store import DemoStore
from robot_pt.tasks import TaskTable

SPEC = Spec(cameras={}, embodiment="point", action_names=("dx", "dy"), proprio_names=("x", "y", "vx", "vy"))
BOUNDS = Bounds(low=(-0.4, -0.4), high=(0.4, 0.4), origin="test")
TASKS = TaskTable.of(["walk"], spare=0)
LABEL = RewardLabel(final_steps=1)
NETWORK = {
    "cameras": (),
    "image_size": (0, 0),
    "task_slots": 1,
    "encoder": EncoderConfig(name="small"),
    "bounds": BOUNDS,
}


def episode(steps=6, seed=0, spec=SPEC, **changes):
    rng = np.random.default_rng(seed)
    ends = np.arange(steps) == steps - 1
    values = {
        "proprio": rng.normal(size=(steps, len(spec.proprio_names))).astype(np.float32),
        "actions": rng.uniform(-0.4, 0.4, (steps, 2)).astype(np.float32),
        "rewards": ends.astype(np.float32), "terminated": ends, "truncated": np.zeros(steps, bool),
    }  # fmt: skip
    return Episode(spec=spec, images={}, task="walk", success=True, **{**values, **changes})


@pytest.fixture
def store(tmp_path):
    store = DemoStore.create(tmp_path / "store", SPEC)
    for seed in range(4):
        store.append(episode(5 + seed, seed))
    return store


def replay(*sources, **options):
    settings = {"cameras": (), "image_size": (0, 0), "batch_size": 8, "reward": LABEL, "gamma": 0.9, "seed": 0}
    return Replay(sources, [1 / len(sources)] * len(sources), task_table=TASKS, **{**settings, **options})


def test_a_store_gives_back_what_it_was_given(store):
    read = store.read("000002")
    want = episode(7, 2)
    assert read.images == {}
    for name in ("proprio", "actions", "rewards", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(read, name), getattr(want, name))
    assert store.recover(check_all=True).quarantined == {}
    assert DemoStore(store.path).source().episodes.length.tolist() == [5, 6, 7, 8]


def test_an_image_that_the_spec_does_not_name_is_refused():
    frames = np.zeros((6, 8, 8, 3), np.uint8)
    with pytest.raises(DataError, match="its spec names \\[\\]"):
        Episode(**{**vars(episode()), "images": {"primary": frames}}).validate()


def test_a_torn_episode_is_set_aside(store):
    part = store.path / "000009.part"
    (store.path / "000001").rename(part)
    (part / "proprio" / "c.0.0").unlink()
    assert list(store.recover().quarantined) == ["000009.part"]
    assert len(store) == 3


def test_replay_has_state_and_no_picture(store):
    source = store.source()
    with replay(source) as batches:
        batch = next(batches)
        again = batches.batch(0)
    assert (batch.images, batch.next_images) == ({}, {})
    np.testing.assert_array_equal(batch.proprio, again.proprio)
    for n in range(8):
        row = int(np.flatnonzero((source.proprio == batch.proprio[n]).all(1))[0])
        np.testing.assert_array_equal(batch.action[n], source.actions[row])
        if batch.discount[n]:
            np.testing.assert_array_equal(batch.next_proprio[n], source.proprio[row + 1])
        else:
            assert source.terminated[row]
    whole = list(episode_batches(source, cameras=(), image_size=(0, 0), reward=LABEL, gamma=0.9, task_table=TASKS))
    assert [len(b.reward) for b in whole] == [5, 6, 7, 8]


def test_sources_of_other_states_do_not_mix(store, tmp_path):
    """Without a camera there is still a network to share."""
    other = Spec(cameras={}, embodiment="point", action_names=("dx", "dy"), proprio_names=("x", "y", "vx", "w"))
    stranger = DemoStore.create(tmp_path / "other", other)
    stranger.append(episode(spec=other))
    with pytest.raises(MismatchError, match="proprio_names differ"):
        replay(store.source(), stranger.source())


@pytest.mark.parametrize(("agent", "config"), [(BC, BCConfig(head="tanh_gaussian")), (CalQL, CalQLConfig(actions=2))])
def test_an_agent_learns_is_saved_and_acts_from_the_state(store, tmp_path, agent, config):
    source = store.source()
    learner = agent.build(SPEC, config=config, **NETWORK)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    with replay(source) as batches:
        for step in range(3):
            metrics = learner.update(to_device(next(batches), "cpu"), step)
    assert all(torch.isfinite(value) for value in metrics.values())
    assert any((before[name] != value).any() for name, value in learner.state_dict().items())
    record = PolicyRecord.of(agent="toy", network=learner.actor.config, spec=SPEC, tasks=TASKS)
    checkpoint.save(tmp_path / "run", 3, learner, record, {})
    policy = Policy.load(tmp_path / "run", SPEC)
    policy.reset("walk")
    proprio = np.array([0.3, -0.2, 0.0, 1.0], np.float32)
    action = policy.act([Observation(images={}, proprio=proprio)])
    want = learner.acting.eval().mode(
        {}, torch.from_numpy(proprio)[None], torch.zeros(1, dtype=torch.int64), torch.zeros(1, 0)
    )
    np.testing.assert_allclose(action, want.numpy(), atol=1e-6)
    with pytest.raises(UserError, match="4 finite numbers"):
        policy.act([Observation(images={}, proprio=np.array([0.3, np.nan, 0, 0], np.float32))])
    blind = Spec(cameras={}, embodiment="point", action_names=("dx", "dy"), proprio_names=("x", "y", "vx", "w"))
    with pytest.raises(MismatchError, match="state differs"):
        Policy.load(tmp_path / "run", blind)
