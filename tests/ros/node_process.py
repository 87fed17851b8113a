"""A node of ours in a process of its own, and its lifecycle from outside."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class NodeProcess:
    """`python -m robot_pt_ros NAME --ros-args -p ..` on a domain; ended at `close`.

    `terminal`: handle of the terminal that it gets, in whose foreground it runs.
    """

    def __init__(
        self, name: str, domain: int, folder: Path, *args: str, terminal: int | None = None, **parameters: object
    ):
        self.name, self.said = name, folder / f"{name}.txt"
        given = [part for key, value in parameters.items() for part in ("-p", f"{key}:={_yaml(value)}")]
        paths = os.pathsep.join([str(ROOT), str(ROOT / "ros_nodes")])
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        with open(self.said, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "robot_pt_ros", name, "--ros-args", *args, *given],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=folder,
                preexec_fn=None if terminal is None else lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0),
                pass_fds=() if terminal is None else (terminal,),
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.said.read_text()

    def end(self, number: int = signal.SIGINT, timeout_s: float = 20.0) -> int:
        """Signal it and wait; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """In good order where it can: writers wait a second for every reader that died without a word."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)


def change_state(graph: Any, watcher: Any, node: str, *ids: int, timeout_s: float = 25.0) -> list[bool]:
    """Ask for lifecycle changes by id (1 configure, 2 cleanup, 3 activate, 4 deactivate); which of them succeeded."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    client = watcher.create_client(ChangeState, f"{node}/change_state")
    assert graph.spin_until(client.service_is_ready, timeout_s), f"{node} is not there"
    answers = []
    for number in ids:
        future = client.call_async(ChangeState.Request(transition=Transition(id=number)))
        assert graph.spin_until(future.done, timeout_s), f"{node} does not answer"
        answers.append(bool(future.result().success))
    watcher.destroy_client(client)
    return answers


def call(graph: Any, watcher: Any, service: str, data: bool | None = None, timeout_s: float = 15.0) -> tuple[bool, str]:
    """A Trigger, or with `data` a SetBool; (success, message)."""
    from std_srvs.srv import SetBool, Trigger

    kind = Trigger if data is None else SetBool
    client = watcher.create_client(kind, service)
    assert graph.spin_until(client.service_is_ready, timeout_s), f"{service} is not there"
    request = kind.Request() if data is None else kind.Request(data=data)
    future = client.call_async(request)
    assert graph.spin_until(future.done, timeout_s), f"{service} does not answer"
    watcher.destroy_client(client)
    return bool(future.result().success), str(future.result().message)
