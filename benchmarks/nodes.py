"""What the nodes cost: from a camera image to the policy's target less the network, and one tick of the supervisor.

Run: ``python benchmarks/nodes.py [--quick]``. Prints a table, then one JSON object on the last line. The policy node, a process of
its own, gets two 256x256 rgb8 cameras and joint states at 10 Hz in lock-step, where the images themselves make it decide: the time
is from just before the images are published to the heard pose and gripper of that stamp, less the inference time that the node
reports; beside it the processor time of the whole process from one decision to the next, less that of the network, which
other programs do not stretch. The supervisor, a process of its own, ticks at 50 Hz beside joint states at 50 Hz and targets at 5 Hz; timed is the
whole tick, publishing included, on the wall and in processor time, which a busy machine does not stretch, and beside it the
rehearsal a millisecond ahead (`Gate.rehearse`), which is no part of the tick. Both once as they are and once tuned as on a robot's
computer: the supervisor at real-time priority, and processors that do not sleep, which its `cpu_latency_us` gives every node.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from quick import asked_quick

from robot_pt.machine import describe, versions
from robot_pt_ros.ros import use_ros

use_ros()

from robot_pt_ros.realtime import stay_awake  # noqa: E402 - after the path to ROS is set

SIZE, HZ, DOMAIN = (256, 256), 10, 104
CAMERAS = ("primary", "wrist")
SETTLING_S = 1.0
"""The first second of both is left out: processes meet, and run everything for the first time."""
TUNED = {"realtime_priority": 50, "cpu_latency_us": 0}
"""The supervisor on a robot's computer: its usual priority there, and processors that do not sleep. Both need root, or are left out."""
TARGETS = {"policy node less network, p99 ms": 5.0, "supervisor tick, p99 ms": 1.0}


def make_policy(folder: Path) -> Path:
    """A small network for two cameras at 10 Hz, as it is initialised."""
    from robot_pt import checkpoint
    from robot_pt.agents.bc import BC, BCConfig
    from robot_pt.networks.encoders import EncoderConfig
    from robot_pt.policy_record import PolicyRecord
    from robot_pt.schema import Spec
    from robot_pt.tasks import TaskTable

    spec = Spec(cameras=dict.fromkeys(CAMERAS, SIZE), embodiment="panda", control_hz=HZ)
    tasks = TaskTable.of(["benchmark"])
    agent = BC.build(
        spec, cameras=list(CAMERAS), image_size=(64, 64), task_slots=tasks.slots,
        encoder=EncoderConfig(name="small"), config=BCConfig(head="tanh_gaussian"), seed=0,
    )  # fmt: skip
    record = PolicyRecord.of(agent="bc", network=agent.actor.config, spec=spec, tasks=tasks)
    checkpoint.save(folder, 0, agent, record, {})
    return folder


class Others:
    """The rest of the graph in this process: cameras, driver, supervisor or policy, as the case needs."""

    def __init__(self, domain: int):
        import rclpy
        from geometry_msgs.msg import PoseStamped
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import Image, JointState
        from std_msgs.msg import String
        from trajectory_msgs.msg import JointTrajectory

        from robot_pt.robots import load
        from robot_pt_ros import topics

        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("others", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.arm, self.q = load("panda"), np.asarray(load("panda").home_rad)
        make = self.node.create_publisher
        self.kinds = {
            "joints": make(JointState, topics.JOINT_STATES, topics.newest()),
            "primary": make(Image, topics.camera_image("primary"), topics.newest()),
            "wrist": make(Image, topics.camera_image("wrist"), topics.newest()),
        }
        self.pair: Callable[[], tuple[Any, Any]] = lambda: (
            make(PoseStamped, topics.COMMAND_POSE, topics.newest()),
            make(JointTrajectory, topics.COMMAND, topics.newest()),
        )
        self.asking: Callable[[], tuple[Any, Any, Any]] = lambda: (
            make(PoseStamped, topics.POLICY_POSE, topics.newest()),
            make(JointTrajectory, topics.POLICY_GRIPPER, topics.newest()),
            make(String, topics.STEP_INFO, topics.recorded()),
        )

    def say_joints(self, stamp_ns: int) -> None:
        from robot_pt_ros.conversions import GRIPPER, joint_state_message

        names = [*self.arm.joint_names, GRIPPER]
        self.kinds["joints"].publish(joint_state_message(stamp_ns, names, np.append(self.q, 1.0), "base_link"))

    def call(self, kind: Any, name: str, request: Any, timeout_s: float = 30.0) -> Any:
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, timeout_s)
        future = client.call_async(request)
        self.until(future.done, timeout_s)
        self.node.destroy_client(client)
        return future.result()

    def bring_up(self, name: str) -> None:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=number))
            if not self.call(ChangeState, f"{name}/change_state", request, 60).success:
                sys.exit(f"{name} did not come up")

    def pull(self, name: str) -> str:
        from std_srvs.srv import Trigger

        answer = self.call(Trigger, name, Trigger.Request())
        return "" if answer.success else f"{name}: {answer.message}"

    def until(self, reached: Callable[[], Any], timeout_s: float) -> bool:
        end = time.monotonic() + timeout_s
        while not reached() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)
        return bool(reached())

    def close(self) -> None:
        self.executor.shutdown(2.0)
        self.node.destroy_node()
        self.context.try_shutdown()


def started(argv: list[str], domain: int, **parameters: object) -> subprocess.Popen[str]:
    """A node with these parameters in a process of its own."""
    given = [word for k, v in parameters.items() for word in ("-p", f"{k}:={v}")]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *argv, "--ros-args", *given], env=environment, stdout=subprocess.PIPE, text=True
    )


class Answers:
    """What a policy node says to each observation: both halves of its target, when they came, and how long it inferred."""

    def __init__(self, others: Others):
        from geometry_msgs.msg import PoseStamped
        from std_msgs.msg import String
        from trajectory_msgs.msg import JointTrajectory

        from robot_pt_ros import topics

        self.heard: dict[int, list[float]] = {}
        self.infer_ms: dict[int, float] = {}
        self.poses: dict[int, Any] = {}
        listen = others.node.create_subscription
        listen(PoseStamped, topics.POLICY_POSE, self._on_half, topics.newest())
        listen(JointTrajectory, topics.POLICY_GRIPPER, self._on_half, topics.newest())
        listen(String, topics.STEP_INFO, self._on_info, topics.recorded())

    def _on_half(self, message: Any) -> None:
        from robot_pt_ros.conversions import nanoseconds, pose_of

        stamp = nanoseconds(message.header.stamp)
        self.heard.setdefault(stamp, []).append(time.perf_counter())
        if hasattr(message, "pose"):
            self.poses[stamp] = pose_of(message)

    def _on_info(self, message: Any) -> None:
        info = json.loads(message.data)
        self.infer_ms[info["stamp_ns"]] = info["inference_ms"]

    def complete(self, stamp_ns: int) -> bool:
        return len(self.heard.get(stamp_ns, ())) == 2 and stamp_ns in self.infer_ms


def policy_overhead(run: Path, decisions: int) -> tuple[np.ndarray, np.ndarray]:
    """(decisions,) [ms] from before the images are published to both halves of the target, less inference; and (decisions,) [ms]
    processor time of the node's process for one decision and everything it hears until the next, less the network's."""
    from robot_pt.commands import JointCommand
    from robot_pt_ros.conversions import command_messages, image_message

    node = started(
        [__file__, "--policy"], DOMAIN, checkpoint=run, robot="panda", lockstep="true", use_sim_time="true",
        image_size=list(SIZE),
    )  # fmt: skip
    others = Others(DOMAIN)
    answers, (answer_pose, answer_joints) = Answers(others), others.pair()
    rng, period_ns, took = np.random.default_rng(0), 10**9 // HZ, []
    frames = [rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(8)]
    settling = round(SETTLING_S * HZ)
    try:
        others.bring_up("policy")
        for i in range(settling + decisions):
            stamp, due = 10**9 + i * period_ns, time.monotonic() + 1 / HZ
            others.say_joints(stamp)
            others.until(lambda: False, 0.01)
            seen = {c: image_message(stamp, "camera", frames[(i + k) % len(frames)]) for k, c in enumerate(CAMERAS)}
            begun = time.perf_counter()
            for camera, message in seen.items():
                others.kinds[camera].publish(message)
            if i == 0:
                others.until(lambda: False, 0.5)
                refused = others.pull("policy/start")
                if refused:
                    sys.exit(refused)
            if not others.until(lambda s=stamp: answers.complete(s), 5):
                sys.exit(f"no answer to observation {i}")
            if i >= settling:
                took.append(1e3 * (max(answers.heard[stamp]) - begun) - answers.infer_ms[stamp])
            command = JointCommand(stamp, others.q, 1.0, answers.poses[stamp])
            joints, pose = command_messages(command, "base_link", others.arm.joint_names, 1 / HZ)
            answer_pose.publish(pose)
            answer_joints.publish(joints)
            others.until(lambda: False, max(0.0, due - time.monotonic()))
    finally:
        node.send_signal(signal.SIGINT)
        said = node.communicate(timeout=20)[0]
        others.close()
    return np.array(took), np.array(json.loads(said.splitlines()[-1]))[-decisions:]


def supervisor_ticks(seconds: float, **parameters: object) -> np.ndarray:
    """(ticks, 3) [ms] of a supervisor that paces targets of a policy, with an arm that does what it is told.

    Wall time and processor time of the tick, and processor time of the rehearsal a millisecond before it.
    """
    from trajectory_msgs.msg import JointTrajectory

    from robot_pt.commands import PoseTarget
    from robot_pt_ros import topics
    from robot_pt_ros.conversions import command_joints, target_messages

    node = started([__file__, "--supervisor"], DOMAIN + 1, robot="panda", **parameters)
    others = Others(DOMAIN + 1)

    def on_command(message: Any) -> None:
        others.q = command_joints(message, others.arm.joint_names)[0]

    others.node.create_subscription(JointTrajectory, topics.COMMAND, on_command, topics.newest())
    pose_out, gripper_out, info_out = others.asking()
    home = others.arm.fk(others.q)
    try:
        others.bring_up("supervisor")
        begun = time.monotonic()
        step, refused = 0, "not asked"
        while time.monotonic() < begun + seconds:
            now = time.time_ns()
            others.say_joints(now)
            if step == 25:
                others.pull("safety/arm")
                refused = others.pull("safety/start_policy")
            if step > 25 and step % 10 == 0:
                target = home.copy()
                target[:2, 3] += 0.05 * np.array([np.sin(step / 60), 1 - np.cos(step / 60)])
                info_out.publish(_info(now))
                pose, gripper = target_messages(PoseTarget(now, target, 1.0), "base_link", 0.2)
                pose_out.publish(pose)
                gripper_out.publish(gripper)
            step += 1
            others.until(lambda: False, max(0.0, begun + step / 50 - time.monotonic()))
        if refused or np.abs(others.q - others.arm.home_rad).max() < 1e-3:
            sys.exit(f"the supervisor moved nothing; {refused}")
    finally:
        node.send_signal(signal.SIGINT)
        said = node.communicate(timeout=20)[0]
        others.close()
    return np.array(json.loads(said.splitlines()[-1]))[round(SETTLING_S * 50) :]


def _info(now_ns: int) -> Any:
    from std_msgs.msg import String

    return String(data=json.dumps({"stamp_ns": now_ns, "observation_ns": now_ns}))


def timed_policy() -> int:
    """The policy node as its executable runs it; prints its processor time per decision, less the network's [ms], at its end."""
    from robot_pt_ros.policy_driving import Driving
    from robot_pt_ros.policy_node import PolicyNode
    from robot_pt_ros.processes import run

    network, totals = [0.0], list[float]()

    class Timed(PolicyNode):
        def _load(self, folder: str = "") -> Any:
            session = super()._load(folder)
            act = session.policy.act

            def timed_act(history: Any) -> Any:
                begun = time.process_time()
                chunk = act(history)
                network[0] += time.process_time() - begun
                return chunk

            session.policy.act = timed_act  # type: ignore[method-assign]
            return session

    tick_at = Driving.tick_at

    def timed_tick(self: Driving, now_ns: int) -> None:
        tick_at(self, now_ns)
        totals.append(1e3 * (time.process_time() - network[0]))

    Driving.tick_at = timed_tick  # type: ignore[method-assign]
    sys.argv.remove("--policy")
    code = run(Timed)
    print(json.dumps(np.diff(totals).tolist()))
    return code


def timed_supervisor() -> int:
    """The supervisor as its executable runs it, with a watch around every tick; prints wall and processor time [ms] at its end."""
    from robot_pt_ros.processes import run
    from robot_pt_ros.supervisor_node import SupervisorNode

    took: list[tuple[float, float, float]] = []

    class Timed(SupervisorNode):
        def on_configure(self, state: Any) -> Any:
            done, self.rehearsed_ms = super().on_configure(state), 0.0
            if self._gate is not None:
                rehearse = self._gate.rehearse

                def timed() -> None:
                    used = time.thread_time()
                    rehearse()
                    self.rehearsed_ms = 1e3 * (time.thread_time() - used)

                self._gate.rehearse = timed  # type: ignore[method-assign]
            return done

        def _tick(self) -> None:
            begun, used = time.perf_counter(), time.thread_time()
            super()._tick()
            wall_s, cpu_s = time.perf_counter() - begun, time.thread_time() - used
            took.append((1e3 * wall_s, 1e3 * cpu_s, self.rehearsed_ms))

    sys.argv.remove("--supervisor")
    code = run(Timed)
    print(json.dumps(took))
    return code


def main() -> None:
    """Measure and print."""
    for flag, timed in (("--supervisor", timed_supervisor), ("--policy", timed_policy)):
        if flag in sys.argv:
            sys.exit(timed())
    quick, before = asked_quick(__doc__, "50 decisions and 8 s of ticks, where it is 300 and 30"), describe()
    with tempfile.TemporaryDirectory() as folder:
        run, decisions, seconds = make_policy(Path(folder)), 50 if quick else 300, 8 if quick else 30
        untuned, ordinary = policy_overhead(run, decisions)[0], supervisor_ticks(seconds)
        try:
            stay_awake(TUNED["cpu_latency_us"])
        except OSError as error:
            print(f"processors may sleep in what follows ({error}); run as root for the tuned rows.")
        (overhead, used), ticks = policy_overhead(run, decisions), supervisor_ticks(seconds, **TUNED)
    found = {
        f"{name}, {what} ms": float(np.percentile(values, share))
        for name, values in (
            ("policy node less network", overhead),
            ("policy node less network, processor", used),
            ("policy node less network, untuned", untuned),
            ("supervisor tick", ticks[:, 0]),
            ("supervisor tick, processor", ticks[:, 1]),
            ("supervisor, rehearsal before it, processor", ticks[:, 2]),
            ("supervisor tick, untuned", ordinary[:, 0]),
            ("supervisor tick, untuned, processor", ordinary[:, 1]),
        )
        for what, share in (("p50", 50), ("p99", 99), ("max", 100))
    }
    for name, value in found.items():
        bound = f"  (asked: less than {TARGETS[name]:g})" if name in TARGETS else ""
        print(f"{name:50}{value:9.3f}{bound}")
    counts = {"decisions": len(overhead), "ticks": len(ticks)}
    print(
        json.dumps(
            {"benchmark": "nodes", "results": found, "targets": TARGETS, "counts": counts, "machine": before,
             "load_after": describe()["load"], "versions": versions()}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
