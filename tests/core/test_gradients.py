import pytest
import torch
from torch import nn

from robot_pt.gradients import GradientNorms, watched_gradients


class Two:
    """An agent of two networks, in the shape of actor and critic, and a target that shares nothing."""

    def __init__(self):
        self.actor, self.critic, self.empty = nn.Linear(2, 1), nn.Linear(3, 1), nn.ReLU()
        self._modules_again = {"actor": self.actor}
        self.synced = []
        self.grad_sync = self.sync

    def sync(self, parameters):
        for p in parameters:
            self.synced.append(p)
            if p.grad is not None:
                p.grad *= 2

    def descend(self, module, scale):
        module.zero_grad()
        (scale * sum(p.sum() for p in module.parameters())).backward()
        self.grad_sync(module.parameters())


def test_norms_are_named_and_those_of_the_synchronised_gradient():
    agent = Two()
    with watched_gradients(agent) as norms:
        agent.descend(agent.critic, 3.0)
        agent.descend(agent.actor, 1.0)
        assert len(agent.synced) == 4
        got = {n: v.item() for n, v in norms.latest().items()}
    assert got == pytest.approx({"critic/grad_norm": 6 * 4**0.5, "actor/grad_norm": 2 * 3**0.5})
    assert agent.grad_sync == agent.sync


def test_each_update_has_its_own_names_and_a_replayed_graph_keeps_the_last():
    agent = Two()
    norms = GradientNorms(agent)
    agent.grad_sync = norms
    agent.descend(agent.critic, 1.0)
    norms.latest()
    agent.descend(agent.actor, 1.0)
    assert set(norms.latest()) == {"actor/grad_norm"}
    kept = norms.latest()["actor/grad_norm"]
    kept.fill_(7)  # as a graph writes into it
    assert norms.latest()["actor/grad_norm"] == 7


def test_parameters_of_nobody_get_a_number_and_missing_gradients_no_norm():
    agent = Two()
    norms = GradientNorms(agent)
    stray = nn.Parameter(torch.ones(4))
    norms([stray])
    assert norms.latest() == {}
    stray.grad = torch.full((4,), 0.5)
    norms([stray])
    assert norms.latest()["group0/grad_norm"].item() == 2


def test_agents_without_the_hook_are_left_alone():
    with watched_gradients(object()) as norms:
        assert norms is None
