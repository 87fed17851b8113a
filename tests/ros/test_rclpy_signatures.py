"""Names and signatures that nodes use, against those of Jazzy's rclpy 7.1.

The table was taken from the public documentation (docs.ros.org/en/jazzy/p/rclpy) and the 7.1 source; it holds facts only:
parameter names in order, "*" before keyword-only ones, and which have defaults ("name=").
"""

from __future__ import annotations

import importlib
import inspect

import pytest

NODE = (
    "node_name * context= cli_args= namespace= use_global_arguments= enable_rosout= start_parameter_services= "
    "parameter_overrides= allow_undeclared_parameters= automatically_declare_parameters_from_overrides= "
    "enable_logger_service="
)
TABLE = {
    "rclpy.init": "* args= context= domain_id= signal_handler_options=",
    "rclpy.shutdown": "* context= uninstall_handlers=",
    "rclpy.try_shutdown": "* context=",
    "rclpy.ok": "* context=",
    "rclpy.create_node": NODE,
    "rclpy.spin": "node executor=",
    "rclpy.spin_once": "node * executor= timeout_sec=",
    "rclpy.spin_until_future_complete": "node future executor= timeout_sec=",
    "rclpy.get_global_executor": "",
    "rclpy.context.Context.init": "self args= * initialize_logging= domain_id=",
    "rclpy.context.Context.on_shutdown": "self callback",
    "rclpy.node.Node": NODE,
    "rclpy.node.Node.create_publisher": (
        "self msg_type topic qos_profile * callback_group= event_callbacks= qos_overriding_options= publisher_class="
    ),
    "rclpy.node.Node.create_subscription": (
        "self msg_type topic callback qos_profile * callback_group= event_callbacks= qos_overriding_options= raw="
    ),
    "rclpy.node.Node.create_client": "self srv_type srv_name * qos_profile= callback_group=",
    "rclpy.node.Node.create_service": "self srv_type srv_name callback * qos_profile= callback_group=",
    "rclpy.node.Node.create_timer": "self timer_period_sec callback callback_group= clock= autostart=",
    "rclpy.node.Node.create_guard_condition": "self callback callback_group=",
    "rclpy.node.Node.create_rate": "self frequency clock=",
    "rclpy.node.Node.declare_parameter": "self name value= descriptor= ignore_override=",
    "rclpy.node.Node.declare_parameters": "self namespace parameters ignore_override=",
    "rclpy.node.Node.get_parameter": "self name",
    "rclpy.node.Node.get_parameters": "self names",
    "rclpy.node.Node.get_parameter_or": "self name alternative_value=",
    "rclpy.node.Node.get_parameters_by_prefix": "self prefix",
    "rclpy.node.Node.set_parameters": "self parameter_list",
    "rclpy.node.Node.set_parameters_atomically": "self parameter_list",
    "rclpy.node.Node.set_descriptor": "self name descriptor alternative_value=",
    "rclpy.node.Node.list_parameters": "self prefixes depth",
    "rclpy.node.Node.add_pre_set_parameters_callback": "self callback",
    "rclpy.node.Node.add_on_set_parameters_callback": "self callback",
    "rclpy.node.Node.add_post_set_parameters_callback": "self callback",
    "rclpy.node.Node.resolve_topic_name": "self topic * only_expand=",
    "rclpy.node.Node.resolve_service_name": "self service * only_expand=",
    "rclpy.node.Node.get_topic_names_and_types": "self no_demangle=",
    "rclpy.node.Node.get_publishers_info_by_topic": "self topic_name no_mangle=",
    "rclpy.node.Node.get_publisher_names_and_types_by_node": "self node_name node_namespace no_demangle=",
    "rclpy.node.Node.count_publishers": "self topic_name",
    "rclpy.node.Node.destroy_node": "self",
    "rclpy.publisher.Publisher.publish": "self msg",
    "rclpy.publisher.Publisher.wait_for_all_acked": "self timeout=",
    "rclpy.client.Client.call": "self request timeout_sec=",
    "rclpy.client.Client.call_async": "self request",
    "rclpy.client.Client.wait_for_service": "self timeout_sec=",
    "rclpy.timer.Timer": "callback callback_group timer_period_ns clock * context= autostart=",
    "rclpy.timer.Rate": "timer * context",
    "rclpy.executors.SingleThreadedExecutor": "* context=",
    "rclpy.executors.MultiThreadedExecutor": "num_threads= * context=",
    "rclpy.executors.Executor.spin_once": "self timeout_sec=",
    "rclpy.executors.Executor.spin_until_future_complete": "self future timeout_sec=",
    "rclpy.executors.Executor.shutdown": "self timeout_sec=",
    "rclpy.executors.Executor.create_task": "self callback *args **kwargs",
    "rclpy.task.Future": "* executor=",
    "rclpy.clock.Clock": "* clock_type=",
    "rclpy.clock.Clock.create_jump_callback": "self threshold * pre_callback= post_callback=",
    "rclpy.clock.Clock.sleep_until": "self until context=",
    "rclpy.clock.Clock.sleep_for": "self rel_time context=",
    "rclpy.clock.JumpThreshold": "* min_forward min_backward on_clock_change=",
    "rclpy.duration.Duration": "* seconds= nanoseconds=",
    "rclpy.time.Time": "* seconds= nanoseconds= clock_type=",
    "rclpy.time.Time.from_msg": "msg clock_type=",
    "rclpy.event_handler.PublisherEventCallbacks": (
        "* deadline= liveliness= incompatible_qos= incompatible_type= matched= use_default_callbacks="
    ),
    "rclpy.event_handler.SubscriptionEventCallbacks": (
        "* deadline= incompatible_qos= liveliness= message_lost= incompatible_type= matched= use_default_callbacks="
    ),
    "rclpy.lifecycle.LifecycleNode": "node_name * enable_communication_interface= **kwargs",
    "rclpy.lifecycle.LifecycleNode.on_configure": "self state",
    "rclpy.parameter.Parameter": "name type_= value=",
    "rclpy.parameter.parameter_dict_from_yaml_file": "parameter_file use_wildcard= target_nodes= namespace=",
    "rclpy.parameter_client.AsyncParameterClient": "node remote_node_name * qos_profile= callback_group=",
    "rclpy.wait_for_message.wait_for_message": "msg_type node topic * qos_profile= time_to_wait=",
    "rclpy.logging.get_logger": "name",
    "rclpy.logging.set_logger_level": "name level detailed_error=",
    "rclpy.signals.install_signal_handlers": "options=",
    "rclpy.utilities.remove_ros_args": "args=",
    "rclpy.utilities.get_default_context": "* shutting_down=",
    "rclpy.serialization.serialize_message": "message",
    "rclpy.serialization.deserialize_message": "serialized_message message_type",
    "rclpy.qos.qos_check_compatible": "publisher_qos subscription_qos",
}
NAMES = [
    "rclpy.Context",
    "rclpy.Future",
    "rclpy.Parameter",
    "rclpy.get_default_context",
    "rclpy.signals.SignalHandlerOptions.ALL",
    "rclpy.executors.ExternalShutdownException",
    "rclpy.executors.ShutdownException",
    "rclpy.executors.TimeoutException",
    "rclpy.exceptions.ParameterNotDeclaredException",
    "rclpy.exceptions.ROSInterruptException",
    "rclpy.exceptions.InvalidHandle",
    "rclpy._rclpy_pybind11.RCLError",
    "rclpy.callback_groups.MutuallyExclusiveCallbackGroup",
    "rclpy.clock.ROSClock",
    "rclpy.callback_groups.ReentrantCallbackGroup",
    "rclpy.clock.ClockType.STEADY_TIME",
    "rclpy.clock_type.ClockType.ROS_TIME",
    "rclpy.qos.QoSProfile",
    "rclpy.qos.qos_profile_sensor_data",
    "rclpy.qos.qos_profile_system_default",
    "rclpy.qos.qos_profile_services_default",
    "rclpy.qos.qos_profile_parameters",
    "rclpy.qos.qos_profile_best_available",
    "rclpy.qos.ReliabilityPolicy.BEST_EFFORT",
    "rclpy.qos.DurabilityPolicy.TRANSIENT_LOCAL",
    "rclpy.qos.HistoryPolicy.KEEP_LAST",
    "rclpy.qos.LivelinessPolicy.AUTOMATIC",
    "rclpy.qos.QoSReliabilityPolicy.RELIABLE",
    "rclpy.qos.QoSPresetProfiles.SENSOR_DATA",
    "rclpy.lifecycle.TransitionCallbackReturn.SUCCESS",
    "rclpy.lifecycle.State",
    "rclpy.lifecycle.Node",
    "rclpy.lifecycle.Publisher",
    "rclpy.lifecycle.LifecycleState",
    "rclpy.lifecycle.LifecyclePublisher",
    "rclpy.lifecycle.ManagedEntity",
    "rclpy.parameter.Parameter.Type.DOUBLE_ARRAY",
    "rclpy.duration.Infinite",
    "rclpy.logging.LoggingSeverity.FATAL",
    "rclpy.node.Node.PARAM_REL_TOL",
    "rclpy.topic_endpoint_info.TopicEndpointInfo",
    "rclpy.parameter_service.ParameterService",
]
LACKING = [
    "rclpy.init.__enter__",
    "rclpy.InitContextManager",
    "rclpy.node.Node.__enter__",
    "rclpy.publisher.Publisher.__enter__",
    "rclpy.client.Client.__enter__",
    "rclpy.timer.TimerInfo",
    "rclpy.parameter_service.AsyncParameterService",
    "rclpy.executors.EventsExecutor",
]
"""Newer than 7.1: code that used them here would fail on a robot."""


def found(path: str) -> object:
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            value = getattr(value, part)
        return value
    raise AttributeError(path)


def signature(value: object) -> str:
    words: list[str] = []
    for parameter in inspect.signature(value).parameters.values():  # type: ignore[arg-type]
        if parameter.kind is parameter.VAR_POSITIONAL:
            words.append("*" + parameter.name)
        elif parameter.kind is parameter.VAR_KEYWORD:
            words.append("**" + parameter.name)
        else:
            if parameter.kind is parameter.KEYWORD_ONLY and not any(word.startswith("*") for word in words):
                words.append("*")
            words.append(parameter.name + ("=" if parameter.default is not parameter.empty else ""))
    return " ".join(words)


@pytest.mark.parametrize("path", TABLE)
def test_signatures_are_those_of_rclpy(path: str) -> None:
    assert signature(found(path)) == TABLE[path]


@pytest.mark.parametrize("path", NAMES)
def test_names_are_there(path: str) -> None:
    assert found(path) is not None


@pytest.mark.parametrize("path", LACKING)
def test_nothing_is_there_that_jazzy_lacks(path: str) -> None:
    with pytest.raises(AttributeError):
        found(path)


def test_init_returns_nothing_to_use_with() -> None:
    """`with rclpy.init():` works from Kilted on only."""
    import rclpy
    from rclpy.context import Context

    context = Context()
    assert rclpy.init(args=[], context=context, domain_id=48) is None
    context.shutdown()
