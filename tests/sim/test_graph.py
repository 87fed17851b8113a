"""The closed loop through separate processes from one launch file gives the actions of an evaluation on the same seeds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt import checkpoint
from robot_pt.agents.bc import BC, BCConfig
from robot_pt.evaluate import episode_seeds
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.policy import Policy
from robot_pt.policy_record import PolicyRecord
from robot_pt.tasks import TaskTable
from robot_pt_sim.panda import PandaSimulator, panda_spec
from robot_pt_sim.tasks import find_task

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")

DOMAIN = 126
TASK = "lift-red"
LAUNCH = Path(__file__).parents[1] / "ros" / "closed_loop.launch.yaml"
SEEDS = episode_seeds(7, 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkpoint whose actions depend on what it sees, and are long enough to be shortened now and then."""
    spec = panda_spec(("primary",), (64, 64))
    tasks = TaskTable.of([TASK])
    agent = BC.build(
        spec, cameras=["primary"], image_size=(64, 64), task_slots=tasks.slots, encoder=EncoderConfig(name="small"),
        config=BCConfig(head="tanh_gaussian"), seed=3,
    )  # fmt: skip
    with torch.no_grad():
        agent.actor.mean.weight *= 100
        agent.actor.mean.weight[3:6] *= (
            0.02  # the simulator's walls of rotation are Euler angles, the gate's are not: stay off them
        )
        agent.actor.mean.bias[2] = -0.3
    record = PolicyRecord.of(agent="bc", network=agent.actor.config, spec=spec, tasks=tasks)
    folder = tmp_path_factory.mktemp("run")
    checkpoint.save(folder, 0, agent, record, {})
    return folder


class Remembering:
    """The policy, and every action it gave."""

    def __init__(self, policy):
        self.policy, self.actions = policy, []

    def act(self, history):
        chunk = self.policy.act(history)
        self.actions.append(chunk[0])
        return chunk


def evaluated(run, seed):
    """(actions (T, 7), success) as `robot-pt evaluate` plays them, in this process."""
    simulator = PandaSimulator(find_task(TASK))
    policy = Remembering(Policy.load(run))
    policy.policy.reset(TASK)
    observation, result = simulator.reset(seed), None
    while result is None or not (result.terminated or result.truncated):
        result = simulator.step(policy.act([observation])[0])
        observation = result.observation
    simulator.close()
    return np.array(policy.actions), result.success


class Watcher:
    """A node that notes what the policy asked for and how episodes ended, and pulls services."""

    def __init__(self):
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from std_msgs.msg import String

        from robot_pt_ros import topics

        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node("watcher", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.steps, self.results = [], []
        listen = self.node.create_subscription
        listen(String, topics.STEP_INFO, lambda m: self.steps.append(json.loads(m.data)), topics.recorded(1000))
        listen(String, "sim/result", lambda m: self.results.append(json.loads(m.data)), topics.latched())

    def spin_until(self, reached, timeout_s):
        until = time.monotonic() + timeout_s
        while not reached() and time.monotonic() < until:
            self.executor.spin_once(timeout_sec=0.05)
        assert reached(), "waited too long"

    def pull(self, name):
        from std_srvs.srv import Trigger

        client = self.node.create_client(Trigger, name)
        self.spin_until(client.service_is_ready, 20)
        future = client.call_async(Trigger.Request())
        self.spin_until(future.done, 60)
        assert future.result().success, f"{name}: {future.result().message}"
        self.node.destroy_client(client)

    def close(self):
        self.executor.shutdown(2.0)
        self.node.destroy_node()
        self.context.try_shutdown()


def test_graph_acts_as_the_evaluation(run, backend, tmp_path):
    import robot_pt_ros  # noqa: F401  # makes rclpy importable

    limits = find_task(TASK).limits
    arguments = [
        f"checkpoint:={run}", f"task:={TASK}", f"seed:={SEEDS[0]}", f"workspace_min:={list(limits.low[:3])}",
        f"workspace_max:={list(limits.high[:3])}",
    ]  # fmt: skip
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN), "OMP_NUM_THREADS": "1"}
    log = tmp_path / "log"
    watcher = Watcher()
    with log.open("w") as output:
        graph = subprocess.Popen(
            [sys.executable, "-m", "robot_pt", "launch", str(LAUNCH), *arguments],
            stdout=output,
            stderr=output,
            env=environment,
        )
    try:
        taken = []
        for number in range(len(SEEDS)):
            watcher.spin_until(lambda n=number: len(watcher.results) > n or graph.poll() is not None, 200)
            assert graph.poll() is None, log.read_text()[-3000:]
            taken.append(np.array([s["action"] for s in watcher.steps]))
            if number + 1 < len(SEEDS):
                for name in ("policy/stop", "safety/stop_policy", "sim/reset", "safety/start_policy", "policy/start"):
                    if name == "safety/start_policy":
                        watcher.steps.clear()  # the policy had answered the last observation too
                    watcher.pull(name)
        graph.send_signal(signal.SIGINT)
        assert graph.wait(40) == 0, log.read_text()[-3000:]
    finally:
        watcher.close()
        if graph.poll() is None:
            graph.kill()
    for seed, actions, result in zip(SEEDS, taken, watcher.results, strict=True):
        expected, success = evaluated(run, seed)
        assert result["seed"] == seed
        assert (result["steps"], result["success"]) == (len(expected), success)
        np.testing.assert_allclose(actions[: len(expected)], expected, rtol=0, atol=1e-6)
        assert np.ptp(expected[:, :3], axis=0).min() > 1e-3, "a policy that does not react proves nothing"
