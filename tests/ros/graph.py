"""A whole graph in processes of its own from a launch file, and a watcher that times and checks every command it sends."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robot_pt.robots import load
from robot_pt.schema import Spec

ROOT = Path(__file__).parents[2]
LAUNCH = Path(__file__).with_name("faults.launch.yaml")
LOW, HIGH = np.array([0.38, -0.12, -0.02]), np.array([0.58, 0.14, 0.2])
"""Workspace of the launch file [m]."""
STEP_M, STEP_RAD, CONTROL_HZ = 0.051, 0.3, 5.0
"""The gate's step limits in simulation."""


class Command(NamedTuple):
    heard_s: float  # time.monotonic
    stamp_ns: int
    q: np.ndarray  # (J,)
    gripper: float


class State(NamedTuple):
    heard_s: float
    mode: str
    text: str
    fault: str
    counts: str


class Graph:
    """`robot-pt launch FILE name:=value ...` on a domain; killed with everything it started at `close`."""

    def __init__(self, domain: int, folder: Path, *, launch: Path = LAUNCH, **arguments: object):
        self.said = folder / "launch.txt"
        paths = os.pathsep.join([str(ROOT), str(ROOT / "ros_nodes"), str(ROOT / "sim")])
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        given = [f"{name}:={value}" for name, value in arguments.items()]
        with self.said.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "robot_pt", "launch", str(launch), *given],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.said.read_text()

    def pid(self, node: str) -> int:
        """Of a node's process."""
        found = re.search(rf"\] {node}-\d+: started with pid (\d+)", self.text)
        assert found, f"{node} was not started: {self.text[-2000:]}"
        return int(found[1])

    def send(self, node: str, number: int) -> float:
        """A signal to one node; the time it was sent [s, monotonic]."""
        os.kill(self.pid(node), number)
        return time.monotonic()

    def wait(self, timeout_s: float = 40.0) -> int:
        """The launch's exit code."""
        return self.process.wait(timeout_s)

    def end(self, timeout_s: float = 40.0) -> tuple[int, float]:
        """Ctrl-C: (exit code, seconds it took)."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return self.wait(timeout_s), time.monotonic() - begun

    def exit_codes(self) -> dict[str, int]:
        """Node -> exit code, as launch's last table has it."""
        return {node: int(code) for node, code in re.findall(r"^\s+(\w+)-\d+\s+(-?\d+)\s*$", self.text, re.M)}

    def close(self) -> None:
        pids = [int(pid) for pid in re.findall(r"started with pid (\d+)", self.text)]
        if self.process.poll() is None:
            for pid in [*pids, self.process.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self.process.wait()


class Watcher:
    """A node in this process, spun by a thread, that records what is sent and said; an operator with a deadman in hand."""

    def __init__(
        self, domain: int, *, namespace: str = "", arm: str = "panda", low: np.ndarray = LOW, high: np.ndarray = HIGH
    ):
        """`low`, `high` (3,): the workspace that commands are checked against [m]."""
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor

        self.context = Context()
        self.context.init(["watcher"], domain_id=domain)
        import rclpy

        self.node = rclpy.create_node("watcher", context=self.context, namespace=namespace)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.commands: list[Command] = []
        self.states: list[State] = []
        self.joints: list[tuple[float, np.ndarray]] = []
        self.joint_names: list[tuple[float, tuple[str, ...]]] = []
        self.steps: list[dict[str, Any]] = []
        self.held: bool | None = None  # the deadman; None: no heartbeat at all
        self._beating = threading.Lock()
        self._checked = 0
        self.arm, self.low, self.high = load(arm), low, high
        self._clients: dict[tuple[Any, str], Any] = {}
        self._listen()
        self._running = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        from diagnostic_msgs.msg import DiagnosticStatus
        from rclpy.clock import Clock, ClockType
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool, String
        from trajectory_msgs.msg import JointTrajectory

        from robot_pt_ros import topics

        listen = self.node.create_subscription
        listen(JointTrajectory, topics.COMMAND, self._on_command, topics.recorded(1000))
        listen(DiagnosticStatus, topics.SAFETY_STATE, self._on_state, topics.latched())
        listen(JointState, topics.JOINT_STATES, self._on_joints, topics.recorded(1000))
        listen(String, topics.STEP_INFO, lambda m: self.steps.append(json.loads(m.data)), topics.recorded(1000))
        self._deadman: Any = None  # made with the first heartbeat: a second publisher is a fault
        self._estop = self.node.create_publisher(Bool, topics.ESTOP, topics.latched())
        self._bool = Bool
        self.node.create_timer(0.02, self.beat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _spin(self) -> None:
        while self._running and self.context.ok():
            self.executor.spin_once(timeout_sec=0.1)

    def beat(self) -> None:
        """One heartbeat of the deadman; also fifty times a second by itself."""
        from robot_pt_ros import topics

        with self._beating:
            if self.held is None:
                return
            if self._deadman is None:
                self._deadman = self.node.create_publisher(self._bool, topics.DEADMAN, topics.heartbeat())
            self._deadman.publish(self._bool(data=self.held))

    def let_go(self) -> None:
        """No heartbeats from here, and nobody who might send them."""
        with self._beating:
            self.held, deadman, self._deadman = None, self._deadman, None
        if deadman is not None:
            self.node.destroy_publisher(deadman)

    def _on_command(self, message: Any) -> None:
        values = np.array(message.points[0].positions)
        assert list(message.joint_names) == [*self.arm.joint_names, "gripper"]
        stamp = message.header.stamp
        self.commands.append(Command(time.monotonic(), stamp.sec * 10**9 + stamp.nanosec, values[:-1], values[-1]))

    def _on_state(self, message: Any) -> None:
        values = {pair.key: pair.value for pair in message.values}
        self.states.append(State(time.monotonic(), values["mode"], message.message, values["fault"], values["counts"]))

    def _on_joints(self, message: Any) -> None:
        by_name = {"gripper": np.nan, **dict(zip(message.name, message.position, strict=True))}
        self.joint_names.append((time.monotonic(), tuple(message.name)))
        if by_name.keys() >= set(self.arm.joint_names):
            self.joints.append(
                (time.monotonic(), np.array([by_name[name] for name in (*self.arm.joint_names, "gripper")]))
            )

    # the operator

    def estop(self, stop: bool) -> float:
        """Say it on the topic; when [s, monotonic]."""
        self._estop.publish(self._bool(data=stop))
        return time.monotonic()

    def forget_estop(self) -> None:
        """Take the e-stop's publisher away, and with it what those who come later would hear."""
        self.node.destroy_publisher(self._estop)

    def drive(self, timeout_s: float = 30.0) -> None:
        """From any latch or stop back to a policy that moves the arm, as an operator does it."""
        until = time.monotonic() + timeout_s
        while True:
            begun = time.monotonic()
            if self.mode != "policy":
                self.held = False
                time.sleep(0.3)
                for request in ("reset_fault", "clear_estop", "arm"):
                    self.pull(f"safety/{request}")
                self.held = True
                self.until(lambda: self.pull("safety/start_policy")[0] or time.monotonic() > until, 30, "no start")
                self.pull("policy/start")
            time.sleep(0.7)
            if self.mode == "policy" and self.motions(begun):
                return
            assert begun < until, f"it does not drive again: {self.states[-1:]}, {self.pull('policy/start')}"

    def pull(self, name: str, data: bool | None = None, timeout_s: float = 15.0) -> tuple[bool, str]:
        """A Trigger, or with `data` a SetBool: (success, message)."""
        from std_srvs.srv import SetBool, Trigger

        kind = Trigger if data is None else SetBool
        answer = self._call(kind, name, kind.Request() if data is None else kind.Request(data=data), timeout_s)
        return bool(answer.success), str(answer.message)

    def set(self, node: str, **parameters: object) -> float:
        """Parameters of a node; when they were in force [s, monotonic]."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        values = [Parameter(name, value=value).to_parameter_msg() for name, value in parameters.items()]
        answer = self._call(
            SetParameters, f"{node}/set_parameters", SetParameters.Request(parameters=values), timeout_s=15.0
        )
        assert all(result.successful for result in answer.results), answer.results
        return time.monotonic()

    def _call(self, kind: Any, name: str, request: Any, timeout_s: float) -> Any:
        client = self._clients.get((kind, name))
        if client is None:
            client = self._clients[kind, name] = self.node.create_client(kind, name)
        self.until(client.service_is_ready, timeout_s, f"{name} is not there")
        future = client.call_async(request)
        self.until(future.done, timeout_s, f"{name} does not answer")
        return future.result()

    def spin_until(self, reached: Callable[[], Any], timeout_s: float = 30.0) -> bool:
        """Whether it was reached in time; the thread spins."""
        until = time.monotonic() + timeout_s
        while not reached():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    # what was seen

    @property
    def mode(self) -> str:
        """As last said; "" before anything was."""
        return self.states[-1].mode if self.states else ""

    def until(self, reached: Callable[[], object], timeout_s: float, what: str) -> float:
        """Wait for it; when it was so [s, monotonic]."""
        until = time.monotonic() + timeout_s
        while not reached():
            assert time.monotonic() < until, f"{what}; last said: {self.states[-1:]}"
            time.sleep(0.01)
        return time.monotonic()

    def until_mode(self, *modes: str, since_s: float = 0.0, timeout_s: float = 10.0) -> State:
        """The first state of one of these modes that was said after `since_s`."""
        found: list[State] = []

        def said() -> bool:
            found[:] = [s for s in list(self.states) if s.heard_s > since_s and s.mode in modes][:1]
            return bool(found)

        self.until(said, timeout_s, f"waited for mode {modes}")
        return found[0]

    def until_said(self, why: str, *, since_s: float = 0.0, timeout_s: float = 5.0) -> State:
        """The first hold after `since_s` for one of these reasons, parts of sentences between |."""
        found: list[State] = []

        def said() -> bool:
            held = [s for s in list(self.states) if s.heard_s > since_s and s.mode == "hold"]
            found[:] = [s for s in held if any(part in s.text for part in why.split("|"))][:1]
            return bool(found)

        self.until(said, timeout_s, f"waited for hold because {why!r}")
        return found[0]

    def motions(self, since_s: float = 0.0) -> list[Command]:
        """Commands after `since_s` that differ from the one before."""
        sent = list(self.commands)
        pairs = itertools.pairwise(sent)
        return [b for a, b in pairs if b.heard_s > since_s and np.abs(b.q - a.q).max() > 1e-9]

    def time_to_hold(self, since_s: float, settle_s: float = 0.6) -> float:
        """Wait until no command moves for `settle_s`; how long after `since_s` the last one did [s]."""
        while True:
            moved = self.motions(since_s)
            last = moved[-1].heard_s if moved else since_s
            if time.monotonic() - last > settle_s:
                return last - since_s
            time.sleep(0.02)

    def check_limits(self, *, jumps: int = 0) -> int:
        """Every command heard since the last check is inside joint limits, workspace and speeds; how many there were.

        `jumps`: how often the clock of their stamps was set back; there one may follow another as if a control period had passed.
        """
        sent, self._checked = list(self.commands)[max(0, self._checked - 1) :], len(self.commands)
        backwards = sum(b.stamp_ns <= a.stamp_ns for a, b in itertools.pairwise(sent))
        assert backwards == jumps, "stamps of commands go up"
        low, high = np.asarray(self.arm.lower_rad), np.asarray(self.arm.upper_rad)
        fastest = np.asarray(self.arm.max_velocity_rad_s).max()
        poses = [self.arm.fk(c.q) for c in sent]
        for command in sent:
            assert np.isfinite(command.q).all()
            assert 0 <= command.gripper <= 1
            assert (command.q >= low - 1e-6).all()
            assert (command.q <= high + 1e-6).all()
        self._check_walls(sent, poses)
        for i, (a, b) in enumerate(itertools.pairwise(sent)):
            if self._stands_at(b):
                continue  # it asks for no motion: a start from where the arm was found to rest
            passed_ns = b.stamp_ns - a.stamp_ns
            dt_s = (passed_ns if passed_ns > 0 else 1e9 / CONTROL_HZ) / 1e9 + 0.02  # a tick's own delay
            turned = poses[i][:3, :3].T @ poses[i + 1][:3, :3]
            assert np.abs(b.q - a.q).max() <= fastest * dt_s, (a, b)
            assert np.linalg.norm(poses[i + 1][:3, 3] - poses[i][:3, 3]) <= STEP_M * CONTROL_HZ * dt_s + 1e-3, (a, b)
            assert np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1)) <= STEP_RAD * CONTROL_HZ * dt_s + 1e-2, (a, b)
        return len(sent)

    def _check_walls(self, sent: list[Command], poses: list[np.ndarray]) -> None:
        """No command leads out of the workspace.

        An arm that swung over a wall and rests there is taken over where it rests, and comes back from there: after a pause a command may
        be as far outside as the arm was measured, and from then on never farther than the one before.
        """
        slack = 1e-3  # inverse kinematics may miss by 0.5 mm, here and in the command before
        allowed, rested = slack, True
        for i, (command, pose) in enumerate(zip(sent, poses, strict=True)):
            outside, before = self._outside(pose), sent[i - 1] if i else None
            if outside > allowed and (rested or before is None or command.heard_s - before.heard_s > 0.1):
                allowed = slack + max((self._outside(self.arm.fk(q)) for q in self._measured(command)), default=0.0)
            assert outside <= allowed, self._around(command)
            allowed = max(slack, min(allowed, outside + slack))
            rested = before is None or np.abs(command.q - before.q).max() < 1e-9

    def _outside(self, pose: np.ndarray) -> float:
        """How far a pose is outside the workspace [m], below 0 inside."""
        at = pose[:3, 3]
        return float(np.maximum(self.low - at, at - self.high).max())

    def _measured(self, command: Command) -> list[np.ndarray]:
        """(J,) each: where the arm was measured when a command came."""
        at = bisect_right(self.joints, command.heard_s, key=lambda heard: heard[0])
        near = [(heard_s, q[:-1]) for heard_s, q in self.joints[max(0, at - 3) : at + 1] if np.isfinite(q[:-1]).all()]
        return [q for heard_s, q in near if abs(heard_s - command.heard_s) < 0.2]

    def _around(self, command: Command) -> str:
        """What was sent, measured and said within a second of a command, to find out why it was sent."""
        near = [(c.heard_s, "sent", self.arm.fk(c.q)[:3, 3].round(5), c.q.round(4)) for c in self.commands]
        near += [
            (s, "measured", self.arm.fk(q[:-1])[:3, 3].round(5), q.round(4))
            for s, q in self.joints
            if np.isfinite(q).all()
        ]
        near += [(s.heard_s, "said", f"{s.mode}: {s.text}", s.fault) for s in self.states]
        rows = sorted((row for row in near if abs(row[0] - command.heard_s) < 1), key=lambda row: row[0])
        return "\n".join(f"{row[0] - command.heard_s:+.3f} s {row[1]}: {row[2]} {row[3]}" for row in rows)

    def _stands_at(self, command: Command) -> bool:
        """Whether the arm was measured within a hundredth of a radian of the command when it came."""
        return any(np.abs(q - command.q).max() < 0.01 for q in self._measured(command))

    def close(self) -> None:
        self._running = False
        self._thread.join(5.0)
        self.executor.shutdown(2.0)
        self.node.destroy_node()
        self.context.try_shutdown()


def circling_policy(
    folder: Path, *, broken: bool = False, low: np.ndarray = LOW, high: np.ndarray = HIGH, embodiment: str = "panda"
) -> Path:
    """A checkpoint of a policy that never rests: round the centre of the workspace, outwards, along its walls. `broken`: NaN weights."""
    import torch

    from robot_pt import checkpoint
    from robot_pt.agents.bc import BC, BCConfig
    from robot_pt.networks.encoders import EncoderConfig
    from robot_pt.policy_record import PolicyRecord
    from robot_pt.tasks import TaskTable

    centre = [*((low + high) / 2), 0.0, 0.0, 0.0, 0.0]
    spec, tasks = Spec(cameras={"primary": (64, 64)}, embodiment=embodiment), TaskTable.of(["lift-red"])
    agent = BC.build(
        spec, cameras=["primary"], image_size=(64, 64), task_slots=tasks.slots, encoder=EncoderConfig(name="small"),
        config=BCConfig(head="tanh_gaussian"), seed=3, proprio=(centre, [0.05] * 7),
    )  # fmt: skip
    actor, inputs = agent.actor, len(centre)
    begin = actor.encoder.width
    with torch.no_grad():
        for parameter in (*actor.body.parameters(), *actor.mean.parameters()):
            parameter.zero_()
        for i in range(inputs):  # through three rectifiers: what is above the centre and what is below it
            for sign, row in ((1.0, i), (-1.0, inputs + i)):
                actor.body[0].weight[row, begin + i] = sign
                actor.body[2].weight[row, row] = actor.body[4].weight[row, row] = 1.0
        for action, seen, gain in ((0, 0, 0.4), (0, 1, -1.0), (1, 0, 1.0), (1, 1, 0.4), (2, 2, -1.0)):
            actor.mean.weight[action, seen], actor.mean.weight[action, inputs + seen] = gain, -gain
        actor.mean.bias[6] = torch.nan if broken else 2.0
    record = PolicyRecord.of(agent="bc", network=actor.config, spec=spec, tasks=tasks)
    checkpoint.save(folder, 0, agent, record, {})
    return folder
