"""policy/prepare and policy/reload of the policy node, in a process of its own: never in an episode, and what acts stays on failure."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from robot_pt.errors import UserError
from robot_pt_ros import topics
from robot_pt_ros.policy_calls import PolicyCalls
from robot_pt_ros.policy_reload import NextSession
from tests.ros.graph import circling_policy
from tests.ros.node_process import NodeProcess, call, change_state

pytest.importorskip("cyclonedds", reason="needs robot-pt[ros]")

DOMAIN = 121
CONFIGURE, ACTIVATE = 1, 3


class Bench:
    """The policy node, an episode manager that is us, and an online node's calls."""

    def __init__(self, graph: Any, tmp_path: Path):
        from std_msgs.msg import String

        self.graph, self.node, self.folder = graph, graph.node("bench"), tmp_path
        self.first = circling_policy(tmp_path / "first")
        self.process = NodeProcess(
            "policy", DOMAIN, tmp_path, robot="panda", checkpoint=str(self.first), warmup_iters=2,
            **{"max_obs_age_s.image": 5.0},
        )  # fmt: skip
        self.versions: list[dict[str, Any]] = []
        self.beats = 0
        self.node.create_subscription(
            String, topics.POLICY_VERSION, lambda m: self.versions.append(json.loads(m.data)), topics.latched()
        )
        self.node.create_subscription(String, topics.HEARTBEAT, self._on_beat, topics.recorded(10))
        self._episode = self.node.create_publisher(String, topics.EPISODE_STATE, topics.latched())
        self._string = String
        self.calls = PolicyCalls(self.node)
        assert change_state(graph, self.node, "policy", CONFIGURE, ACTIVATE, timeout_s=60) == [True, True], (
            self.process.text
        )

    def _on_beat(self, message: Any) -> None:
        self.beats += 1

    def episode(self, phase: str) -> None:
        self._episode.publish(self._string(data=json.dumps({"id": "e-1", "phase": phase, "step": 2})))
        self.graph.spin_for(0.3)

    def ask(self, kind: str, folder: Path) -> tuple[bool, str]:
        """As the online node does."""
        answers: list[tuple[bool, str]] = []
        self.calls.ask(kind, str(folder), lambda ok, sentence: answers.append((ok, sentence)))
        assert self.calls.busy

        def answered() -> bool:
            self.calls.look()
            return bool(answers)

        assert self.graph.spin_until(answered, 40), self.process.text
        assert not self.calls.busy
        return answers[0]

    @property
    def acting(self) -> str:
        self.graph.spin_for(0.3)
        assert self.graph.spin_until(lambda: self.versions)
        return str(self.versions[-1]["sha256"])


@pytest.fixture
def bench(graph, tmp_path):
    made = Bench(graph, tmp_path)
    yield made
    made.process.close()


def changed(folder: Path, spec: dict[str, Any], seed: int = 0) -> Path:
    """`circling_policy` with another spec, and other weights."""
    import torch

    from robot_pt import checkpoint
    from robot_pt.agents.bc import BC, BCConfig
    from robot_pt.networks.encoders import EncoderConfig
    from robot_pt.policy_record import PolicyRecord
    from robot_pt.schema import Spec
    from robot_pt.tasks import TaskTable

    torch.manual_seed(seed)
    made, tasks = Spec(**{"cameras": {"primary": (64, 64)}, "embodiment": "panda", **spec}), TaskTable.of(["lift-red"])
    agent = BC.build(
        made, cameras=list(made.cameras), image_size=(64, 64), task_slots=tasks.slots, encoder=EncoderConfig(name="small"),
        config=BCConfig(head="tanh_gaussian"), seed=seed,
    )  # fmt: skip
    checkpoint.save(
        folder, 0, agent, PolicyRecord.of(agent="bc", network=agent.actor.config, spec=made, tasks=tasks), {}
    )
    return folder


def test_a_reload_waits_for_the_end_of_the_episode_and_keeps_what_acts_on_failure(bench: Bench, tmp_path: Path) -> None:
    first, second = bench.acting, changed(tmp_path / "second", {}, seed=4)
    bench.episode("recording")
    ok, said = bench.ask("prepare", second)
    assert ok, said
    assert bench.acting == first, "only loaded"
    ok, said = bench.ask("reload", second)
    assert not ok
    assert said == "episode e-1 is running; reload when it has ended."
    bench.episode("ended")
    until, beats = time.monotonic() + 30, bench.beats
    while "is running" in said and time.monotonic() < until:  # until it has heard of the end
        ok, said = bench.ask("reload", second)
    assert ok, said
    swap_ms = float(said.split("the swap took ")[1].split(" ms")[0])
    assert swap_ms < 5000
    assert bench.graph.spin_until(lambda: bench.versions[-1]["sha256"] != first)
    assert bench.versions[-1]["checkpoint"] == str(second)
    assert bench.graph.spin_until(lambda: bench.beats > beats), "its bond holds"

    acting = bench.acting
    for folder, why in (
        (circling_policy(tmp_path / "nan", broken=True), "damaged"),
        (changed(tmp_path / "side", {"cameras": {"wrist": (64, 64)}}), "wrist"),
        (changed(tmp_path / "other arm", {"embodiment": "widowx250s"}), "widowx250s"),
        (changed(tmp_path / "slow", {"control_hz": 2.0}), "control rate"),
        (tmp_path / "nowhere", "does not exist"),
    ):
        ok, said = bench.ask("reload", folder)
        assert not ok, folder
        assert said.startswith(f"kept {acting[:12]}: "), said
        assert why in said
        assert bench.acting == acting
    shutil.rmtree(tmp_path / "first")
    assert call(bench.graph, bench.node, "policy/warmup")[0], "what acts is whole"
    assert bench.process.end() == 0


def test_who_asks_a_node_that_is_not_there_hears_so(graph: Any) -> None:
    calls, answers = PolicyCalls(graph.node("alone")), []
    calls.ask("reload", "x", lambda ok, sentence: answers.append((ok, sentence)))
    assert not calls.busy
    assert not answers[0][0]
    assert "nobody serves" in answers[0][1]


def test_a_policy_node_that_dies_or_refuses_is_no_wait_for_ever(graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that declares `checkpoint` and serves what a test says."""
    from rclpy.callback_groups import ReentrantCallbackGroup
    from std_srvs.srv import Trigger

    monkeypatch.setattr("robot_pt_ros.policy_calls.ANSWER_S", 2.0)
    policy, asking = graph.node("policy"), graph.node("asking")
    policy.declare_parameter("checkpoint", "")
    calls, answers = PolicyCalls(asking), []
    asked = []

    async def never(request: Any, response: Any) -> Any:
        from rclpy.task import Future

        asked.append(str(policy.get_parameter("checkpoint").value))
        return await Future()

    policy.create_service(Trigger, "policy/reload", never, callback_group=ReentrantCallbackGroup())
    assert graph.spin_until(
        lambda: calls._clients["reload"].service_is_ready() and calls._parameters.service_is_ready()
    )
    calls.ask("reload", "/runs/7", lambda ok, sentence: answers.append((ok, sentence)))
    assert graph.spin_until(lambda: (calls.look(), answers)[1])
    assert asked == ["/runs/7"]
    assert answers == [(False, "policy/reload has not answered for 2 s; is the policy node alive?")]
    calls.name("/runs/6")
    assert graph.spin_until(lambda: policy.get_parameter("checkpoint").value == "/runs/6")


def test_what_breaks_while_loading_reaches_who_waits(graph: Any) -> None:
    node, heard = graph.node("loader"), []
    failures = iter([UserError("no such policy."), RuntimeError("CUDA out of memory"), OSError("disk"), None])
    session = object()

    def make(folder: str) -> Any:
        failure = next(failures)
        if failure is not None:
            raise failure
        return session

    nexts = NextSession(node, lambda: "/runs/1", make)

    async def ask() -> None:
        try:
            heard.append((await nexts.get()).session)
        except UserError as error:
            heard.append(str(error))

    for _ in range(5):
        count = len(heard) + 1
        graph.executor.create_task(ask)
        assert graph.spin_until(lambda count=count: len(heard) == count)
    lost = "/runs/1 cannot be loaded:"
    assert heard == ["no such policy.", f"{lost} CUDA out of memory", f"{lost} disk", session, session], (
        "kept, not made again"
    )
