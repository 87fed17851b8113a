"""episodes: requests over services, episodes into the store, an evaluation that runs by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robot_pt.store import DemoStore
from robot_pt_ros import topics
from robot_pt_ros.calls import Call
from robot_pt_ros.errands import Errands
from tests.ros.node_process import NodeProcess, call, change_state
from tests.ros.scripted_robot import ScriptedRobot
from tests.ros.test_camera_node import write_video
from tests.ros.test_recorder_node import ROOM

DOMAIN = 75

# errands, over services of this process


def test_errands_leave_out_wait_insist_and_fail(graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from std_srvs.srv import SetBool, Trigger

    monkeypatch.setattr("robot_pt_ros.errands.APPEAR_S", 0.5)
    monkeypatch.setattr("robot_pt_ros.errands.ANSWER_S", 1.0)
    node, asked = graph.node("both"), []

    def serve(name: str, refusals: int = 0) -> Any:
        def answer(request: Any, response: Any) -> Any:
            asked.append(name)
            response.success, response.message = asked.count(name) > refusals, f"{name} said"
            return response

        return answer

    node.create_service(Trigger, "yes", serve("yes"))
    node.create_service(Trigger, "later", serve("later", 2))
    node.create_service(Trigger, "no", serve("no", 99))
    node.create_service(SetBool, "switch", serve("switch"))
    results: list[tuple[bool, str, dict[str, str]]] = []
    errands = Errands(node, ["yes", "later", "no", "nobody"], ["switch"], lambda *_: None)
    done = lambda *result: results.append(result)  # noqa: E731
    assert graph.spin_until(lambda: errands.serves("no") and errands.serves("switch"))
    errands.run(
        [
            Call("yes"), Call("nobody", optional=True), Call("no", may_refuse=True), Call("later", patience_s=5.0),
            Call("switch", True),
        ],
        done,
    )  # fmt: skip
    errands.run([Call("no"), Call("yes")], done)
    errands.run([Call("nobody")], done)
    assert graph.spin_until(lambda: len(results) == 3)
    assert results[0] == (True, "", {name: f"{name} said" for name in ("yes", "no", "later", "switch")})
    assert asked == ["yes", "no", "later", "later", "later", "switch", "no"]
    assert results[1][:2] == (False, "no: no said")
    assert "nobody serves nobody" in results[2][1]
    errands.run([Call("yes")], done)
    errands.abandon()
    graph.spin_for(0.3)
    assert (len(results), errands.busy) == (3, False)


# the processes


class FakeWorld:
    """What a simulator, a supervisor and a policy serve, in the test's process."""

    def __init__(self, node: Any):
        from std_msgs.msg import String
        from std_srvs.srv import SetBool, Trigger

        self.asked: list[str] = []
        self.seed = 4
        self.states: list[dict[str, Any]] = []
        for name in (
            "sim/reset",
            "policy/start",
            "policy/stop",
            "safety/arm",
            "safety/disarm",
            "safety/start_policy",
            "safety/stop_policy",
        ):
            node.create_service(Trigger, name, self._serve(name))
        node.create_service(SetBool, "takeover", self._serve("takeover"))
        self.result = node.create_publisher(String, "sim/result", topics.latched())
        node.create_subscription(
            String, topics.EPISODE_STATE, lambda m: self.states.append(json.loads(m.data)), topics.recorded(100)
        )

    def _serve(self, name: str) -> Any:
        def answer(request: Any, response: Any) -> Any:
            self.asked.append(name)
            self.seed += name == "sim/reset"
            response.success, response.message = True, json.dumps({"seed": self.seed})
            return response

        return answer

    def ended(self, graph: Any, success: bool, heard: Callable[[], Any]) -> bool:
        """Say how the episode of this seed ended, again until it is heard: not before the manager knows that it runs."""
        from std_msgs.msg import String

        said = String(data=json.dumps({"seed": self.seed, "success": success}))
        return any(graph.spin_until(heard, 0.5) for _ in range(60) if self.result.publish(said) is None)

    @property
    def phase(self) -> tuple[str, str]:
        return (self.states[-1]["phase"], self.states[-1]["id"]) if self.states else ("", "")


def test_episodes_flow_through_services_into_the_store(graph: Any, tmp_path: Path) -> None:
    node = graph.node("world")
    world = FakeWorld(node)
    store = tmp_path / "store"
    video = write_video(tmp_path / "v.avi", 15, 20.0)
    processes = [
        NodeProcess("camera", DOMAIN, tmp_path, source=str(video)),
        NodeProcess("recorder", DOMAIN, tmp_path, root=str(store), robot="panda", **ROOM),
        NodeProcess("episodes", DOMAIN, tmp_path, record=True, task="lift", prefix="run", reset_service="sim/reset"),
    ]
    try:
        for name in ("camera", "recorder"):
            assert change_state(graph, node, name, 1, 3) == [True, True]
        ScriptedRobot(node, mode="policy", asks=False)
        assert graph.spin_until(lambda: call(graph, node, "episode/start")[0])
        assert graph.spin_until(lambda: "policy/start" in world.asked), processes[2].text
        assert graph.spin_until(lambda: world.phase == ("recording", "run-0001"))
        graph.spin_for(1.2)
        assert world.ended(graph, True, lambda: world.phase == ("ended", "run-0001"))
        assert call(graph, node, "episode/start")[0]
        assert graph.spin_until(lambda: world.phase == ("recording", "run-0002")), processes[1].text
        graph.spin_for(1.2)
        assert call(graph, node, "episode/stop")[0]
        assert graph.spin_until(lambda: world.phase[0] == "awaiting label")
        assert "kept as a failure" in call(graph, node, "episode/end", False)[1]
        assert graph.spin_until(lambda: len(DemoStore(store).episodes) == 2), processes[1].text
        found = [DemoStore(store).read(name) for name in DemoStore(store).episodes]
        assert [e.success for e in found] == [True, False]
        assert [e.metadata["seed"] for e in found] == [5, 6]
        assert [e.task for e in found] == ["lift"] * 2
        assert all(set(e.operator or []) == {"policy"} for e in found)
        assert call(graph, node, "episode/discard")[0]
        assert graph.spin_until(lambda: len(DemoStore(store).source(split="train").episodes.split) == 1)
        assert call(graph, node, "episode/keep")[0] is False
        assert world.asked.index("sim/reset") < world.asked.index("safety/arm") < world.asked.index("policy/start")
        assert processes[2].end() == 0
    finally:
        for process in processes:
            process.close()


def test_evaluation_runs_by_itself_and_leaves(graph: Any, tmp_path: Path) -> None:
    from std_msgs.msg import String

    node = graph.node("world")
    world, summaries = FakeWorld(node), []
    listen = node.create_subscription(
        String, "episode/summary", lambda m: summaries.append(json.loads(m.data)), topics.latched()
    )
    manager = node.create_publisher(String, "manager/state", topics.latched())
    process = NodeProcess("episodes", DOMAIN, tmp_path, episodes=2, reset_service="sim/reset", exit_when_done=True)
    try:
        graph.spin_for(0.3)
        assert world.asked == []
        manager.publish(String(data="active"))
        for number in (1, 2):
            assert graph.spin_until(lambda n=number: world.asked.count("policy/start") == n), process.text
            on = lambda n=number: summaries if n == 2 else world.asked.count("policy/start") > n  # noqa: E731
            assert world.ended(graph, number == 2, on), process.text
        assert (summaries[0]["episodes"], summaries[0]["successes"]) == (2, 1)
        assert [r["outcome"] for r in summaries[0]["results"]] == ["failure", "success"]
        assert process.process.wait(60) == 0
        assert listen is not None
    finally:
        process.close()


def test_mistakes_are_one_sentence_at_start(tmp_path: Path) -> None:
    for words, parameters in (("give reset_service", {"episodes": 2}), ("without slashes", {"prefix": "a/b"})):
        process = NodeProcess("episodes", DOMAIN, tmp_path, **parameters)
        try:
            assert process.process.wait(60) == 2
            assert words in process.text
            assert "Traceback" not in process.text
        finally:
            process.close()
