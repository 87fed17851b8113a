"""Our lifecycle nodes can be configured, cleaned up and configured again, and a mistake leaves nothing behind."""

import pytest

DOMAIN = 118

NODES = {
    "supervisor": ("robot_pt_ros.supervisor_node", "SupervisorNode", ["-p", "robot:=wx250s"], ["-p", "robot:=teapot"]),
    "policy": ("robot_pt_ros.policy_node", "PolicyNode", None, ["-p", "robot:=panda", "-p", "checkpoint:=/nowhere"]),
}


def entities(node):
    kinds = (node.publishers, node.subscriptions, node.services, node.clients, node.timers)
    return [len(list(kind)) for kind in kinds]


@pytest.fixture
def default_context():
    """Nodes take no context: give them the test's own as the default one."""
    import rclpy

    def start(arguments):
        rclpy.init(args=["test", "--ros-args", *arguments], domain_id=DOMAIN)

    yield start
    rclpy.try_shutdown()


def test_a_node_is_configured_cleaned_up_and_configured_again(default_context):
    from robot_pt_ros.supervisor_node import SupervisorNode

    default_context(NODES["supervisor"][2])
    node = SupervisorNode()
    empty = entities(node)
    node.trigger_configure()
    full = entities(node)
    assert sum(full) > sum(empty) + 10
    node.trigger_cleanup()
    assert entities(node) == empty
    node.trigger_configure()
    assert entities(node) == full
    node.destroy_node()


@pytest.mark.parametrize("name", sorted(NODES))
def test_a_mistake_leaves_nothing_half_started(default_context, name, capfd):
    from importlib import import_module

    module, kind, _, wrong = NODES[name]
    default_context(wrong)
    node = getattr(import_module(module), kind)()
    empty = entities(node)
    from rclpy.lifecycle import TransitionCallbackReturn

    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert entities(node) == empty
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert ("teapot" in said) or ("/nowhere" in said)
    node.destroy_node()
