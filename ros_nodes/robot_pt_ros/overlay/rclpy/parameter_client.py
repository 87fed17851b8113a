"""The parameters of another node."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)

from rclpy.callback_groups import CallbackGroup
from rclpy.parameter import Parameter, parameter_dict_from_yaml_file
from rclpy.qos import QoSProfile, qos_profile_services_default
from rclpy.task import Future

_Done = Callable[[Future], Any] | None


class AsyncParameterClient:
    """Clients for the six parameter services of `remote_node_name`; answers come as futures while `node` is spun."""

    def __init__(
        self,
        node: Any,
        remote_node_name: str,
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> None:
        self.remote_node_name = remote_node_name
        self._context = node.context

        def client(srv_type: Any, name: str) -> Any:
            full = f"{remote_node_name}/{name}"
            return node.create_client(srv_type, full, qos_profile=qos_profile, callback_group=callback_group)

        self._get_parameter_client = client(GetParameters, "get_parameters")
        self._list_parameter_client = client(ListParameters, "list_parameters")
        self._set_parameter_client = client(SetParameters, "set_parameters")
        self._get_parameter_types_client = client(GetParameterTypes, "get_parameter_types")
        self._describe_parameters_client = client(DescribeParameters, "describe_parameters")
        self._set_parameters_atomically_client = client(SetParametersAtomically, "set_parameters_atomically")
        self._all = [value for name, value in vars(self).items() if name.endswith("_client")]

    def services_are_ready(self) -> bool:
        return all(client.service_is_ready() for client in self._all)

    def wait_for_services(self, timeout_sec: float | None = None) -> bool:
        """Whether all six are there, waiting up to `timeout_sec` (None: for ever)."""
        end_s = None if timeout_sec is None else time.monotonic() + timeout_sec
        return all(
            client.wait_for_service(None if end_s is None else max(0.0, end_s - time.monotonic()))
            for client in self._all
        )

    def _ask(self, client: Any, request: Any, callback: _Done) -> Future:
        future: Future = client.call_async(request)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def list_parameters(
        self, prefixes: list[str] | None = None, depth: int | None = None, callback: _Done = None
    ) -> Future:
        request = ListParameters.Request(prefixes=prefixes or [], depth=depth or 0)
        return self._ask(self._list_parameter_client, request, callback)

    def get_parameters(self, names: list[str], callback: _Done = None) -> Future:
        return self._ask(self._get_parameter_client, GetParameters.Request(names=names), callback)

    def describe_parameters(self, names: list[str], callback: _Done = None) -> Future:
        return self._ask(self._describe_parameters_client, DescribeParameters.Request(names=names), callback)

    def get_parameter_types(self, names: list[str], callback: _Done = None) -> Future:
        return self._ask(self._get_parameter_types_client, GetParameterTypes.Request(names=names), callback)

    def set_parameters(self, parameters: Sequence[Parameter | ParameterMsg], callback: _Done = None) -> Future:
        request = SetParameters.Request(parameters=_messages(parameters))
        return self._ask(self._set_parameter_client, request, callback)

    def set_parameters_atomically(
        self, parameters: Sequence[Parameter | ParameterMsg], callback: _Done = None
    ) -> Future:
        request = SetParametersAtomically.Request(parameters=_messages(parameters))
        return self._ask(self._set_parameters_atomically_client, request, callback)

    def delete_parameters(self, names: list[str], callback: _Done = None) -> Future:
        return self.set_parameters([Parameter(name) for name in names], callback)

    def load_parameter_file(self, parameter_file: str, use_wildcard: bool = False, callback: _Done = None) -> Future:
        parameters = parameter_dict_from_yaml_file(
            parameter_file, use_wildcard, target_nodes=[self.remote_node_name], namespace=""
        )
        return self.set_parameters(list(parameters.values()), callback)


def _messages(parameters: Sequence[Parameter | ParameterMsg]) -> list[ParameterMsg]:
    return [p.to_parameter_msg() if isinstance(p, Parameter) else p for p in parameters]
