"""The simulator's node can be configured, cleaned up and configured again, and a mistake leaves nothing behind."""

import json

import pytest

from robot_pt.simulated import version_in
from robot_pt_sim.simulators import version_of

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")

DOMAIN = 114


def entities(node):
    kinds = (node.publishers, node.subscriptions, node.services, node.clients, node.timers)
    return [len(list(kind)) for kind in kinds]


@pytest.fixture
def made(backend):
    import robot_pt_ros.ros

    robot_pt_ros.ros.use_ros()
    import rclpy

    nodes = []

    def make(*words):
        rclpy.init(args=["test", "--ros-args", *(w for word in words for w in ("-p", word))], domain_id=DOMAIN)
        from robot_pt_ros.sim_node import SimNode

        nodes.append(SimNode())
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.parametrize(
    ("task", "robot", "lockstep"),
    [
        ("lift-red", "panda", "true"),
        ("lift-red", "panda", "false"),
        ("kitchen/put-carrot-on-plate@3", "wx250s", "true"),
        ("kitchen/open-drawer@2", "wx250s", "false"),
    ],
)
def test_the_node_goes_through_its_life_twice(made, task, robot, lockstep):
    from rclpy.lifecycle import TransitionCallbackReturn

    node = made(f"task:={task}", f"robot:={robot}", f"lockstep:={lockstep}")
    empty, seen = entities(node), []
    for _ in range(2):
        for change in ("configure", "activate", "deactivate", "cleanup"):
            assert getattr(node, f"trigger_{change}")() == TransitionCallbackReturn.SUCCESS, change
            seen.append(entities(node))
    assert seen[:4] == seen[4:]
    assert sum(seen[0]) > sum(empty) + 5
    assert seen[3] == empty


@pytest.mark.parametrize(
    ("task", "lockstep", "words"),
    [
        ("juggle", "true", "juggle"),
        ("kitchen/open-drawer@2", "true", "moves a widowx250s, not a panda"),
        ("kitchen/open-drawer@7", "true", "there is no scene 7; choose one of: 1, 2, 3, 4, 5, 6"),
        ("maze-u", "true", "moves a point, not a panda"),
        ("maze-u", "false", "maze-u runs at"),
    ],
)
def test_a_task_that_no_arm_can_do_leaves_nothing_half_started(made, capfd, task, lockstep, words):
    from rclpy.lifecycle import TransitionCallbackReturn

    node = made(f"task:={task}", "robot:=panda", f"lockstep:={lockstep}")
    empty = entities(node)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert entities(node) == empty
    said = capfd.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_a_size_that_is_none_is_one_sentence(made, capfd):
    from rclpy.lifecycle import TransitionCallbackReturn

    node = made("task:=lift-red", "robot:=panda", "lockstep:=true", "image_size:=[64]")
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    said = capfd.readouterr().err
    assert "image_size is [64]; give height and width [px]" in said
    assert "Traceback" not in said


def test_the_node_says_what_its_task_is_in_words_and_which_simulator_it_is(made):
    import rclpy
    from std_msgs.msg import String

    from robot_pt_ros import topics

    node, heard, about = made("task:=lift-red", "robot:=panda", "lockstep:=true"), [], []
    node.create_subscription(String, topics.INSTRUCTION, lambda m: heard.append(m.data), topics.latched())
    node.create_subscription(String, topics.SIMULATOR, lambda m: about.append(json.loads(m.data)), topics.latched())
    node.trigger_configure()
    for _ in range(300):
        if heard and about:
            break
        rclpy.spin_once(node, timeout_sec=0.1)
    assert heard == ["lift the red cube"]
    said, metadata = about[0], about[0]["metadata"]
    assert (said["task"], said["instruction"]) == ("lift-red", heard[0])
    assert (version_in("recorded", metadata), metadata["controller"]["control_hz"]) == (version_of("lift-red"), 5)
