"""A graph that cannot start says why in one sentence, takes down what was up and ends with an exit code; nothing ever moves."""

import re
import time

import pytest

from tests.ros import graph as graphs

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")
pytest.importorskip("robosuite", reason="the graph needs robot-pt[sim] and robosuite")

DOMAIN, OTHER_DOMAIN, SPLIT_DOMAIN = 91, 92, 145


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return graphs.circling_policy(tmp_path_factory.mktemp("circling"))


@pytest.fixture(scope="module")
def watcher():
    made = graphs.Watcher(DOMAIN)
    made.held = True
    yield made
    made.close()


def refused(watcher, tmp_path, **arguments):
    """Start a graph that must not come up: what was said."""
    begun = time.monotonic()
    launched = graphs.Graph(DOMAIN, tmp_path, **arguments)
    try:
        code = launched.wait(90)
    finally:
        launched.close()
    assert code == 1, launched.text
    assert not [c for c in watcher.commands if c.heard_s > begun], "nothing moves"
    assert "Traceback" not in launched.text
    assert "the graph is active" not in launched.text
    others = {node: number for node, number in launched.exit_codes().items() if node != "manager"}
    assert set(others.values()) == {0}, "the rest is taken down and leaves in peace"
    return launched.text


def sentence(text, node):
    """What the node said as an error: one line."""
    said = re.findall(rf"^\[{node}-\d+\] \[ERROR\] .*?: (.*)$", text, re.M)
    assert len(said) == 1, text
    return said[0]


def test_a_missing_checkpoint_and_a_graph_with_a_node_in_another_domain(watcher, checkpoint, tmp_path):
    """At once: most of both is starting processes."""
    (tmp_path / "split").mkdir()
    split = graphs.Graph(
        SPLIT_DOMAIN, tmp_path / "split", checkpoint=checkpoint, policy_domain=OTHER_DOMAIN, start_timeout_s=40.0
    )
    try:
        text = refused(watcher, tmp_path, checkpoint=tmp_path / "nothing")
        assert split.wait(150) == 1, split.text
    finally:
        split.close()
    assert "policy did not configure within 40 s; is its process there?" in sentence(split.text, "manager")
    assert "the graph is active" not in split.text
    assert {split.exit_codes()[node] for node in ("sim", "supervisor", "policy")} == {0}
    assert str(tmp_path / "nothing") in sentence(text, "policy")
    assert sentence(text, "manager") == f"policy could not configure: {sentence(text, 'policy')}"
    assert "supervisor: cleanup done" in text
    assert "sim: cleanup done" in text


def test_weights_that_are_not_numbers(watcher, tmp_path):
    text = refused(watcher, tmp_path, checkpoint=graphs.circling_policy(tmp_path / "run", broken=True))
    said = sentence(text, "policy")
    assert "nan" in said
    assert "weights" in said


def test_quality_of_service_that_is_not_heard(watcher, checkpoint, tmp_path):
    """A deadman without a deadline would be silence: the supervisor could not tell it from a released one."""
    from std_msgs.msg import Bool

    from robot_pt_ros import topics

    publisher = watcher.node.create_publisher(Bool, topics.DEADMAN, topics.newest())
    try:
        text = refused(watcher, tmp_path, checkpoint=checkpoint)
    finally:
        watcher.node.destroy_publisher(publisher)
    said = sentence(text, "supervisor")
    assert "/watcher publishes /teleop/deadman" in said
    assert "deadline" in said
