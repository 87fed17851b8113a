"""What ATC, R3M, VIP and ICVF share as objectives: exact continuation, keyed noise, clips that are not there, other precisions."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from robot_pt.errors import MismatchError, UserError
from robot_pt.language import sentence_features
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.objectives.atc import ATC, ATCConfig
from robot_pt.objectives.icvf import ICVF, ICVFConfig
from robot_pt.objectives.r3m import R3M, R3MConfig
from robot_pt.objectives.vip import VIP, VIPConfig
from tests.objectives.toy_video import ENCODER, SIZE, SPEC, Videos, crossing

KINDS: dict[str, tuple[Any, Any]] = {
    "atc": (ATC, ATCConfig(hidden=16)), "r3m": (R3M, R3MConfig(hidden=16)), "vip": (VIP, VIPConfig(width=16)),
    "vip_of_the_feature": (VIP, VIPConfig(width=0)), "icvf": (ICVF, ICVFConfig(hidden=(16,))),
}  # fmt: skip


def build(name: str, *, seed: int = 0, encoder: EncoderConfig = ENCODER, **optim: Any) -> Any:
    kind, config = KINDS[name]
    config = dataclasses.replace(
        config, optim=dataclasses.replace(config.optim, learning_rate=1e-3, total_steps=20, **optim)
    )
    return kind.build(SPEC, image_size=(SIZE, SIZE), task_slots=1, encoder=encoder, config=config, seed=seed)


def videos(episodes: int = 6, length: int = 8) -> Videos:
    said = np.stack([sentence_features(f"do {e}") for e in range(episodes)])
    return Videos(crossing(episodes, seed=0, length=length).frames, said)


@pytest.mark.parametrize("name", KINDS)
def test_a_loaded_state_continues_bit_for_bit(name: str) -> None:
    objective, data = build(name), videos()
    for step in range(3):
        objective.update(data.clips(objective.plan, step, 12), step)
    saved = objective.state_dict()
    rest = [objective.update(data.clips(objective.plan, step, 12), step) for step in (3, 4)]
    other = build(name)
    with torch.no_grad():
        for parameter in other.encoder.parameters():
            parameter.add_(1.0)
    other.load_state_dict(saved)
    again = [other.update(data.clips(other.plan, step, 12), step) for step in (3, 4)]
    assert rest == again
    for key, value in objective.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.parametrize("name", KINDS)
def test_noise_is_of_the_step_and_the_seed_fixes_the_weights(name: str) -> None:
    data, losses = videos(), []
    for seed, step in ((0, 0), (0, 0), (0, 1), (1, 0)):
        objective = build(name, seed=seed)
        losses.append(float(objective.update(data.clips(objective.plan, 0, 12), step)["objective/loss"]))
    assert losses[0] == losses[1]
    assert len({*losses}) == 3


@pytest.mark.parametrize("name", KINDS)
def test_logs_are_detached_scalars_and_the_whole_encoder_learns(name: str) -> None:
    objective = build(name)
    before = {k: v.clone() for k, v in objective.encoder.state_dict().items()}
    assert objective.trains == "encoder"
    metrics: dict[str, torch.Tensor] = {}
    for step in range(2):
        metrics = objective.update(videos().clips(objective.plan, step, 12), step)
    assert "objective/loss" in metrics
    assert all(v.ndim == 0 and not v.requires_grad and torch.isfinite(v) for v in metrics.values())
    unmoved = [k for k, v in objective.encoder.state_dict().items() if torch.equal(v, before[k])]
    assert not unmoved


@pytest.mark.parametrize("name", KINDS)
def test_frames_that_are_not_there_teach_nothing(name: str) -> None:
    """Episodes of one frame: every clip is invalid."""
    objective, data = build(name), videos(length=2)
    single = Videos(data.frames[:, :1], data.language)
    before = {k: v.clone() for k, v in objective.state_dict().items() if not k.startswith("optimizer")}
    metrics = objective.update(single.clips(objective.plan, 0, 12), 0)
    assert all(torch.isfinite(v) for v in metrics.values())
    for key, value in before.items():
        assert torch.equal(value, objective.state_dict()[key]), key


@pytest.mark.parametrize("name", KINDS)
def test_bfloat16_is_near(name: str) -> None:
    losses = []
    for bf16 in (False, True):
        objective = build(name, bf16=bf16)
        losses.append(float(objective.update(videos().clips(objective.plan, 0, 12), 0)["objective/loss"]))
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("name", KINDS)
def test_a_state_of_another_encoder_is_refused(name: str) -> None:
    state = build(name).state_dict()
    with pytest.raises(MismatchError, match="this network needs"):
        build(name, encoder=dataclasses.replace(ENCODER, latent=16)).load_state_dict(state)


@pytest.mark.parametrize("name", ["atc", "r3m", "vip", "icvf"])
def test_a_batch_of_one_has_no_negatives(name: str) -> None:
    objective = build(name)
    with pytest.raises(UserError, match="a batch of 1 has none"):
        objective.update(videos().clips(objective.plan, 0, 1), 0)


@pytest.mark.parametrize("name", KINDS)
def test_two_cameras_are_refused(name: str) -> None:
    objective = build(name)
    batch = videos().clips(objective.plan, 0, 4)
    two = batch._replace(images={"primary": batch.images["primary"], "wrist": batch.images["primary"]})
    with pytest.raises(UserError, match="looks at one camera"):
        objective.update(two, 0)


@pytest.mark.parametrize("name", KINDS)
def test_an_update_waits_for_no_value_and_mixes_no_devices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device without values: reading one, or a tensor that was left on the CPU, raises."""
    objective = build(name)
    batch = videos().clips(objective.plan, 0, 8)
    for network in vars(objective).values():
        if isinstance(network, torch.nn.Module):
            network.to("meta")
    columns = {k: v.to("meta") for k, v in batch._asdict().items() if k != "images"}
    images = {camera: frames.to("meta") for camera, frames in batch.images.items()}
    monkeypatch.setattr(objective.stepper, "step", lambda loss, step, sync: loss.backward())
    metrics = objective.update(type(batch)(images=images, **columns), 0)
    assert {v.device.type for v in metrics.values()} == {"meta"}
