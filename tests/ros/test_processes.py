"""How a node's process ends where it hangs: in its making, in its configuring, in tidying up. ROS domain 60."""

import signal
import time

import pytest

from robot_pt_ros import processes
from tests.ros.node_process import change_state

pytest.importorskip("cyclonedds", reason="nodes need robot-pt[ros]")

DOMAIN = 60
FOR_EVER_S = 600

NODE = f"""
import sys, time

from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from robot_pt_ros.node import Heartbeat, configuring
from robot_pt_ros.processes import run


def hang(where):
    if where == sys.argv[1]:
        print("hangs", flush=True)
        end = time.monotonic() + {FOR_EVER_S}
        while time.monotonic() < end:
            time.sleep(0.01)


class Slow(LifecycleNode):
    exit_code = 3

    def __init__(self):
        super().__init__("slow")
        self.heartbeat = Heartbeat(self)
        hang("made")
        print("made", flush=True)

    @configuring
    def on_configure(self, state):
        hang("configured")
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self):
        super().destroy_node()
        hang("destroyed")


raise SystemExit(run(Slow, []))
"""


def ended(process):
    """Exit code of a process that is told to leave, and what it says at the end."""
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=FOR_EVER_S / 10)
    return process.returncode, said


@pytest.fixture(autouse=True)
def one_domain(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))


def test_a_network_that_cannot_be_joined_is_one_sentence(program):
    process = program("import os\nos.environ['ROS_DOMAIN_ID'] = 'abc'\n" + NODE, "nowhere")
    _, said = process.communicate(timeout=FOR_EVER_S / 10)
    assert process.returncode == 2
    assert said.splitlines() == [
        "ROS_DOMAIN_ID is 'abc'; set an integer from 0 to 232 (0 to 101 on Linux with default ports), or unset it."
    ]


def test_who_hangs_while_it_is_made_leaves_when_it_is_told(program):
    process = program(NODE, "made")
    assert process.stdout.readline() == "hangs\n"
    assert ended(process)[0] == 0


def test_who_hangs_while_it_is_configured_leaves_when_it_is_told(graph, program):
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    process, watcher = program(NODE, "configured"), graph.node("watcher")
    assert process.stdout.readline() == "made\n"
    client = watcher.create_client(ChangeState, "slow/change_state")
    assert graph.spin_until(client.service_is_ready)
    client.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
    assert process.stdout.readline() == "hangs\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def test_who_hangs_when_everything_is_said_leaves_with_its_code(program):
    process = program(NODE, "destroyed")
    assert process.stdout.readline() == "made\n"
    assert ended(process) == (3, "hangs\n")


def test_who_hangs_nowhere_leaves_with_its_code(graph, program):
    process, watcher = program(NODE, "nowhere"), graph.node("watcher")
    assert process.stdout.readline() == "made\n"
    assert change_state(graph, watcher, "slow", 1) == [True]
    assert ended(process) == (3, "")


def test_two_signals_at_once_are_one(program):
    process = program(NODE, "nowhere")
    assert process.stdout.readline() == "made\n"
    for _ in range(20):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    assert ended(process) == (3, "")


def test_a_node_leaves_before_launch_asks_a_second_time():
    """It sends SIGTERM 5 s and SIGKILL 10 s after SIGINT."""
    assert processes.FAREWELL_S < 5
    assert 3 * processes.FAREWELL_S < 10
