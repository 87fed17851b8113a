"""Frozen encoders apart: what is learned from cached features is what is learned from frames, and frames are looked at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from robot_pt.agents.bc import BC, BCConfig
from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.encoded import FrozenEncoders, encoders_of, settle_encoders
from robot_pt.agents.freezing import freeze_encoders
from robot_pt.agents.iql import IQL
from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.agents.rlpd import RLPD, RLPDConfig
from robot_pt.errors import DataError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.policies import ActorNetwork
from robot_pt.normalize import Bounds
from robot_pt.replay import to_device
from robot_pt.store import DemoStore
from tests.online.test_replay import add, replay_of
from tests.online.toys import PIXELS, make_episode

SIZE = (16, 16)
SPEC = replace(PIXELS, cameras={"primary": SIZE})
ENCODER = EncoderConfig(name="small", latent=12)
SMALL = {"critic_hidden": (16, 16), "actor_hidden": (16, 16), "augment": None}
KINDS = {
    "cal_ql": (CalQL, CalQLConfig(**SMALL, critic="ptr", actions=2, actor_average=0.1)),
    "rlpd": (RLPD, RLPDConfig(**SMALL, heads=3, critic_updates=1)),
    "ptr": (PTR, PTRConfig(actions=2, augment=None, actor_average=0.1)),
    "bc": (BC, BCConfig(augment=None)),
}


def agent_of(kind: str, *, frozen: bool = True):
    cls, config = KINDS[kind]
    agent = cls.build(
        SPEC, cameras=("primary",), image_size=SIZE, task_slots=3, encoder=ENCODER, config=config, seed=1,
        bounds=Bounds(low=(-0.2, -0.2), high=(0.2, 0.2), origin="test"),
    )  # fmt: skip
    if frozen:
        freeze_encoders(agent, "encoder")
    return agent


def disturbed(agent):
    """Slow copies that lag behind, as a pretrained agent's do."""
    with torch.no_grad():
        for name in ("acting", "target"):
            part = getattr(agent, name, None)
            for value in () if part is None else part.encoder.parameters():
                value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(2)))
    return agent


@pytest.fixture
def demos(tmp_path) -> DemoStore:
    store = DemoStore.create(tmp_path / "demos", SPEC)
    for i in range(3):
        store.append(make_episode(50 + i, spec=SPEC))
    return store


@pytest.fixture
def job(tmp_path) -> DemoStore:
    return DemoStore.create(tmp_path / "job", SPEC)


def mixture(tasks, demos: DemoStore, **more):
    return replay_of(
        tasks, {"offline": (demos.source(), 0.5)}, online=0.5, spec=SPEC, cameras=("primary",), size=SIZE, **more
    )


@pytest.mark.parametrize("kind", KINDS)
def test_updates_from_features_are_those_from_frames(kind, tasks, demos, job, tmp_path) -> None:
    by_frames, by_features = (disturbed(agent_of(kind)) for _ in range(2))
    settle_encoders(by_frames)
    look = FrozenEncoders.of(by_features, "primary", SIZE)
    assert look is not None
    before = {name: value.clone() for name, value in by_frames.state_dict().items()}
    with mixture(tasks, demos) as frames, mixture(tasks, demos, look=look, features=tmp_path / "f") as features:
        for step in range(4):
            if step in (1, 2):
                name = job.append(make_episode(step, spec=SPEC))
                for replay in (frames, features):
                    replay.append(job.read(name), job.path / name)
            drawn = next(frames), next(features)
            assert drawn[0].images["primary"].shape[1:] == (*SIZE, 3)
            assert drawn[1].images["primary"].shape == (8, look.width)
            for agent, batch in zip((by_frames, by_features), drawn, strict=True):
                agent.update(to_device(batch, "cpu"), step)
    after, cached = by_frames.state_dict(), by_features.state_dict()
    assert set(after) == set(cached)
    for name, value in after.items():
        torch.testing.assert_close(cached[name], value, rtol=0, atol=1e-5, msg=name)
    learned = [name for name, value in before.items() if name in after and not torch.equal(after[name], value)]
    assert any(name.startswith("actor.mean") for name in learned)
    assert not any(".encoder." in name for name in learned)


def test_what_is_saved_takes_frames(tasks, demos, tmp_path) -> None:
    """The policy of an agent that learns on features, rebuilt from its description and weights, sees frames and does the same."""
    agent = agent_of("cal_ql")
    look = FrozenEncoders.of(agent, "primary", SIZE)
    with mixture(tasks, demos) as frames, mixture(tasks, demos, look=look, features=tmp_path / "f") as features:
        seen, encoded = to_device(next(frames), "cpu"), to_device(next(features), "cpu")
    policy = ActorNetwork.from_config(agent.acting.config)
    policy.load_state_dict(agent.acting.state_dict())
    acts = policy.mode(seen.images, seen.proprio, seen.task, seen.language)
    torch.testing.assert_close(
        agent.acting.mode(encoded.images, encoded.proprio, encoded.task, encoded.language), acts, atol=1e-6, rtol=0
    )
    assert torch.equal(seen.proprio, encoded.proprio)
    torch.testing.assert_close(agent.values(encoded), _values(agent, seen), atol=1e-5, rtol=0)


def _values(agent, batch) -> torch.Tensor:
    """By frames: as a fresh agent of the same weights has them."""
    fresh = agent_of("cal_ql")
    fresh.load_state_dict(agent.state_dict())
    return fresh.values(batch)


def test_slow_copies_take_the_encoder_that_they_follow() -> None:
    agent = disturbed(agent_of("cal_ql"))
    acts = {n: v.clone() for n, v in agent.acting.encoder.state_dict().items()}
    judges = {n: v.clone() for n, v in agent.critic.encoder.state_dict().items()}
    heads = agent.actor.mean.weight.clone()
    settle_encoders(agent)
    for part, wanted in ((agent.actor, acts), (agent.acting, acts), (agent.critic, judges), (agent.target, judges)):
        assert all(torch.equal(value, wanted[name]) for name, value in part.encoder.state_dict().items())
    assert torch.equal(agent.actor.mean.weight, heads)
    assert set(encoders_of(agent)) == {"actor", "acting", "critic", "target"}


def test_an_encoder_that_learns_is_left_alone() -> None:
    agent = agent_of("cal_ql", frozen=False)
    assert FrozenEncoders.of(agent, "primary", SIZE) is None
    with_value = IQL.build(SPEC, cameras=("primary",), image_size=SIZE, task_slots=3, encoder=ENCODER)
    freeze_encoders(with_value, "encoder")
    assert FrozenEncoders.of(with_value, "primary", SIZE) is None
    for other in (agent, with_value):
        assert all(part.encoded is None for part in encoders_of(other).values())


def test_every_frame_is_looked_at_once(tasks, demos, job, tmp_path) -> None:
    look = FrozenEncoders.of(agent_of("cal_ql"), "primary", SIZE)
    counted = _Counting(look)
    for opened in range(2):  # the second time the demonstrations' features are there
        with mixture(tasks, demos, look=counted, features=tmp_path / "f") as replay:
            for number in range(2):
                add(replay, job, 2 * opened + number, steps=4)
            for _ in range(5):
                next(replay)
    assert counted.frames == [15, 4, 4, 4, 4]


class _Counting:
    def __init__(self, look):
        self._look, self.frames = look, []

    def __getattr__(self, name):
        return getattr(self._look, name)

    def __call__(self, frames):
        self.frames.append(len(frames))
        return self._look(frames)


def test_features_of_other_weights_are_other_features(tasks, demos, tmp_path) -> None:
    first, other = agent_of("cal_ql"), agent_of("cal_ql")
    with torch.no_grad():
        next(other.critic.encoder.parameters()).add_(0.1)
    looks = [FrozenEncoders.of(agent, "primary", SIZE) for agent in (first, other)]
    assert looks[0].fingerprint != looks[1].fingerprint
    drawn = []
    for look in looks:
        with mixture(tasks, demos, look=look, features=tmp_path / "f") as replay:
            drawn.append(next(replay).images["primary"])
    own = ENCODER.latent
    assert np.array_equal(drawn[0][:, :own], drawn[1][:, :own])  # the actor's
    assert not np.allclose(drawn[0][:, own:], drawn[1][:, own:])
    assert len(list((tmp_path / "f").glob("*.npy"))) == 2


def test_damaged_weights_are_said() -> None:
    agent = agent_of("bc")
    look = FrozenEncoders.of(agent, "primary", SIZE)
    assert look.width == ENCODER.latent
    with torch.no_grad():
        agent.actor.encoder.encoders["primary"].bottleneck[1].weight[0] = float("nan")
    with pytest.raises(DataError, match="not finite"):
        look(np.zeros((2, 8, 8, 3), np.uint8))
    assert look(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, look.width)
