"""launch/online.launch.yaml and a learner, all in processes of their own: pretrain -> act -> record -> learn -> reload -> act."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robot_pt.checkpoint import save_policy
from robot_pt.images import decode_one
from robot_pt.online.serving import Serving, folder_of, read_serving, serve, versions
from robot_pt.policy import Policy
from robot_pt.policy_record import PolicyRecord
from robot_pt.safe_files import read_json
from robot_pt.safe_tensors import read_tensors
from robot_pt.schema import Episode, Observation, Spec
from robot_pt.store import DemoStore
from tests.ros import graph as graphs

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")
pytest.importorskip("robot_pt_sim.panda", reason="needs robot-pt[sim]")

DOMAIN = 120
LAUNCH = graphs.ROOT / "launch/online.launch.yaml"
TASK = "lift-red"


def robot_pt(folder: Path, name: str, *words: object) -> subprocess.Popen:
    paths = os.pathsep.join(str(graphs.ROOT / part) for part in (".", "data", "sim", "ros_nodes"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    with (folder / f"{name}.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "robot_pt", *map(str, words)], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def finished(process: subprocess.Popen, log: Path) -> None:
    assert process.wait(60) == 0, log.read_text()[-3000:]


def demonstrations(folder: Path) -> Path:
    """Three short episodes of small motions: enough to pretrain something that acts."""
    spec, rng, steps = Spec(cameras={"primary": (64, 64)}, embodiment="panda"), np.random.default_rng(5), 6
    store = DemoStore.create(folder, spec)
    for _ in range(3):
        actions = rng.uniform(-0.01, 0.01, (steps, 7)).astype(np.float32)
        actions[:, 6] = 1.0
        store.append(
            Episode(
                spec=spec, images={"primary": rng.integers(0, 256, (steps, 64, 64, 3), np.uint8)},
                proprio=rng.normal(0.3, 0.1, (steps, 7)).astype(np.float32), actions=actions,
                rewards=np.eye(steps, dtype=np.float32)[-1], terminated=np.arange(steps) == steps - 1,
                truncated=np.zeros(steps, bool), task=TASK, instruction=TASK, success=True, operator=["scripted"] * steps,
            )
        )  # fmt: skip
    return folder


class Operator(graphs.Watcher):
    """The watcher, who also hears versions, the online node and diagnostics."""

    def __init__(self) -> None:
        super().__init__(DOMAIN, namespace="/sim")
        from diagnostic_msgs.msg import DiagnosticArray
        from std_msgs.msg import String

        from robot_pt_ros import topics

        self.versions, self.online, self.rows, self.phases = [], {}, {}, []
        listen = self.node.create_subscription
        listen(
            String,
            topics.POLICY_VERSION,
            lambda m: self.versions.append(json.loads(m.data)["sha256"]),
            topics.latched(),
        )
        listen(String, topics.ONLINE_STATE, lambda m: self.online.update(json.loads(m.data)), topics.latched())
        listen(String, topics.EPISODE_STATE, lambda m: self.phases.append(json.loads(m.data)), topics.latched())
        listen(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, topics.recorded(10))

    def _on_diagnostics(self, message) -> None:
        self.rows.update({row.name: (row.level, row.message) for row in message.status})

    @property
    def episodes(self) -> int:
        """Ended so far."""
        return len({told["id"] for told in list(self.phases) if told["phase"] == "ended"})

    def until_episodes(self, more: int) -> None:
        begun = self.episodes
        self.until(lambda: self.episodes >= begun + more, 40, "the graph does not act on")


def not_finite(run: Path) -> Serving:
    """Point `run` to a version whose weights are NaN, whole and signed, as no publisher of ours would."""
    from types import SimpleNamespace

    import torch

    last = folder_of(run, versions(run)[-1])
    weights = {
        name: torch.full_like(value, torch.nan) for name, value in read_tensors(last / "weights.safetensors").items()
    }
    agent = SimpleNamespace(acting=SimpleNamespace(state_dict=lambda: weights))
    record = PolicyRecord.from_json(read_json(last / "policy.json"))
    number = versions(run)[-1] + 50
    version = save_policy(folder_of(run, number), 999, agent, record)
    bad = Serving(number, version, 999, f"versions/{number:06d}", check={"observations": 9, "bound_share": 0.0})
    serve(run, bad)
    return bad


def test_a_robot_improves_on_the_job(tmp_path):
    start, run, store = tmp_path / "start", tmp_path / "online", tmp_path / "store"
    demos = demonstrations(tmp_path / "demos")
    training = robot_pt(
        tmp_path, "pretrain", "pretrain", "--data", demos, "--out", start, "--algorithm", "bc", "--encoder", "small",
        "--image-size", 64, "--steps", 2, "--batch-size", 8,
    )  # fmt: skip
    finished(training, tmp_path / "pretrain.txt")
    learner = robot_pt(
        tmp_path, "learner", "online", "--from", start, "--out", run, "--actors", 0, "--follow", store, "--batch-size", 8,
        "--publish-every", 100_000, "--utd", 10,
    )  # fmt: skip
    operator = Operator()
    graph = graphs.Graph(
        DOMAIN, tmp_path, launch=LAUNCH, checkpoint=start, run=run, store=store, task=TASK, episodes=500, max_steps=5,
        lockstep="true", confirm="true", stale_s=2.0,
    )  # fmt: skip
    try:
        improved = improves(operator, graph, run, tmp_path)
        learner.send_signal(signal.SIGKILL)
        learner.wait()
        operator.until(lambda: "not been heard of" in operator.rows["online"][1], 15, "nobody misses the learner")
        assert operator.rows["online/learner"][0] == b"\x03", "stale"
        survives(operator, run, improved)
        assert graph.end()[0] == 0, graph.text[-3000:]
    finally:
        operator.close()
        graph.close()
        learner.kill()
        learner.wait()
    assert read_json(run / "heartbeats/robot_sim.json")["state"] == "stopped"
    checked(run, start, store, operator.versions)


def improves(operator: Operator, graph: graphs.Graph, run: Path, folder: Path) -> str:
    """The first version waits for the operator; then each is taken by itself. The version that acts in the end."""
    try:
        operator.until(
            lambda: operator.online.get("waits_for_operator") and operator.episodes > 1, 90, "nothing is offered"
        )
    except AssertionError:
        raise AssertionError(graph.text[-3000:] + (folder / "learner.txt").read_text()[-2000:]) from None
    assert len(operator.versions) == 1, "nothing was taken without the operator"
    assert "waits for online/confirm" in operator.online["sentence"]
    ok, sentence = operator.pull("online/confirm")
    assert ok, sentence
    operator.until(lambda: len(operator.versions) > 1, 20, "what was confirmed is not taken")
    operator.set("online", confirm=False)
    operator.until(
        lambda: len(operator.versions) > 3 and (operator.online["acting_number"] or 0) > 2, 40, "no newer one is taken"
    )
    return operator.versions[-1]


def survives(operator: Operator, run: Path, improved: str) -> None:
    """Without a learner the graph acts on; NaN is refused; one call rolls back."""
    operator.until_episodes(2)
    operator.until(lambda: read_serving(run).version == operator.versions[-1], 20, "the last one is not taken")
    acting, count, number = operator.versions[-1], len(operator.versions), operator.online["acting_number"]
    bad = not_finite(run)
    operator.until(
        lambda: "weights or the observation are damaged" in operator.rows["online"][1],
        20,
        "nobody says that NaN is refused",
    )
    operator.until_episodes(2)
    assert operator.versions[-1] == acting
    assert len(operator.versions) == count
    assert bad.version not in operator.versions
    ok, sentence = operator.pull("online/rollback")
    assert ok, sentence
    operator.until(lambda: (operator.online["acting_number"] or 99) < number, 20, "it does not roll back")
    operator.until_episodes(2)
    assert operator.online["held"]
    assert bad.version not in operator.versions


def checked(run: Path, start: Path, store: Path, heard: list[str]) -> None:
    """Every episode was acted by one version, those change in the order they were taken, and the actions are theirs."""
    demos = DemoStore(store)
    played = [demos.read(name) for name in demos.episodes]
    order = [episode.policy_version for episode in played]
    assert "mixed" not in order
    assert "" not in order
    taken = [a for a, b in zip(order, [None, *order], strict=False) if a != b]
    told = iter(heard)
    assert all(version in told for version in taken), "versions in the store follow those that were taken"
    assert len(set(taken)) >= 3, taken
    numbers = [n for n in versions(run) if n > 1]  # the first has the weights of the start
    there = {read_json(folder_of(run, n) / "policy.json")["version"]: folder_of(run, n) for n in numbers}
    of_start = Policy.load(start)
    compared = 0
    for episode in played:
        if episode.policy_version in there:
            off = [np.abs(episode.requested_actions - acts(policy, episode)).max()
                   for policy in (Policy.load(there[episode.policy_version]), of_start)]  # fmt: skip
            assert off[0] < 1e-3, off  # frames are stored as JPEG
            assert off[1] > 3 * off[0], off
            compared += 1
    assert compared >= 2


def acts(policy: Policy, episode: Episode) -> np.ndarray:
    """(T, 7): what the policy does on the episode's own observations."""
    policy.reset(TASK)
    frames = [image if isinstance(image, np.ndarray) else decode_one(image) for image in episode.images["primary"]]
    seen = [Observation({"primary": frame}, state) for frame, state in zip(frames, episode.proprio, strict=True)]
    return np.array([policy.act([one])[0] for one in seen])
