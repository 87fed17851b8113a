"""Heads on features: they learn what features tell, act through the encoder, and explore by what they learned."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from robot_pt.agents.cal_ql import CalQL
from robot_pt.agents.taking_over import take_over
from robot_pt.comparison.frozen import random_encoder
from robot_pt.features import Extractor, FeaturePolicy, FeatureSource, FeatureTable
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import BRIDGE_BOUNDS
from robot_pt.policy import Policy
from robot_pt.recipes import heads
from robot_pt.recipes.runs import RunSettings
from robot_pt.rewards import return_to_go
from robot_pt.schema import ACTION_NAMES, SUCCESS, Episode, EpisodeTable, Observation, Spec
from tests.cli.test_bench import script

EPISODES, STEPS, SIZE = 6, 20, 16
LOW, HIGH = np.array(BRIDGE_BOUNDS.low, np.float32), np.array(BRIDGE_BOUNDS.high, np.float32)


def square(right):
    frame, column = np.zeros((SIZE, SIZE, 3), np.uint8), int(right * (SIZE - 5))
    frame[6:11, column : column + 5] = 255
    return frame


class Squares:
    """A white square somewhere along a row; how far right it is, is the action in every dimension, from the lower to the upper bound."""

    def __init__(self):
        count = EPISODES * STEPS
        self.spec = Spec(cameras={"primary": (SIZE, SIZE)}, embodiment="panda")
        self.right = np.random.default_rng(0).random(count).astype(np.float32)
        self.proprio = np.random.default_rng(1).normal(size=(count, 7)).astype(np.float32)
        self.actions = LOW + self.right[:, None] * (HIGH - LOW)
        self.rewards = np.zeros(count, np.float32)
        self.terminated = np.zeros(count, bool)
        self.truncated = np.arange(count) % STEPS == STEPS - 1
        self.episodes = EpisodeTable(
            start=STEPS * np.arange(EPISODES), length=np.full(EPISODES, STEPS), instruction=["shine"] * EPISODES, task=["shine"] * EPISODES,
            success=np.full(EPISODES, SUCCESS, np.int8), dataset=["toy"] * EPISODES, split=["train"] * EPISODES,
            operator=["scripted"] * EPISODES,
        )  # fmt: skip

    def images(self, steps, camera, size=None):
        return np.stack([square(place) for place in self.right[np.asarray(steps)]])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    folder, source = tmp_path_factory.mktemp("heads"), Squares()
    encoder = random_encoder(EncoderConfig(name="small", latent=8), (SIZE, SIZE), 0)
    look = Extractor(encoder, camera="primary", image_size=(SIZE, SIZE))
    features = FeatureSource(source, FeatureTable.of(source, look, folder), "map")
    agent = heads.imitate(features, folder / "policy", updates=400, seed=0)
    return source, look, features, agent, folder / "policy"


def error(policy, source, seed=5):
    """Mean absolute error on fresh frames, in half ranges."""
    rng, out = np.random.default_rng(seed), []
    for right in (0.1, 0.35, 0.6, 0.9):
        action = policy.act([Observation({"primary": square(right)}, rng.normal(size=7).astype(np.float32))])[0]
        out.append(np.abs(action - (LOW + right * (HIGH - LOW))) / ((HIGH - LOW) / 2))
    return float(np.mean(out))


def test_a_head_learns_what_the_features_tell_and_acts_on_frames(trained):
    source, look, _, _, folder = trained
    policy = FeaturePolicy(Policy.load(folder), look, "map")
    policy.reset("shine")
    assert error(policy, source) < 0.25  # a head that sees nothing is off by 0.5 in the mean


@pytest.mark.parametrize("std", [heads.ONLINE_NOISE, 0.1])
def test_exploring_stays_near_the_central_action(trained, std):
    _, look, _, _, folder = trained
    inner = Policy.load(folder)
    explorer = heads.Exploring(inner, FeaturePolicy(inner, look, "map"), seed=0, std=std)
    explorer.reset("shine")
    seen = [Observation({"primary": square(0.5)}, np.zeros(7, np.float32))]
    drawn = np.stack([explorer.act(seen)[0] for _ in range(200)])
    central = FeaturePolicy(inner, look, "map").act(seen)[0]
    apart = (drawn - central) / ((HIGH - LOW) / 2)
    np.testing.assert_allclose(apart.std(0), std, rtol=0.3)
    assert np.abs(apart.mean(0)).max() < std / 2
    assert (drawn >= LOW - 1e-6).all()
    assert (drawn <= HIGH + 1e-6).all()


def test_features_weigh_together_whatever_their_number(trained):
    _, _, features, _, _ = trained
    mean, std = heads.standard(features)
    scaled = (features.proprio - np.array(mean)) / np.array(std)
    varied = features.proprio[:, 7:].std(0) > 1e-3
    share = (scaled[:, 7:][:, varied].std(0) ** 2).mean() * features.proprio[:, 7:].shape[1]
    assert share == pytest.approx(heads.FEATURE_SHARE, rel=0.05)
    assert scaled[:, :7].std(0) == pytest.approx(np.ones(7), rel=1e-3)


def test_from_scratch_the_images_are_learned_too(trained, tmp_path):
    source = trained[0]
    agent = heads.imitate(source, tmp_path / "policy", updates=3, seed=0, camera="primary", image_size=(SIZE, SIZE))
    assert [name for name, p in agent.actor.named_parameters() if "backbone" in name and p.grad is not None]
    assert Policy.load(tmp_path / "policy").record.cameras == ("primary",)


def test_a_policy_is_loaded_in_any_process_with_its_encoder(trained):
    *_, folder = trained
    assert isinstance(heads.acting(folder, None, "map")(), Policy)


def test_the_imitation_starts_rl(trained):
    """The RL actor has the imitation's shape: everything but the critic goes over."""
    _, _, features, agent, _ = trained
    learner = CalQL.build(
        features.spec, cameras=(), image_size=(0, 0), task_slots=17, encoder=EncoderConfig(name="small"), config=heads.online_config(),
        proprio=heads.standard(features),
    )  # fmt: skip
    fresh = take_over(learner, agent.state_dict())
    assert not {part for part in fresh if "policy" in part or "actor" in part}
    assert {"critic", "target"} <= set(fresh)
    batch = ({}, torch.from_numpy(features.proprio[:4]), torch.zeros(4, dtype=torch.int64), torch.zeros(4, 0))
    torch.testing.assert_close(learner.acting.mode(*batch), agent.acting.mode(*batch))


def test_least_return_lies_between_failures_and_late_success():
    settings = RunSettings(
        algorithm="cal_ql", encoder=EncoderConfig(name="small"), camera="", image_size=(0, 0), task_slots=1
    )
    failed = settings.reward.worst_return(settings.gamma, np.full(3, settings.reward.shift, np.float32))
    rewards = np.full(150, settings.reward.shift)  # a success after 150 steps, longer than any task here
    late = return_to_go(
        np.append(rewards, settings.reward.scale + settings.reward.shift), np.arange(151) == 150, settings.gamma
    )[0]
    assert failed < heads.LEAST_RETURN < late


class Job:
    """Episodes of the row of squares in which something else drives to the lower bounds, whatever the policy says."""

    def __init__(self, success):
        self.success, self.seeds, self.asked = success, [], []

    def __call__(self, policy, seed):
        rng = np.random.default_rng(seed)
        self.seeds.append(seed)
        right, proprio = rng.random(STEPS), rng.normal(size=(STEPS, 7)).astype(np.float32)
        frames = np.stack([square(place) for place in right])
        policy.reset("shine")
        self.asked.append(policy.act([Observation({"primary": frames[0]}, proprio[0])]))
        ends = np.arange(STEPS) == STEPS - 1
        return Episode(
            spec=Spec(cameras={"primary": (SIZE, SIZE)}, embodiment="panda"), images={"primary": frames}, proprio=proprio,
            actions=np.tile(LOW, (STEPS, 1)), rewards=np.zeros(STEPS, np.float32), terminated=ends & self.success,
            truncated=ends & (not self.success), success=self.success,
        )  # fmt: skip


@pytest.mark.parametrize("success", [False, True])
def test_rl_keeps_what_was_learned_beside_failures_and_learns_from_success(trained, tmp_path, success):
    """Of failing episodes nothing is imitated, so the demonstrations' policy stays; of successful ones it takes over what was done."""
    source, look, features, agent, _ = trained
    job, origin = Job(success), SimpleNamespace(extractor=lambda: look)
    heads.improve(job, "shine", features, agent, origin, "map", tmp_path / "rl", episodes=8, seed=3)
    assert job.seeds == [heads.FIRST_ONLINE_SEED + 30_000 + n for n in range(8)]
    assert all(np.isfinite(asked).all() for asked in job.asked)
    policy = FeaturePolicy(Policy.load(tmp_path / "rl"), look, "map")
    policy.reset("shine")
    off = error(policy, source)
    assert off > 0.4 if success else off < 0.2


def test_the_control_of_the_benchmark_makes_as_many_updates_and_learns_nothing_of_its_episodes(
    trained, tmp_path, monkeypatch
):
    """With episodes that succeed by what the demonstrations never do, from which RL itself learns (above)."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    source, look, features, agent, _ = trained
    updates, learn = [], heads.CalQL.update
    monkeypatch.setattr(
        heads.CalQL, "update", lambda self, batch, step: updates.append(step) or learn(self, batch, step)
    )
    monkeypatch.setattr(heads, "OnlineReplay", script("compare_control").Deaf)
    job, origin = Job(success=True), SimpleNamespace(extractor=lambda: look)
    heads.improve(job, "shine", features, agent, origin, "map", tmp_path / "rl", episodes=8, seed=3)
    assert updates == list(range(8 * STEPS))
    policy = FeaturePolicy(Policy.load(tmp_path / "rl"), look, "map")
    policy.reset("shine")
    assert error(policy, source) < 0.2


def test_random_actions_are_within_the_bounds_and_others_in_every_episode():
    one, two = heads.RandomActions(), heads.RandomActions()
    played = []
    for policy in (one, two):
        policy.reset("lift")
        played.append(np.concatenate([policy.act([]) for _ in range(50)]))
    np.testing.assert_array_equal(*played)
    assert (played[0] >= LOW).all()
    assert (played[0] <= HIGH).all()
    assert len(ACTION_NAMES) == played[0].shape[1]
    one.reset("lift")
    assert (one.act([]) != played[0][:1]).any()
