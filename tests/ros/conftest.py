"""Nodes in this process, each test module on a DDS domain of its own, and programs in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from robot_pt_ros.ros import use_ros

use_ros()

ROOT = Path(__file__).parents[2]


@pytest.fixture
def graph(request: pytest.FixtureRequest) -> Iterator[InProcess]:
    """Nodes in this process, on the domain named DOMAIN in the test's module."""
    made = InProcess(request.module.DOMAIN)
    yield made
    made.close()


class InProcess:
    """One context with an executor; everything is taken down afterwards."""

    def __init__(self, domain: int):
        from rclpy.context import Context

        self.domain = domain
        self.context = Context()
        self.nodes: list[Any] = []
        self._executor: Any = None

    def start(self, args: tuple[str, ...] = ()) -> InProcess:
        self.context.init(["test", *args], domain_id=self.domain)
        return self

    @property
    def executor(self) -> Any:
        from rclpy.executors import SingleThreadedExecutor

        if self._executor is None:
            self._executor = SingleThreadedExecutor(context=self.context)
        return self._executor

    def node(self, name: str = "node", kind: Any = None, **arguments: Any) -> Any:
        from rclpy.node import Node

        if not self.context.ok():
            self.start()
        node = (kind or Node)(name, context=self.context, **arguments)
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def spin_until(self, reached: Callable[[], Any], timeout_s: float = 30.0) -> bool:
        """Whether it was reached in time. Not asked again once it was: `reached` may be a request that is granted only once."""
        end_s = time.monotonic() + timeout_s
        while not reached():
            if time.monotonic() > end_s:
                return False
            self.executor.spin_once(timeout_sec=0.02)
        return True

    def spin_for(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.executor.spin_once(timeout_sec=0.01)

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(5.0)
        for node in self.nodes:
            node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python source as a ROS program on the module's domain; killed afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str, *args: str) -> subprocess.Popen[str]:
        file = tmp_path / f"program{len(started)}.py"
        file.write_text("from robot_pt_ros.ros import use_ros\nuse_ros()\n" + source)
        paths = os.pathsep.join([str(ROOT), str(ROOT / "ros_nodes"), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "ROS_DOMAIN_ID": str(request.module.DOMAIN), "PYTHONPATH": paths}
        process = subprocess.Popen(
            [sys.executable, "-u", str(file), *args],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
