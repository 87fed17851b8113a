"""Publishers and subscriptions in this process: QoS, queues, events, raw bytes, remaps, the graph."""

from __future__ import annotations

import threading
import time

import pytest
from rclpy._rclpy_pybind11 import InvalidHandle, NodeNameNonExistentError, RCLError, UnsupportedEventTypeError
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidTopicNameException,
    NotInitializedException,
)
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    InvalidQoSProfileException,
    LivelinessPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSPresetProfiles,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_profile_best_available,
    qos_profile_sensor_data,
    qos_profile_system_default,
)
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.topic_endpoint_info import TopicEndpointTypeEnum
from rclpy.type_hash import TypeHash
from rclpy.wait_for_message import wait_for_message
from std_msgs.msg import Int64, String
from std_srvs.srv import Trigger

DOMAIN = 43
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def pair(graph, qos=10, **arguments):
    """A connected publisher and subscription, and what the latter received."""
    node, received = graph.node(), []
    subscription = node.create_subscription(Int64, "numbers", lambda m: received.append(m.data), qos, **arguments)
    publisher = node.create_publisher(Int64, "numbers", qos)
    assert graph.spin_until(lambda: publisher.get_subscription_count() == 1 and subscription.get_publisher_count() == 1)
    return publisher, subscription, received


def test_messages_arrive_in_order(graph) -> None:
    publisher, subscription, received = pair(graph, 100)
    for number in range(50):
        publisher.publish(Int64(data=number))
    assert graph.spin_until(lambda: len(received) == 50)
    assert received == list(range(50))
    assert publisher.topic_name == subscription.topic_name == "/numbers"
    assert publisher.logger_name == "node"
    assert publisher.wait_for_all_acked(Duration(seconds=5))
    assert publisher.wait_for_all_acked()


def test_depth_one_gives_the_newest(graph) -> None:
    publisher, subscription, received = pair(graph, 1)
    for number in range(50):
        publisher.publish(Int64(data=number))
    time.sleep(1.0)  # nobody spins: DDS and the queue decide
    assert len(subscription._queue) == 1
    graph.spin_for(0.1)
    assert received == [49]


def test_latched_messages_reach_late_subscriptions(graph) -> None:
    node, received = graph.node(), []
    node.create_publisher(String, "state", LATCHED).publish(String(data="kept"))
    node.create_subscription(String, "state", lambda m: received.append(m.data), LATCHED)
    assert graph.spin_until(lambda: received)
    assert received == ["kept"]


def test_what_is_published_is_checked(graph) -> None:
    publisher, subscription, received = pair(graph)
    with pytest.raises(TypeError, match="Expected"):
        publisher.publish(String(data="no number"))
    publisher.publish(serialize_message(Int64(data=7)))
    assert graph.spin_until(lambda: received == [7])
    node = graph.nodes[0]
    assert node.destroy_publisher(publisher)
    assert not node.destroy_publisher(publisher)
    for use in (lambda: publisher.publish(Int64()), publisher.get_subscription_count, lambda: publisher.topic_name):
        with pytest.raises(InvalidHandle):
            use()
    with subscription.handle:
        pass
    node.destroy_subscription(subscription)
    with pytest.raises(InvalidHandle), subscription.handle:
        pass


def test_nothing_is_published_after_shutdown(graph) -> None:
    publisher, _, _ = pair(graph)
    graph.context.shutdown()
    with pytest.raises(RCLError, match="context is invalid"):
        publisher.publish(Int64())


def test_raw_subscriptions_get_bytes_and_bad_bytes_are_dropped(graph, capsys: pytest.CaptureFixture[str]) -> None:
    publisher, subscription, received = pair(graph)
    raws: list[bytes] = []
    graph.nodes[0].create_subscription(Int64, "numbers", raws.append, 10, raw=True)
    assert graph.spin_until(lambda: publisher.get_subscription_count() == 2)
    half = b"\x00\x01\x00\x00\x01\x02\x03\x04"
    with pytest.raises(RCLError, match="Failed to publish"):
        publisher.publish(half)
    subscription._queue.append((half, 0, 0, 0))  # what no Cyclone lets through
    publisher.publish(Int64(data=3))
    assert graph.spin_until(lambda: received and raws)
    assert received == [3]
    assert deserialize_message(raws[0], Int64) == Int64(data=3)
    assert "/numbers" in capsys.readouterr().err


def test_callbacks_may_ask_for_message_info(graph) -> None:
    node, infos = graph.node(), []
    node.create_subscription(Int64, "numbers", lambda message, info: infos.append(info), 10)
    publisher = node.create_publisher(Int64, "numbers", 10)
    assert graph.spin_until(lambda: publisher.get_subscription_count() == 1)
    before_ns = time.time_ns()
    publisher.publish(Int64())
    assert graph.spin_until(lambda: infos)
    assert before_ns <= infos[0]["source_timestamp"] <= infos[0]["received_timestamp"] <= time.time_ns()
    assert infos[0]["reception_sequence_number"] == 1
    with pytest.raises(RuntimeError, match="one argument"):
        node.create_subscription(Int64, "numbers", lambda: None, 10)


def test_wait_for_message(graph) -> None:
    node = graph.node()
    publisher = node.create_publisher(String, "state", LATCHED)
    assert wait_for_message(String, node, "state", qos_profile=LATCHED, time_to_wait=0.05) == (False, None)
    publisher.publish(String(data="now"))
    found, message = wait_for_message(String, node, "state", qos_profile=LATCHED, time_to_wait=10)
    assert (found, message.data) == (True, "now")
    graph.context.shutdown()
    with pytest.raises(NotInitializedException):
        wait_for_message(String, node, "state")


def test_bad_endpoints_are_refused(graph) -> None:
    node = graph.node()
    with pytest.raises(InvalidTopicNameException):
        node.create_publisher(String, "bad-name", 1)
    with pytest.raises(InvalidTopicNameException):
        node.create_subscription(String, "/a//b", print, 1)
    for wrong in (String(), str, Trigger, Trigger.Request):
        with pytest.raises(RuntimeError, match="not valid"):
            node.create_publisher(wrong, "a", 1)
    with pytest.raises(TypeError, match="QoSProfile or int"):
        node.create_publisher(String, "a", "deep")
    with pytest.raises(ValueError, match="history depth"):
        node.create_publisher(String, "a", -1)
    with pytest.raises(NotImplementedError, match="qos_overriding_options"):
        node.create_publisher(String, "a", 1, qos_overriding_options=object())
    with pytest.raises(UnsupportedEventTypeError):
        node.create_subscription(
            String, "a", print, 1, event_callbacks=SubscriptionEventCallbacks(incompatible_type=print)
        )
    with pytest.raises(InvalidNodeNameException):
        graph.node("bad name")
    with pytest.raises(InvalidNamespaceException):
        graph.node("n", namespace="bad-")


def test_profiles() -> None:
    with pytest.raises(InvalidQoSProfileException, match="required"):
        QoSProfile()
    with pytest.raises(InvalidQoSProfileException, match="depth"):
        QoSProfile(history=HistoryPolicy.KEEP_LAST)
    with pytest.raises(AssertionError):
        QoSProfile(depth=1, depht=2)
    with pytest.raises(AssertionError):
        QoSProfile(depth=1, deadline=0.2)
    profile = QoSProfile(depth=3, reliability=2)
    assert profile.reliability is ReliabilityPolicy.BEST_EFFORT
    assert profile == QoSProfile(depth=3, reliability=ReliabilityPolicy.BEST_EFFORT)
    assert profile != QoSProfile(depth=3)
    assert profile != 3
    assert "depth=3" in str(profile)
    with pytest.raises(AttributeError):
        profile.dept  # noqa: B018
    assert QoSPresetProfiles.get_from_short_key("sensor_data") is not None
    assert "sensor_data" in QoSPresetProfiles.short_keys()
    assert ReliabilityPolicy.get_from_short_key("reliable") == 1
    assert ReliabilityPolicy.RELIABLE.short_key in ReliabilityPolicy.short_keys()
    reliable, best = QoSProfile(depth=1), qos_profile_sensor_data
    assert qos_check_compatible(reliable, best) == (QoSCompatibility.OK, "")
    verdict, reason = qos_check_compatible(best, reliable)
    assert (verdict, "reliability" in reason) == (QoSCompatibility.ERROR, True)
    assert qos_check_compatible(qos_profile_system_default, reliable)[0] == QoSCompatibility.WARNING


def test_incompatible_qos_is_told_on_both_sides(graph, capsys: pytest.CaptureFixture[str]) -> None:
    node, told = graph.node(), []
    node.create_publisher(
        String, "a", qos_profile_sensor_data, event_callbacks=PublisherEventCallbacks(incompatible_qos=told.append)
    )
    node.create_subscription(String, "a", print, 10)  # the default callback logs
    said: list[str] = []

    def told_both() -> bool:
        said.append(capsys.readouterr().err)
        return bool(told) and "Policy: RELIABILITY" in "".join(said)

    assert graph.spin_until(told_both)
    assert (told[0].total_count, told[0].last_policy_kind) == (1, QoSPolicyKind.RELIABILITY)


def test_matches_are_told(graph) -> None:
    node, offered, requested = graph.node(), [], []
    publisher = node.create_publisher(String, "a", 1, event_callbacks=PublisherEventCallbacks(matched=offered.append))
    callbacks = SubscriptionEventCallbacks(matched=requested.append)
    subscription = node.create_subscription(String, "a", print, 1, event_callbacks=callbacks)
    assert graph.spin_until(lambda: offered and requested)
    assert (offered[0].current_count, offered[0].total_count) == (1, 1)
    node.destroy_subscription(subscription)
    assert graph.spin_until(lambda: len(offered) == 2)
    assert (offered[1].current_count, offered[1].current_count_change, offered[1].total_count) == (0, -1, 1)
    assert publisher.get_subscription_count() == 0


def test_missed_deadlines_and_lost_liveliness_are_told(graph) -> None:
    node, missed, offered, alive = graph.node(), [], [], []
    qos = QoSProfile(
        depth=1,
        deadline=Duration(seconds=0.2),
        liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
        liveliness_lease_duration=Duration(seconds=0.3),
    )
    callbacks = SubscriptionEventCallbacks(deadline=missed.append, liveliness=alive.append)
    node.create_subscription(String, "a", lambda _: None, qos, event_callbacks=callbacks)
    publisher = node.create_publisher(
        String, "a", qos, event_callbacks=PublisherEventCallbacks(deadline=offered.append)
    )
    assert graph.spin_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String())
    publisher.assert_liveliness()
    assert graph.spin_until(lambda: alive and alive[-1].alive_count == 1)
    assert graph.spin_until(lambda: missed and offered and alive[-1].not_alive_count == 1)
    assert missed[0].total_count >= 1
    assert alive[-1].alive_count == 0


def test_best_available_takes_what_all_publishers_keep(graph) -> None:
    node, received = graph.node(), []
    publisher = node.create_publisher(Int64, "numbers", qos_profile_sensor_data)
    assert graph.spin_until(lambda: node.count_publishers("numbers") == 1)
    node.create_subscription(Int64, "numbers", lambda m: received.append(m.data), qos_profile_best_available)
    assert graph.spin_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(Int64(data=1))
    assert graph.spin_until(lambda: received == [1])


def test_names_are_remapped(graph) -> None:
    graph.start(("--ros-args", "-r", "__ns:=/robot", "-r", "n:in:=/elsewhere", "-r", "~/own:=shared"))
    node, other = graph.node("n"), graph.node("m")
    assert node.get_fully_qualified_name() == "/robot/n"
    assert node.get_logger().name == "robot.n"
    assert node.resolve_topic_name("in") == "/elsewhere"
    assert node.resolve_topic_name("in", only_expand=True) == "/robot/in"
    assert other.resolve_topic_name("in") == "/robot/in"
    assert node.resolve_service_name("~/own") == "/robot/shared"
    assert node.create_publisher(String, "in", 1).topic_name == "/elsewhere"
    named = graph.node("k", cli_args=["--ros-args", "-r", "__node:=renamed"])
    assert named.get_name() == "renamed"


def test_the_graph_shows_nodes_and_endpoints(graph) -> None:
    node = graph.node("shown", namespace="/ns")
    node.create_publisher(String, "chat", LATCHED)
    node.create_subscription(String, "~/heard", print, qos_profile_sensor_data)
    node.create_service(Trigger, "~/do", lambda _, response: response)
    node.create_client(Trigger, "ask")
    assert graph.spin_until(lambda: node.count_publishers("chat") and node.count_services("~/do"))
    assert ("/ns/chat", ["std_msgs/msg/String"]) in node.get_topic_names_and_types()
    assert ("/ns/shown/do", ["std_srvs/srv/Trigger"]) in node.get_service_names_and_types()
    assert "shown" in node.get_node_names()
    assert ("shown", "/ns") in node.get_node_names_and_namespaces()
    assert ("shown", "/ns", "/") in node.get_node_names_and_namespaces_with_enclaves()
    assert "/ns/shown" in node.get_fully_qualified_node_names()
    assert ("/ns/chat", ["std_msgs/msg/String"]) in node.get_publisher_names_and_types_by_node("shown", "/ns")
    heard = node.get_subscriber_names_and_types_by_node("shown", "/ns")
    assert ("/ns/shown/heard", ["std_msgs/msg/String"]) in heard
    assert ("/ns/shown/do", ["std_srvs/srv/Trigger"]) in node.get_service_names_and_types_by_node("shown", "/ns")
    assert node.get_client_names_and_types_by_node("shown", "/ns") == [("/ns/ask", ["std_srvs/srv/Trigger"])]
    assert node.count_subscribers("~/heard") == 1
    assert node.count_clients("ask") == 1
    info = node.get_publishers_info_by_topic("chat")[0]
    assert (info.node_name, info.node_namespace, info.topic_type) == ("shown", "/ns", "std_msgs/msg/String")
    assert info.endpoint_type == TopicEndpointTypeEnum.PUBLISHER
    assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert len(info.endpoint_gid) == 16
    assert str(info.topic_type_hash).startswith("RIHS01_")
    assert str(TypeHash()) == "INVALID"
    subscription = node.get_subscriptions_info_by_topic("~/heard")[0]
    assert subscription.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    with pytest.raises(NodeNameNonExistentError, match="nobody"):
        node.get_publisher_names_and_types_by_node("nobody", "/")
    with pytest.raises(InvalidTopicNameException):
        node.count_publishers("bad-name")


def test_destroying_a_node_takes_it_off_the_graph(graph) -> None:
    node, watcher = graph.node("leaves"), graph.node("stays")
    node.create_publisher(String, "chat", 1)
    assert graph.spin_until(lambda: watcher.count_publishers("chat") == 1)
    node.destroy_node()
    assert graph.spin_until(lambda: watcher.count_publishers("chat") == 0)
    assert "leaves" not in watcher.get_node_names()
    assert not list(node.publishers) + list(node.subscriptions) + list(node.services) + list(node.clients)


def test_endpoints_come_and_go_while_threads_spin(graph) -> None:
    """Made and destroyed in one thread, served by others, with messages under way all the time."""
    graph.start()
    graph._executor = MultiThreadedExecutor(3, context=graph.context)
    node, failures, received = graph.node(), [], []
    group = ReentrantCallbackGroup()
    steady = node.create_publisher(Int64, "numbers", 10)
    node.create_timer(0.001, lambda: steady.publish(Int64(data=1)), callback_group=group)

    def spin() -> None:
        try:
            graph.executor.spin()
        except ExternalShutdownException:
            failures.append("shut down")
        except Exception as error:  # noqa: BLE001  # whatever it is fails the test
            failures.append(error)

    spinner = threading.Thread(target=spin)
    spinner.start()
    for _ in range(40):
        subscription = node.create_subscription(
            Int64, "numbers", lambda m: received.append(m.data), 10, callback_group=group
        )
        client = node.create_client(Trigger, "nobody", callback_group=group)
        publisher = node.create_publisher(Int64, "numbers", 10)
        publisher.publish(Int64(data=2))
        time.sleep(0.005)
        assert node.destroy_subscription(subscription)
        assert node.destroy_client(client)
        assert node.destroy_publisher(publisher)
    assert not failures
    graph.context.try_shutdown()
    spinner.join(10)
    assert failures == ["shut down"]
    assert len(received) > 40
    assert len(list(node.subscriptions)) == 0
