"""Nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rcl_interfaces.msg import ParameterDescriptor, ParameterEvent

from rclpy._node_contents import NodeContents
from rclpy._node_graph import NodeGraph
from rclpy._node_identity import NodeIdentity
from rclpy._node_parameters import NodeParameters
from rclpy._rclpy_pybind11 import NodeNameNonExistentError as NodeNameNonExistentError
from rclpy._rosout import Rosout
from rclpy._transport import wire_qos
from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.clock import Clock, ROSClock
from rclpy.constants import S_TO_NS
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.exceptions import NotInitializedException
from rclpy.guard_condition import GuardCondition
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.logging import get_logger
from rclpy.logging_service import LoggingService
from rclpy.parameter import Parameter
from rclpy.parameter_service import ParameterService
from rclpy.publisher import Publisher
from rclpy.qos import (
    QoSProfile,
    qos_profile_parameter_events,
    qos_profile_services_default,
)
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.time_source import TimeSource
from rclpy.timer import Rate, Timer
from rclpy.type_support import check_is_valid_msg_type, check_is_valid_srv_type
from rclpy.utilities import _context_or_default
from robot_pt_ros.wire import services as wire_services

HIDDEN_NODE_PREFIX = "_"
_P = TypeVar("_P", bound=Publisher)


class Node(NodeContents, NodeIdentity, NodeParameters, NodeGraph):
    """A node of the graph: the maker and owner of its endpoints, timers and parameters."""

    def __init__(
        self,
        node_name: str,
        *,
        context: Any = None,
        cli_args: list[str] | None = None,
        namespace: str | None = None,
        use_global_arguments: bool = True,
        enable_rosout: bool = True,
        start_parameter_services: bool = True,
        parameter_overrides: list[Parameter] | None = None,
        allow_undeclared_parameters: bool = False,
        automatically_declare_parameters_from_overrides: bool = False,
        enable_logger_service: bool = False,
    ) -> None:
        """As rclpy.node.Node. Raises NotInitializedException, InvalidNodeNameException, InvalidNamespaceException."""
        self._context = _context_or_default(context)
        self._init_contents()
        self._default_callback_group = MutuallyExclusiveCallbackGroup()
        self._rate_group = ReentrantCallbackGroup()
        self._destroyed = False
        if not self._context.ok():
            raise NotInitializedException("cannot create node")
        self._name_node(node_name, namespace, cli_args, use_global_arguments)
        assert self._context.handle is not None
        self._session = self._context.handle
        self._graph = self._session.participant.graph
        self._key = self._graph.add_node(self._name, self._namespace)
        self._context._node_made(+1)
        self._logger = get_logger(self.get_fully_qualified_name().strip("/").replace("/", "."))
        self._clock = ROSClock()
        self._rosout: Rosout | None = None
        try:
            self._open(
                enable_rosout,
                parameter_overrides or [],
                allow_undeclared_parameters,
                automatically_declare_parameters_from_overrides,
            )
            if start_parameter_services:
                self._parameter_service = ParameterService(self)
            if enable_logger_service:
                self._logger_service = LoggingService(self)
        except BaseException:
            self.destroy_node()
            raise

    def _open(
        self, enable_rosout: bool, parameter_overrides: list[Parameter], allow_undeclared: bool, declare: bool
    ) -> None:
        """Logs, parameters and time, in this order: each needs the one before."""
        if enable_rosout and self._arguments.rosout:
            self._rosout = Rosout(self)
        given = self._arguments.overrides(self.get_fully_qualified_name())
        overrides = {name: Parameter(name, value=value) for name, value in given.items()}
        overrides.update({parameter.name: parameter for parameter in parameter_overrides})
        self._init_parameters(overrides, allow_undeclared)
        self._parameter_event_publisher: Publisher = self.create_publisher(
            ParameterEvent, "/parameter_events", qos_profile_parameter_events
        )
        if declare:
            found = [(p.name, p.value, ParameterDescriptor()) for p in overrides.values()]
            self.declare_parameters("", found, ignore_override=True)
        self._time_source = TimeSource(node=self)
        self._time_source.attach_clock(self._clock)

    @property
    def context(self) -> Any:
        return self._context

    @property
    def default_callback_group(self) -> CallbackGroup:
        return self._default_callback_group

    @property
    def handle(self) -> Any:
        """What the graph calls this node."""
        return self._key

    def get_clock(self) -> Clock:
        return self._clock

    def get_logger(self) -> RcutilsLogger:
        return self._logger

    def _join(self, endpoint: Any, made: list[Any], group: CallbackGroup | None = None) -> None:
        """Make an endpoint part of this node: announced, in its group, and able to wake the executor."""
        for handler in endpoint.event_handlers:
            self._arrivals.serve(handler)
        if group is not None:  # publishers have nothing to run but events
            group.add_entity(endpoint)
            self._arrivals.serve(endpoint)
        made.append(endpoint)
        self._graph.attach(self._key, endpoint._wire)

    def create_publisher(
        self,
        msg_type: Any,
        topic: str,
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: PublisherEventCallbacks | None = None,
        qos_overriding_options: Any = None,
        publisher_class: type[_P] = Publisher,  # type: ignore[assignment]
    ) -> _P:
        """Raises InvalidTopicNameException, RuntimeError on no message type, TypeError and ValueError on a bad depth."""
        _refuse_overriding(qos_overriding_options)
        check_is_valid_msg_type(msg_type)
        profile = _profile(qos_profile)
        full_name = self.resolve_topic_name(topic)
        qos = wire_qos(profile, lambda: self._graph.subscriptions(full_name))
        wire = self._session.participant.writer(full_name, msg_type, qos)
        publisher = publisher_class(
            (wire, self._session, self._context, self._logger.name),
            msg_type,
            topic,
            profile,
            event_callbacks=event_callbacks or PublisherEventCallbacks(),
            callback_group=callback_group or self._default_callback_group,
        )
        self._join(publisher, self._publishers)
        return publisher

    def create_subscription(
        self,
        msg_type: Any,
        topic: str,
        callback: Callable[..., Any],
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: SubscriptionEventCallbacks | None = None,
        qos_overriding_options: Any = None,
        raw: bool = False,
    ) -> Subscription:
        """Raises as `create_publisher`; with `raw` the callback gets bytes."""
        _refuse_overriding(qos_overriding_options)
        check_is_valid_msg_type(msg_type)
        profile = _profile(qos_profile)
        full_name = self.resolve_topic_name(topic)
        qos = wire_qos(profile, lambda: self._graph.publishers(full_name))
        group = callback_group or self._default_callback_group
        wire = self._session.participant.reader(full_name, msg_type, qos)
        subscription = Subscription(
            (wire, self._session, self._logger.name),
            msg_type,
            topic,
            callback,
            group,
            profile,
            raw,
            event_callbacks=event_callbacks or SubscriptionEventCallbacks(),
        )
        self._join(subscription, self._subscriptions, group)
        subscription._watch()
        return subscription

    def create_client(
        self,
        srv_type: Any,
        srv_name: str,
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Client:
        """Raises InvalidServiceNameException, RuntimeError on no service type."""
        check_is_valid_srv_type(srv_type)
        full_name = self.resolve_service_name(srv_name)
        group = callback_group or self._default_callback_group
        wire = wire_services.Client(self._session.participant, full_name, srv_type, wire_qos(qos_profile))
        client = Client(self._context, (wire, self._session, full_name), srv_type, srv_name, qos_profile, group)
        client._executor_of_node = lambda: self.executor
        self._join(client, self._clients, group)
        client._watch()
        return client

    def create_service(
        self,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Service:
        """Raises as `create_client`."""
        check_is_valid_srv_type(srv_type)
        full_name = self.resolve_service_name(srv_name)
        group = callback_group or self._default_callback_group
        wire = wire_services.Server(self._session.participant, full_name, srv_type, wire_qos(qos_profile))
        service = Service((wire, self._session, full_name), srv_type, srv_name, callback, group, qos_profile)
        self._join(service, self._services, group)
        service._watch()
        return service

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[[], Any] | None,
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
        autostart: bool = True,
    ) -> Timer:
        """On the node's clock, which is simulated under ``use_sim_time``, unless another is given."""
        group = callback_group or self._default_callback_group
        timer = Timer(
            callback,
            group,
            int(float(timer_period_sec) * S_TO_NS),
            clock or self._clock,
            context=self._context,
            autostart=autostart,
        )
        timer._wake = self._wake_executor
        group.add_entity(timer)
        self._timers.append(timer)
        self._wake_executor()
        return timer

    def create_guard_condition(
        self, callback: Callable[[], Any], callback_group: CallbackGroup | None = None
    ) -> GuardCondition:
        group = callback_group or self._default_callback_group
        guard = GuardCondition(callback, group, context=self._context)
        self._arrivals.serve(guard)
        group.add_entity(guard)
        self._guards.append(guard)
        return guard

    def create_rate(self, frequency: float, clock: Clock | None = None) -> Rate:
        """[Hz]; raises ValueError on a frequency <= 0."""
        if frequency <= 0:
            raise ValueError("frequency must be > 0")
        return Rate(self.create_timer(1.0 / frequency, None, self._rate_group, clock), context=self._context)

    def _leave(self, endpoint: Any, made: list[Any]) -> bool:
        if endpoint not in made:
            return False
        made.remove(endpoint)
        if hasattr(endpoint, "_wire"):
            self._graph.detach(self._key, endpoint._wire)
        endpoint.destroy()
        for entity in (endpoint, *getattr(endpoint, "event_handlers", ())):
            self._arrivals.forget(entity)
        self._wake_executor()
        return True

    def destroy_publisher(self, publisher: Publisher) -> bool:
        """False where it is not this node's; so do the next ones."""
        return self._leave(publisher, self._publishers)

    def destroy_subscription(self, subscription: Subscription) -> bool:
        return self._leave(subscription, self._subscriptions)

    def destroy_client(self, client: Client) -> bool:
        return self._leave(client, self._clients)

    def destroy_service(self, service: Service) -> bool:
        return self._leave(service, self._services)

    def destroy_timer(self, timer: Timer) -> bool:
        return self._leave(timer, self._timers)

    def destroy_guard_condition(self, guard: GuardCondition) -> bool:
        return self._leave(guard, self._guards)

    def destroy_rate(self, rate: Rate) -> bool:
        success = self.destroy_timer(rate._timer)
        rate.destroy()
        return success

    def destroy_node(self) -> None:
        """Destroy everything this node made and leave the graph; idempotent."""
        if self._destroyed:
            return
        self._destroyed = True
        if self._rosout is not None:
            self._rosout.close()
        for made in (
            self._publishers,
            self._subscriptions,
            self._clients,
            self._services,
            self._timers,
            self._guards,
        ):
            while made:
                self._leave(made[0], made)
        self._graph.remove_node(self._key)
        self._wake_executor()
        self._context._node_made(-1)


def _profile(qos_or_depth: Any) -> QoSProfile:
    if isinstance(qos_or_depth, QoSProfile):
        return qos_or_depth
    if isinstance(qos_or_depth, int):
        if qos_or_depth < 0:
            raise ValueError("history depth must be greater than or equal to zero")
        return QoSProfile(depth=qos_or_depth)
    raise TypeError(f"Expected QoSProfile or int, but received {type(qos_or_depth)!r}")


def _refuse_overriding(options: Any) -> None:
    if options is not None:
        raise NotImplementedError(
            "qos_overriding_options is not part of robot-pt's overlay; give the QoSProfile itself."
        )
