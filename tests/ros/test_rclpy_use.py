"""What nodes here ask of rclpy is what Jazzy's has, read in its code: not only what the overlay would let pass.

Read in ros2/rclpy: rclpy/rclpy/node.py at 32e4eae63cc3450309e7bf1f9dacf3b725a18d88, lifecycle/publisher.py at
48c785091d2f7b00c9737a0e65e90f6672558323, client.py, executors.py and lifecycle/node.py of the same months, and CHANGELOG.rst of
the branch jazzy (7.1.9) at 0216a1aa9e16c6a8ea1861d3c241a2b19909a1b5 for what came later. Facts only, as in test_rclpy_signatures.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ros.test_rclpy_signatures import LACKING, NAMES, TABLE, found, signature

PACKAGE = Path(__file__).parents[2] / "ros_nodes/robot_pt_ros"
OWN = [path for path in PACKAGE.rglob("*.py") if not {"overlay", "wire", "launch_runner"} & set(path.parts)]
METHODS = {
    "rclpy.node.Node.count_subscribers": "self topic_name",
    "rclpy.node.Node.destroy_client": "self client",
    "rclpy.node.Node.destroy_guard_condition": "self guard",
    "rclpy.node.Node.destroy_publisher": "self publisher",
    "rclpy.node.Node.destroy_service": "self service",
    "rclpy.node.Node.destroy_subscription": "self subscription",
    "rclpy.node.Node.destroy_timer": "self timer",
    "rclpy.node.Node.get_clock": "self",
    "rclpy.node.Node.get_fully_qualified_name": "self",
    "rclpy.node.Node.get_logger": "self",
    "rclpy.node.Node.get_name": "self",
    "rclpy.node.Node.get_namespace": "self",
    "rclpy.lifecycle.LifecycleNode.create_lifecycle_publisher": "self *args **kwargs",
    "rclpy.lifecycle.LifecycleNode.destroy_lifecycle_publisher": "self publisher",
    "rclpy.client.Client.remove_pending_request": "self future",
    "rclpy.client.Client.service_is_ready": "self",
    "rclpy.publisher.Publisher.get_subscription_count": "self",
    "rclpy.executors.Executor.add_node": "self node",
    "rclpy.executors.Executor.wake": "self",
    "rclpy.context.Context.get_domain_id": "self",
    "rclpy.parameter.Parameter.to_parameter_msg": "self",
}
"""Methods used here beside those of `test_rclpy_signatures.TABLE`."""
IMPORTED = {
    "rclpy.exceptions.InvalidParameterTypeException",
    "rclpy.exceptions.InvalidParameterValueException",
    "rclpy.qos.QoSCompatibility",
    "rclpy.signals.SignalHandlerOptions",
    "rclpy.subscription.Subscription",
}
"""Names imported here beside those of `test_rclpy_signatures`."""
_AMBIGUOUS = """
clients clock context done error exception executor fatal handle info init name names now ok on_activate on_cleanup on_configure
on_deactivate publish publishers reset result services set_result shutdown spin subscriptions timers topic trigger value
wait_for_service warning nanoseconds add_done_callback set_exception cancel call depth debug create_task
"""
AMBIGUOUS = frozenset(_AMBIGUOUS.split())
"""Names of rclpy's that objects of ours have too, with arguments of their own."""
_PRIVATE = """
_allow_undeclared_parameters _apply_descriptor _apply_descriptor_and_set _apply_descriptors _apply_floating_point_range
_apply_integer_range _clients _clock _context _declare_parameter_common _default_callback_group _descriptors _guards _logger
_logger_service _on_set_parameters_callbacks _parameter_event_publisher _parameter_overrides _parameter_service _parameters
_post_set_parameters_callbacks _pre_set_parameters_callbacks _publishers _rate_group _services _set_parameters_atomically
_set_parameters_atomically_common _subscriptions _time_source _timers _type_description_service _validate_qos_or_depth_parameter
_validate_topic_or_service_name _wake_executor _callbacks _managed_entities _state_machine
"""
PRIVATE = frozenset(_PRIVATE.split())
"""What a Node or LifecycleNode keeps for itself: a node here that used the name would take it away."""


def nodes_of(kind: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    for path in OWN:
        for part in ast.walk(ast.parse(path.read_text())):
            if isinstance(part, kind):
                yield path, part


def as_signature(text: str) -> inspect.Signature:
    words = text.removeprefix("self").split()
    parameters, kind = [], inspect.Parameter.POSITIONAL_OR_KEYWORD
    for word in words:
        if word == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
        elif word.startswith("**"):
            parameters.append(inspect.Parameter(word[2:], inspect.Parameter.VAR_KEYWORD))
        elif word.startswith("*"):
            parameters.append(inspect.Parameter(word[1:], inspect.Parameter.VAR_POSITIONAL))
        else:
            default = None if word.endswith("=") else inspect.Parameter.empty
            parameters.append(inspect.Parameter(word.removesuffix("="), kind, default=default))
    return inspect.Signature(parameters)


def known_methods() -> dict[str, inspect.Signature]:
    """By name; `create_lifecycle_publisher` hands what it gets to `create_publisher` and takes no class."""
    table = {path: text for path, text in {**TABLE, **METHODS}.items() if text.startswith("self")}
    known = {path.rsplit(".", 1)[1]: as_signature(text) for path, text in table.items()}
    plain = TABLE["rclpy.node.Node.create_publisher"].replace(" publisher_class=", "")
    return known | {"create_lifecycle_publisher": as_signature(plain)}


def public_methods() -> set[str]:
    classes = {path.rsplit(".", 1)[0] for path, text in {**TABLE, **METHODS}.items() if text.startswith("self")}
    return {name for path in classes for name in dir(found(path)) if not name.startswith("_")}


@pytest.mark.parametrize("path", METHODS)
def test_the_overlay_has_these_methods_of_rclpy(path: str) -> None:
    assert signature(found(path)) == METHODS[path]


def test_calls_of_rclpy_fit_what_it_takes() -> None:
    known, seen = known_methods(), set()
    for path, call in nodes_of(ast.Call):
        assert isinstance(call, ast.Call)
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if name not in known or name in AMBIGUOUS or any(isinstance(word, ast.Starred) for word in call.args):
            continue
        seen.add(name)
        keywords = {word.arg: None for word in call.keywords if word.arg is not None}
        try:
            known[name].bind(*call.args, **keywords)
        except TypeError as error:
            pytest.fail(f"{path.name}:{call.lineno} {name}: {error}")
    assert seen >= {
        "create_timer",
        "create_subscription",
        "create_lifecycle_publisher",
        "declare_parameter",
        "call_async",
    }


def test_no_method_of_rclpy_is_used_that_is_not_written_down_here() -> None:
    used = {part.attr for _, part in nodes_of(ast.Attribute) if isinstance(part, ast.Attribute)}
    others = {"topic_name", "try_shutdown"}  # a property; `rclpy.try_shutdown`
    assert used & public_methods() <= set(known_methods()) | AMBIGUOUS | others


def test_every_name_imported_from_rclpy_is_one_of_jazzys() -> None:
    paths = {*NAMES, *TABLE, *METHODS, *IMPORTED}
    known = {".".join(path.split(".")[:cut]) for path in paths for cut in range(2, 6)}
    missing = []
    for path, part in nodes_of(ast.ImportFrom):
        assert isinstance(part, ast.ImportFrom)
        if (part.module or "").split(".")[0] == "rclpy":
            full = [f"{part.module}.{alias.name}" for alias in part.names]
            missing += [(path.name, name) for name in full if name not in known]
            assert not set(full) & set(LACKING)
    assert missing == []


def test_no_node_takes_a_name_that_rclpy_keeps_for_itself() -> None:
    looked_at = 0
    for path, part in nodes_of(ast.ClassDef):
        assert isinstance(part, ast.ClassDef)
        if not {base.id for base in part.bases if isinstance(base, ast.Name)} & {"Node", "LifecycleNode"}:
            continue
        looked_at += 1
        stored = {
            word.attr
            for word in ast.walk(part)
            if isinstance(word, ast.Attribute) and isinstance(word.ctx, ast.Store) and isinstance(word.value, ast.Name)
        }
        methods = {word.name for word in part.body if isinstance(word, ast.FunctionDef)}
        assert not (stored | methods) & PRIVATE, path.name
    assert looked_at == 10


@pytest.mark.parametrize(
    ("text", "given", "named", "fits"),
    [
        ("self a b= * c=", 1, (), True),
        ("self a b= * c=", 3, (), False),
        ("self a b= * c=", 1, ("c",), True),
        ("self a b= * c=", 1, ("d",), False),
        ("self a b= * c=", 0, (), False),
        ("self", 0, (), True),
        ("self *args **kwargs", 5, ("any",), True),
    ],
)
def test_a_call_that_rclpy_refuses_would_be_seen(text: str, given: int, named: tuple[str, ...], fits: bool) -> None:
    called = as_signature(text)
    try:
        called.bind(*range(given), **dict.fromkeys(named))
    except TypeError:
        assert not fits
    else:
        assert fits
