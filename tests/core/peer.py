"""d3rlpy 2.8.1 with our weights and our batches, for tests that compare losses with it.

Networks: as many hidden layers and units on both sides, no LayerNorm, no scaled log-std. It sees the state and the task's one-hot side by
side. Importing this needs no d3rlpy; calling `as_theirs` does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robot_pt.agents.off_policy import OffPolicyAgent
from robot_pt.networks.ensembles import EnsembleCritic
from robot_pt.schema import Batch
from tests.core.state_batch import ACTION, OBSERVATION, TASKS

HIDDEN = [16, 16]


def randomise(agent: OffPolicyAgent) -> None:
    """Weights far from their start, so that losses are not all alike; the target is a larger critic."""
    for head in (agent.critic.q.weight[-1], agent.actor.mean.weight, agent.actor.log_std.weight):
        nn.init.normal_(head, std=0.3)
    for network in (agent.critic.q, agent.actor.body):
        for name, value in network.named_parameters():
            if "bias" in name:
                nn.init.normal_(value, std=0.1)
    agent.target.load_state_dict(agent.critic.state_dict())
    for value in agent.target.q.parameters():
        value.data.mul_(1.1)


def learner(kind: str, **options: Any) -> Any:
    """The inner part of d3rlpy's algorithm of that name, with networks of our sizes."""
    import d3rlpy

    factory = d3rlpy.models.encoders.VectorEncoderFactory(hidden_units=HIDDEN)
    config = getattr(d3rlpy.algos, f"{kind}Config")(
        actor_encoder_factory=factory, critic_encoder_factory=factory, batch_size=16, gamma=1.0, **options,
    )  # fmt: skip
    made = config.create(device="cpu")
    made.create_impl((OBSERVATION + TASKS,), ACTION)
    return made.impl


def copy_linear(target: nn.Linear, weight_IO: Tensor, bias_O: Tensor) -> None:
    target.weight.data, target.bias.data = weight_IO.detach().T.clone(), bias_O.detach().reshape(-1).clone()


def copy_critic(target: nn.ModuleList, critic: EnsembleCritic) -> None:
    width = HIDDEN[0]
    for head, module in enumerate(target):
        linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
        linear = sorted(linear, key=lambda m: m.out_features == 1)  # the output layer last, the others as they stand
        columns = slice(head * width, (head + 1) * width)
        first = torch.cat([critic.q.state_weight[:, columns], critic.q.action_weight[:, columns]])
        weights = [(first, critic.q.first_bias[columns])]
        weights += [(w[head], b[head]) for w, b in zip(critic.q.weight, critic.q.bias, strict=True)]
        for layer, pair in zip(linear, weights, strict=True):
            copy_linear(layer, *pair)


def copy_all(impl: Any, agent: OffPolicyAgent) -> None:
    copy_critic(impl.q_function, agent.critic)
    copy_critic(impl._modules.targ_q_funcs, agent.target)
    policy = impl.policy
    encoder = [m for m in policy._encoder.modules() if isinstance(m, nn.Linear)]
    for layer, own in zip(encoder, [m for m in agent.actor.body if isinstance(m, nn.Linear)], strict=True):
        copy_linear(layer, own.weight.T, own.bias)
    copy_linear(policy._mu, agent.actor.mean.weight.T, agent.actor.mean.bias)
    copy_linear(policy._logstd, agent.actor.log_std.weight.T, agent.actor.log_std.bias)
    impl._modules.log_temp._parameter.data.fill_(float(agent.temperature.log.detach()))


def as_theirs(agent: OffPolicyAgent, batch: Batch) -> Any:
    import d3rlpy

    context = torch.nn.functional.one_hot(batch.task, TASKS).float()
    column = lambda x: x[:, None].float()  # noqa: E731
    return d3rlpy.torch_utility.TorchMiniBatch(
        observations=torch.cat([batch.proprio, context], 1), actions=agent.actor.normalizer.encode(batch.action),
        rewards=column(batch.reward), next_observations=torch.cat([batch.next_proprio, context], 1),
        next_actions=agent.actor.normalizer.encode(batch.action), returns_to_go=column(batch.return_to_go),
        terminals=column(1 - batch.discount), intervals=torch.ones(len(batch.reward), 1), device="cpu",
    )  # fmt: skip


def assert_same_entries(module: nn.Module, gradient: Tensor) -> None:
    """The gradients hold the same numbers; their order follows the layout of the weights, which is each library's own."""
    own = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    mine, other = (x[x != 0].sort().values for x in (own, gradient))
    torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-4)


def only(agent: OffPolicyAgent, wanted: str) -> Any:
    """`descend` that leaves the gradient of one module in place and takes no step."""

    def descend(name: str, loss: Tensor, *, largest: float | None = None) -> None:
        if name == wanted:
            agent._modules[name].zero_grad()
            loss.backward()

    return descend
