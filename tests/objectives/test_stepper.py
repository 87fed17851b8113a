import copy
import math

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from robot_pt.agents import no_sync
from robot_pt.agents.state import averaged
from robot_pt.errors import MismatchError, UserError
from robot_pt.objectives.stepper import StepConfig, Stepper

CONFIG = StepConfig(learning_rate=1e-2, weight_decay=0.1, clip_norm=0.3, total_steps=20, momentum=(0.9, 0.5))


def network(seed=0, norm=True):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), *([nn.BatchNorm1d(4)] if norm else []), nn.Linear(4, 1))


def loss_of(net, step):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    return (net(x) - x.sum(1, keepdim=True)).square().mean()


def test_rate_rises_falls_as_a_cosine_and_stays():
    config = StepConfig(learning_rate=1.0, total_steps=100, warmup_share=0.1, final_share=0.1)
    assert [config.rate(i) for i in (0, 4, 9)] == [0.1, 0.5, 1.0]
    assert config.rate(10) == 1.0
    assert math.isclose(config.rate(55), 0.1 + 0.9 / 2)
    assert all(math.isclose(config.rate(i), 0.1) for i in (100, 1000))
    falling = [config.rate(i) for i in range(10, 101)]
    assert falling == sorted(falling, reverse=True)
    assert StepConfig(learning_rate=2.0).rate(10**6) == 2.0


def test_momentum_goes_from_the_first_to_the_last():
    config = StepConfig(total_steps=10, momentum=(0.9, 1.0))
    assert [round(config.kept(i), 3) for i in (0, 5, 10, 20)] == [0.9, 0.95, 1, 1]
    assert StepConfig(momentum=(0.9, 1.0)).kept(1000) == 0.9


def test_updates_are_those_of_clipped_adamw_that_spares_biases():
    net = network(norm=False)
    twin, stepper = copy.deepcopy(net), Stepper({"encoder": net}, CONFIG)
    plain = AdamW(
        [{"params": [p for p in twin.parameters() if p.ndim > 1], "weight_decay": 0.1},
         {"params": [p for p in twin.parameters() if p.ndim == 1], "weight_decay": 0.0}], lr=1.0,
    )  # fmt: skip
    for step in range(5):
        stepper.step(loss_of(net, step), step, no_sync)
        plain.zero_grad()
        loss_of(twin, step).backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 0.3)
        for group in plain.param_groups:
            group["lr"] = CONFIG.rate(step)
        plain.step()
        for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_averages_follow_the_new_weights_after_the_step_buffers_included():
    net = network()
    copied = averaged(net, 1.0)
    stepper = Stepper({"encoder": net}, CONFIG, averages={"key": (copied, net)})
    for step in range(3):
        before = copy.deepcopy(copied)
        stepper.step(loss_of(net, step), step, no_sync)
        kept = CONFIG.kept(step)
        for was, now, new in zip(before.parameters(), copied.parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(now, kept * was + (1 - kept) * new)
            assert not now.requires_grad
        for now, new in zip(copied.buffers(), net.buffers(), strict=True):
            assert torch.equal(now, new)
    stepper.restart_averages()
    assert all(torch.equal(a, b) for a, b in zip(copied.parameters(), net.parameters(), strict=True))


def test_a_loaded_state_continues_bit_for_bit():
    def make():
        net = network()
        key = averaged(net, 1.0)
        return net, Stepper({"encoder": net}, CONFIG, averages={"key": (key, net)})

    net, stepper = make()
    for step in range(3):
        stepper.step(loss_of(net, step), step, no_sync)
    saved = stepper.state_dict()
    other, resumed = make()
    resumed.load_state_dict(saved)
    for step in range(3, 6):
        stepper.step(loss_of(net, step), step, no_sync)
        resumed.step(loss_of(other, step), step, no_sync)
    ours, theirs = stepper.state_dict(), resumed.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not torch.equal(saved["encoder.0.weight"], ours["encoder.0.weight"]), "the state was a view"
    with pytest.raises(MismatchError, match="key"):
        Stepper({"encoder": net}, CONFIG).load_state_dict(saved)


def test_parts_without_gradient_stay_and_gradients_are_synchronised_between_backward_and_step():
    net, idle = network(norm=False), nn.Linear(2, 2)
    before, seen = copy.deepcopy(idle.state_dict()), []
    stepper = Stepper({"encoder": net, "idle": idle}, CONFIG)

    def sync(parameters):
        own = list(parameters)
        seen.append(own[0] is next(net.parameters()))
        for p in own:
            if p.grad is not None:
                p.grad.zero_()

    weights = copy.deepcopy(net[0].bias.detach())
    stepper.step(loss_of(net, 0), 0, sync)
    assert seen == [True]
    assert torch.equal(net[0].bias, weights), "the step did not use what sync left"
    assert all(torch.equal(v, before[n]) for n, v in idle.state_dict().items())


def test_bfloat16_where_asked():
    net = nn.Linear(4, 4)
    for wanted, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with Stepper({"encoder": net}, StepConfig(bf16=wanted)).precision():
            assert net(torch.randn(2, 4)).dtype == dtype


@pytest.mark.parametrize("wrong", [{"learning_rate": 0}, {"weight_decay": -1}, {"clip_norm": -1}, {"total_steps": -1}])
def test_numbers_below_zero_are_refused(wrong):
    with pytest.raises(UserError, match="no number below 0"):
        StepConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"warmup_share": 2}, {"final_share": -1}, {"momentum": (0.9, 1.1)}])
def test_shares_beyond_one_are_refused(wrong):
    with pytest.raises(UserError, match="give shares in"):
        StepConfig(**wrong)
