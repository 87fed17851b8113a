"""policy/chunk: the poses of a whole chunk, once when it begins to be played, where somebody listens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robot_pt.commands import PoseTarget
from robot_pt.rotations import rpy_to_matrix
from robot_pt.session import StepInfo

pytest.importorskip("cyclonedds", reason="needs robot-pt[ros]")

DOMAIN = 141
PERIOD_NS = 200_000_000
ACTIONS = np.array([[0.01, 0, 0, 0, 0, 0.1, 1], [0, 0.02, 0, 0.2, 0, 0, 1], [0, 0, -0.01, 0, 0, 0, 0]], np.float32)


def step(index: int, decided_ns: int) -> StepInfo:
    """Of action `index` of a chunk that was decided on what was seen at `decided_ns`."""
    return StepInfo(
        stamp_ns=decided_ns + index * PERIOD_NS, observation_ns=decided_ns, decided_ns=decided_ns, stamps_ns={}, ages_s={},
        action=ACTIONS[index], inference_ms=1.0, chunk_index=index, tick_interval_ms=200.0, anchor="target",
        policy_version="v", rest=ACTIONS[index + 1 :],
    )  # fmt: skip


def target(stamp_ns: int) -> PoseTarget:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rpy_to_matrix((0.1, -0.2, 0.3)), (0.4, 0.0, 0.2)
    return PoseTarget(stamp_ns, pose, 1.0)


@pytest.fixture
def reports(graph: Any) -> Any:
    """Those of a node that is active."""
    from rclpy.lifecycle import LifecycleNode

    from robot_pt_ros.policy_parameters import declare
    from robot_pt_ros.policy_reports import PolicyReports

    node = graph.node("policy", kind=LifecycleNode)
    declare(node)
    made = PolicyReports(node, PERIOD_NS)
    node.trigger_configure()
    node.trigger_activate()
    return made


def test_a_chunk_is_told_once_and_as_the_poses_that_it_asks_for(graph: Any, reports: Any) -> None:
    from geometry_msgs.msg import PoseArray

    from robot_pt_ros import topics
    from robot_pt_ros.conversions import nanoseconds

    reports.chunk(target(5), step(0, 1))  # nobody listens
    heard: list[Any] = []
    node = graph.node("listener")
    node.create_subscription(PoseArray, topics.POLICY_CHUNK, heard.append, topics.recorded(10))
    assert graph.spin_until(lambda: reports._chunk.get_subscription_count())
    reports.chunk(target(6), step(1, 1))
    reports.chunk(target(7), step(0, 3))
    reports.chunk(target(8), step(1, 3))
    reports.chunk(target(9), step(2, 4))  # came so late that two of its actions were lost
    assert graph.spin_until(lambda: len(heard) == 2)
    graph.spin_for(0.2)
    assert [nanoseconds(m.header.stamp) for m in heard] == [7, 9]
    assert [len(m.poses) for m in heard] == [3, 1]
    assert heard[0].header.frame_id == "base_link"
    at, turned = np.array([0.4, 0.0, 0.2]), rpy_to_matrix((0.1, -0.2, 0.3))
    for told, action in zip(heard[0].poses, [np.zeros(7), *ACTIONS[1:]], strict=True):
        at, turned = at + action[:3], rpy_to_matrix(action[3:6]) @ turned
        np.testing.assert_allclose([told.position.x, told.position.y, told.position.z], at, atol=1e-7)
        o = told.orientation
        assert abs(np.linalg.norm([o.x, o.y, o.z, o.w]) - 1) < 1e-9
        np.testing.assert_allclose(2 * (o.x * o.y + o.w * o.z), turned[1, 0], atol=1e-6)
        np.testing.assert_allclose(2 * (o.x * o.z - o.w * o.y), turned[2, 0], atol=1e-6)
