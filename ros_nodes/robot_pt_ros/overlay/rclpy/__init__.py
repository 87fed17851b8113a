"""A small client library with rclpy's names, for machines without ROS 2: Jazzy's rclpy 7.1 as far as nodes here use it.

It speaks rmw_cyclonedds' bytes through `robot_pt_ros.wire`. Not part of it, and refused with a sentence: actions, QoS
overriding by parameters, content filters, service introspection, log files, security enclaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rclpy.context import Context as Context
from rclpy.parameter import Parameter as Parameter
from rclpy.signals import SignalHandlerOptions as SignalHandlerOptions
from rclpy.signals import install_signal_handlers as install_signal_handlers
from rclpy.signals import uninstall_signal_handlers as uninstall_signal_handlers
from rclpy.task import Future as Future
from rclpy.utilities import get_default_context as get_default_context
from rclpy.utilities import get_rmw_implementation_identifier as get_rmw_implementation_identifier
from rclpy.utilities import ok as ok
from rclpy.utilities import shutdown as _shutdown
from rclpy.utilities import try_shutdown as try_shutdown

if TYPE_CHECKING:
    from rclpy.executors import Executor
    from rclpy.node import Node

_global_executor: Any = None


def init(
    *,
    args: list[str] | None = None,
    context: Context | None = None,
    domain_id: int | None = None,
    signal_handler_options: SignalHandlerOptions | None = None,
) -> None:
    """Initialise a context (the default one) and install signal handlers (both, for the default one)."""
    is_default = context is None or context is get_default_context()
    context = get_default_context() if context is None else context
    if signal_handler_options is None:
        signal_handler_options = SignalHandlerOptions.ALL if is_default else SignalHandlerOptions.NO
    context.init(args, domain_id=domain_id)
    install_signal_handlers(signal_handler_options)


def get_global_executor() -> Executor:
    """The executor of the `spin` functions, which lives until the default context is shut down."""
    global _global_executor
    if _global_executor is not None:
        return _global_executor
    from rclpy.executors import SingleThreadedExecutor

    executor = _global_executor = SingleThreadedExecutor()

    def reset() -> None:
        global _global_executor
        _global_executor = None
        executor.shutdown(0.0)

    get_default_context().on_shutdown(reset)
    return executor


def shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """Shut a context down. Raises RuntimeError where it is not up; `try_shutdown` does not."""
    is_default = context is None or context is get_default_context()
    _shutdown(context=context)
    if uninstall_handlers or (uninstall_handlers is None and is_default):
        uninstall_signal_handlers()


def create_node(
    node_name: str,
    *,
    context: Context | None = None,
    cli_args: list[str] | None = None,
    namespace: str | None = None,
    use_global_arguments: bool = True,
    enable_rosout: bool = True,
    start_parameter_services: bool = True,
    parameter_overrides: list[Parameter] | None = None,
    allow_undeclared_parameters: bool = False,
    automatically_declare_parameters_from_overrides: bool = False,
    enable_logger_service: bool = False,
) -> Node:
    """A `Node`, with its arguments."""
    from rclpy.node import Node

    return Node(
        node_name,
        context=context,
        cli_args=cli_args,
        namespace=namespace,
        use_global_arguments=use_global_arguments,
        enable_rosout=enable_rosout,
        start_parameter_services=start_parameter_services,
        parameter_overrides=parameter_overrides,
        allow_undeclared_parameters=allow_undeclared_parameters,
        automatically_declare_parameters_from_overrides=automatically_declare_parameters_from_overrides,
        enable_logger_service=enable_logger_service,
    )


def spin_once(node: Node, *, executor: Executor | None = None, timeout_sec: float | None = None) -> None:
    """Run one callback of the node, waiting for it up to `timeout_sec` (None: for ever)."""
    executor = get_global_executor() if executor is None else executor
    added = executor.add_node(node)
    try:
        executor.spin_once(timeout_sec=timeout_sec)
    finally:
        if added:
            executor.remove_node(node)


def spin(node: Node, executor: Executor | None = None) -> None:
    """Run the node's callbacks until shutdown. Raises rclpy.executors.ExternalShutdownException where that comes from outside."""
    executor = get_global_executor() if executor is None else executor
    added = executor.add_node(node)
    try:
        while executor.context.ok():
            executor.spin_once()
    finally:
        if added:
            executor.remove_node(node)


def spin_until_future_complete(
    node: Node, future: Future, executor: Executor | None = None, timeout_sec: float | None = None
) -> None:
    """Run the node's callbacks until the future is done, `timeout_sec` is over, or shutdown."""
    executor = get_global_executor() if executor is None else executor
    added = executor.add_node(node)
    try:
        executor.spin_until_future_complete(future, timeout_sec)
    finally:
        if added:
            executor.remove_node(node)
