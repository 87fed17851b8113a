"""The six parameter services of a node; `ros2 param` needs all of them."""

from __future__ import annotations

import weakref
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)

from rclpy.exceptions import ParameterNotDeclaredException, ParameterUninitializedException
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_parameters


class ParameterService:
    """Holds its node weakly; the services belong to the node."""

    def __init__(self, node: Any) -> None:
        self._node_weak_ref = weakref.ref(node)
        for srv_type, name, callback in (
            (DescribeParameters, "describe_parameters", self._describe),
            (GetParameters, "get_parameters", self._get),
            (GetParameterTypes, "get_parameter_types", self._types),
            (ListParameters, "list_parameters", self._list),
            (SetParameters, "set_parameters", self._set),
            (SetParametersAtomically, "set_parameters_atomically", self._set_atomically),
        ):
            node.create_service(srv_type, f"~/{name}", callback, qos_profile=qos_profile_parameters)

    def _node(self) -> Any:
        node = self._node_weak_ref()
        if node is None:
            raise ReferenceError("Expected valid node weak reference")
        return node

    def _describe(self, request: Any, response: Any) -> Any:
        node = self._node()
        for name in request.names:
            try:
                response.descriptors.append(node.describe_parameter(name))
            except ParameterNotDeclaredException:
                response.descriptors.append(ParameterDescriptor(name=name))
        return response

    def _known(self, name: str) -> Parameter:
        try:
            return self._node().get_parameter(name)
        except (ParameterNotDeclaredException, ParameterUninitializedException):
            return Parameter(name)

    def _get(self, request: Any, response: Any) -> Any:
        response.values = [self._known(name).get_parameter_value() for name in request.names]
        return response

    def _types(self, request: Any, response: Any) -> Any:
        response.types = [self._known(name).type_.value for name in request.names]
        return response

    def _list(self, request: Any, response: Any) -> Any:
        response.result = self._node().list_parameters(list(request.prefixes), request.depth)
        return response

    def _set(self, request: Any, response: Any) -> Any:
        response.results = [self._try([message]) for message in request.parameters]
        return response

    def _set_atomically(self, request: Any, response: Any) -> Any:
        response.result = self._try(request.parameters)
        return response

    def _try(self, messages: list[Any]) -> SetParametersResult:
        """What a remote peer sends must not end this node: whatever is wrong with it becomes the reason."""
        try:
            return self._node().set_parameters_atomically([Parameter.from_parameter_msg(m) for m in messages])
        except (ParameterNotDeclaredException, RuntimeError, ValueError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
