"""The parameters of a node: declared, typed, ranged, and set all or none."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import (
    ListParametersResult,
    ParameterDescriptor,
    ParameterEvent,
    ParameterValue,
    SetParametersResult,
)
from rcl_interfaces.msg import Parameter as ParameterMsg

from rclpy._names import validate_parameter_name
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from rclpy.parameter import PARAMETER_SEPARATOR_STRING, Parameter

_Validate = Callable[[list[Parameter]], SetParametersResult]
PARAM_REL_TOL = 1e-6


def _refused(reason: str) -> SetParametersResult:
    return SetParametersResult(successful=False, reason=reason)


class NodeParameters:
    """Mixed into `Node`, which has `_clock`, a publisher of events and its own names."""

    PARAM_REL_TOL = PARAM_REL_TOL

    def _init_parameters(self, overrides: dict[str, Parameter], allow_undeclared: bool) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._descriptors: dict[str, ParameterDescriptor] = {}
        self._parameter_overrides = overrides
        self._allow_undeclared_parameters = allow_undeclared
        self._pre_set_parameters_callbacks: list[Callable[[list[Parameter]], list[Parameter]]] = []
        self._on_set_parameters_callbacks: list[_Validate] = []
        self._post_set_parameters_callbacks: list[Callable[[list[Parameter]], None]] = []

    def declare_parameter(
        self,
        name: str,
        value: Any = None,
        descriptor: ParameterDescriptor | None = None,
        ignore_override: bool = False,
    ) -> Parameter:
        """Declare one parameter; see `declare_parameters`."""
        given = (name,) if value is None and descriptor is None else (name, value, descriptor or ParameterDescriptor())
        return self.declare_parameters("", [given], ignore_override)[0]

    def declare_parameters(
        self, namespace: str, parameters: list[tuple[Any, ...]], ignore_override: bool = False
    ) -> list[Parameter]:
        """Declare (name, value or Parameter.Type, descriptor) tuples as ``namespace.name``; overrides come first.

        Raises ParameterAlreadyDeclaredException, InvalidParameterException on a bad name, InvalidParameterTypeException
        where an override is of another type (a DOUBLE takes no INTEGER), InvalidParameterValueException where a range or
        a callback refuses, TypeError and ValueError on tuples that say nothing consistent.
        """
        declared: list[Parameter] = []
        descriptors: dict[str, ParameterDescriptor] = {}
        for index, given in enumerate(parameters):
            name, value, descriptor = _declaration(namespace, index, given)
            if not ignore_override and name in self._parameter_overrides:
                value = self._parameter_overrides[name].value
            declared.append(Parameter(name, value=value))
            descriptors[name] = descriptor
        known = [parameter.name for parameter in declared if parameter.name in self._parameters]
        if known:
            raise ParameterAlreadyDeclaredException(known)
        for parameter in declared:
            result = self._apply([parameter], descriptors, keep_not_set=True)
            if not result.successful:
                expected = Parameter.Type(descriptors[parameter.name].type)
                if result.reason.startswith("Wrong parameter type"):
                    raise InvalidParameterTypeException(parameter, expected.name)
                raise InvalidParameterValueException(parameter.name, parameter.value, result.reason)
        return [self._parameters[parameter.name] for parameter in declared]

    def undeclare_parameter(self, name: str) -> None:
        """Raises ParameterNotDeclaredException, and ParameterImmutableException where it is read-only."""
        if name not in self._parameters:
            raise ParameterNotDeclaredException(name)
        if self._descriptors[name].read_only:
            raise ParameterImmutableException(name)
        del self._parameters[name]
        del self._descriptors[name]

    def has_parameter(self, name: str) -> bool:
        return name in self._parameters

    def get_parameter_types(self, names: list[str]) -> list[Any]:
        _check_names(names)
        return [self.get_parameter_type(name) for name in names]

    def get_parameter_type(self, name: str) -> Any:
        """The number of the type, as rclpy gives it. Raises ParameterNotDeclaredException."""
        if name in self._parameters:
            return self._parameters[name].type_.value
        if self._allow_undeclared_parameters:
            return Parameter.Type.NOT_SET
        raise ParameterNotDeclaredException(name)

    def get_parameters(self, names: list[str]) -> list[Parameter]:
        _check_names(names)
        return [self.get_parameter(name) for name in names]

    def get_parameter(self, name: str) -> Parameter:
        """Raises ParameterNotDeclaredException, and ParameterUninitializedException before a typed one has a value."""
        if name in self._parameters:
            parameter = self._parameters[name]
            if parameter.type_ != Parameter.Type.NOT_SET or self._descriptors[name].dynamic_typing:
                return parameter
            raise ParameterUninitializedException(name)
        if self._allow_undeclared_parameters:
            return Parameter(name, Parameter.Type.NOT_SET, None)
        raise ParameterNotDeclaredException(name)

    def get_parameter_or(self, name: str, alternative_value: Parameter | None = None) -> Parameter:
        """The parameter, or the alternative (one that is not set, by default) where it is undeclared or has no value."""
        if name in self._parameters and self._parameters[name].type_ != Parameter.Type.NOT_SET:
            return self._parameters[name]
        return Parameter(name, Parameter.Type.NOT_SET) if alternative_value is None else alternative_value

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Parameter]:
        """Parameters below ``prefix.``, by the rest of their names."""
        start = prefix + PARAMETER_SEPARATOR_STRING if prefix else ""
        return {name[len(start) :]: known for name, known in self._parameters.items() if name.startswith(start)}

    def set_parameters(self, parameter_list: list[Parameter]) -> list[SetParametersResult]:
        """One after the other, with a result each. Raises ParameterNotDeclaredException at the first undeclared one."""
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """All or none. Raises ParameterNotDeclaredException and TypeError."""
        if self._pre_set_parameters_callbacks:
            parameter_list = [p for callback in self._pre_set_parameters_callbacks for p in callback(parameter_list)]
            if not parameter_list:
                return _refused("parameter list cannot be empty: a pre_set_parameters_callback removed everything.")
        if not all(isinstance(parameter, Parameter) for parameter in parameter_list):
            raise TypeError(f"parameter must be instance of type '{Parameter!r}'")
        undeclared = [parameter.name for parameter in parameter_list if parameter.name not in self._parameters]
        if undeclared and not self._allow_undeclared_parameters:
            raise ParameterNotDeclaredException(undeclared)
        return self._apply(parameter_list, None, keep_not_set=False)

    def _apply(
        self, parameters: list[Parameter], new: dict[str, ParameterDescriptor] | None, *, keep_not_set: bool
    ) -> SetParametersResult:
        """Check against descriptors and callbacks, then store and announce; `new` descriptors come with a declaration."""
        for parameter in parameters:
            descriptor = (self._descriptors if new is None else new).get(parameter.name)
            if descriptor is not None:
                result = self._check(parameter, descriptor, check_read_only=new is None)
                if not result.successful:
                    return result
        for callback in self._on_set_parameters_callbacks:
            result = callback(parameters)
            if not result.successful:
                return result
        event = ParameterEvent(node=self.get_fully_qualified_name())  # type: ignore[attr-defined]
        for parameter in parameters:
            self._store(parameter, new, keep_not_set, event)
        event.stamp = self._clock.now().to_msg()  # type: ignore[attr-defined]
        self._parameter_event_publisher.publish(event)  # type: ignore[attr-defined]
        for post in self._post_set_parameters_callbacks:
            post(parameters)
        return SetParametersResult(successful=True)

    def _store(
        self,
        parameter: Parameter,
        new: dict[str, ParameterDescriptor] | None,
        keep_not_set: bool,
        event: ParameterEvent,
    ) -> None:
        name = parameter.name
        if parameter.type_ == Parameter.Type.NOT_SET and not keep_not_set:
            event.deleted_parameters.append(parameter.to_parameter_msg())
            self._parameters.pop(name, None)
            self._descriptors.pop(name, None)
            return
        if new is not None:
            self._descriptors[name] = new[name]
        elif name not in self._descriptors:
            self._descriptors[name] = ParameterDescriptor(name=name, dynamic_typing=True, type=parameter.type_.value)
        is_new = self.get_parameter_or(name).type_ == Parameter.Type.NOT_SET
        (event.new_parameters if is_new else event.changed_parameters).append(parameter.to_parameter_msg())
        self._parameters[name] = parameter

    def _check(
        self, parameter: Parameter, descriptor: ParameterDescriptor, *, check_read_only: bool
    ) -> SetParametersResult:
        """Whether a descriptor allows a value; fills in the descriptor's name, and its type where that is dynamic."""
        descriptor.name = parameter.name
        not_set = parameter.type_ == Parameter.Type.NOT_SET
        if check_read_only and descriptor.read_only:
            return _refused(f"Trying to set a read-only parameter: {parameter.name}.")
        if descriptor.dynamic_typing:
            descriptor.type = parameter.type_.value
        elif not_set and parameter.name in self._parameters:
            return _refused("Static parameter cannot be undeclared")
        elif not not_set and parameter.type_.value != descriptor.type:
            expected = Parameter.Type(descriptor.type)
            return _refused(f"Wrong parameter type, expected '{expected}' got '{parameter.type_}'")
        if parameter.type_ == Parameter.Type.INTEGER and descriptor.integer_range:
            return _check_integer(parameter, descriptor.integer_range[0])
        if parameter.type_ == Parameter.Type.DOUBLE and descriptor.floating_point_range:
            return _check_double(parameter, descriptor.floating_point_range[0])
        return SetParametersResult(successful=True)

    def list_parameters(self, prefixes: list[str], depth: int) -> ListParametersResult:
        """Names below the prefixes (all, without any) to a depth of parts (0: any). Raises TypeError, ValueError."""
        if not isinstance(prefixes, list):
            raise TypeError("The prefixes argument must be a list")
        if not all(isinstance(prefix, str) for prefix in prefixes):
            raise TypeError("All prefixes must be instances of type str")
        if not isinstance(depth, int):
            raise TypeError("The depth must be instance of type int")
        if depth < 0:
            raise ValueError("The depth must be greater than or equal to zero")

        def near(rest: str) -> bool:
            return depth == 0 or rest.count(PARAMETER_SEPARATOR_STRING) < depth

        def wanted(name: str) -> bool:
            if not prefixes:
                return near(name)
            below = [name[len(p) + 1 :] for p in prefixes if name.startswith(p + PARAMETER_SEPARATOR_STRING)]
            return name in prefixes or any(near(rest) for rest in below)

        names = [name for name in self._parameters if wanted(name)]
        parents = (name.rpartition(PARAMETER_SEPARATOR_STRING)[0] for name in names)
        return ListParametersResult(names=names, prefixes=list(dict.fromkeys(parent for parent in parents if parent)))

    def add_pre_set_parameters_callback(self, callback: Callable[[list[Parameter]], list[Parameter]]) -> None:
        """May change the list before it is checked; not called for declarations. The last one added runs first."""
        self._pre_set_parameters_callbacks.insert(0, callback)

    def add_on_set_parameters_callback(self, callback: _Validate) -> None:
        """May refuse; called for declarations too. The last one added runs first."""
        self._on_set_parameters_callbacks.insert(0, callback)

    def add_post_set_parameters_callback(self, callback: Callable[[list[Parameter]], None]) -> None:
        """Told after values are set. The last one added runs first."""
        self._post_set_parameters_callbacks.insert(0, callback)

    def remove_pre_set_parameters_callback(self, callback: Callable[[list[Parameter]], list[Parameter]]) -> None:
        """Raises ValueError where it was not added."""
        self._pre_set_parameters_callbacks.remove(callback)

    def remove_on_set_parameters_callback(self, callback: _Validate) -> None:
        """Raises ValueError where it was not added."""
        self._on_set_parameters_callbacks.remove(callback)

    def remove_post_set_parameters_callback(self, callback: Callable[[list[Parameter]], None]) -> None:
        """Raises ValueError where it was not added."""
        self._post_set_parameters_callbacks.remove(callback)

    def describe_parameter(self, name: str) -> ParameterDescriptor:
        """Raises ParameterNotDeclaredException."""
        if name in self._descriptors:
            return self._descriptors[name]
        if self._allow_undeclared_parameters:
            return ParameterDescriptor()
        raise ParameterNotDeclaredException(name)

    def describe_parameters(self, names: list[str]) -> list[ParameterDescriptor]:
        return [self.describe_parameter(name) for name in names]

    def set_descriptor(
        self, name: str, descriptor: ParameterDescriptor, alternative_value: ParameterValue | None = None
    ) -> ParameterValue:
        """Give a parameter another descriptor, and the alternative value where its own does not fit.

        Raises ParameterNotDeclaredException, ParameterImmutableException, InvalidParameterValueException.
        """
        if name not in self._parameters:
            if not self._allow_undeclared_parameters:
                raise ParameterNotDeclaredException(name)
            return self.get_parameter(name).get_parameter_value()
        if self._descriptors[name].read_only:
            raise ParameterImmutableException(name)
        candidates = [self.get_parameter(name)]
        if alternative_value is not None:
            candidates.append(Parameter.from_parameter_msg(ParameterMsg(name=name, value=alternative_value)))
        for candidate in candidates:
            result = self._check(candidate, descriptor, check_read_only=False)
            if result.successful:
                self._parameters[name] = candidate
                self._descriptors[name] = descriptor
                return candidate.get_parameter_value()
        raise InvalidParameterValueException(name, candidates[-1].value, result.reason)


def _check_names(names: list[str]) -> None:
    if not all(isinstance(name, str) for name in names):
        raise TypeError("All names must be instances of type str")


def _declaration(namespace: str, index: int, given: tuple[Any, ...]) -> tuple[str, Any, ParameterDescriptor]:
    """Name, value and descriptor of one tuple, with the type in the descriptor."""
    if not 1 <= len(given) <= 3:
        raise TypeError(
            f"Invalid parameter tuple length at index {index} in parameters list: {given}; "
            "expecting length between 1 and 3"
        )
    name = given[0]
    value = given[1] if len(given) > 1 else None
    descriptor = given[2] if len(given) > 2 else ParameterDescriptor()
    if not isinstance(name, str):
        raise TypeError(f"First element {name} at index {index} in parameters list is not a str.")
    if not isinstance(descriptor, ParameterDescriptor):
        raise TypeError(f"Third element {descriptor} at index {index} in parameters list is not a ParameterDescriptor.")
    name = f"{namespace}.{name}" if namespace else name
    validate_parameter_name(name)
    if len(given) == 1:
        warnings.warn(
            f"declaring parameter {name!r} with its name only is deprecated; give a default value, a Parameter.Type, "
            "or a descriptor with dynamic_typing=True",
            stacklevel=4,
        )
        descriptor.dynamic_typing = True
    if isinstance(value, Parameter.Type):
        if value == Parameter.Type.NOT_SET:
            raise ValueError(f"Cannot declare parameter {{{name}}} as statically typed of type NOT_SET")
        if descriptor.dynamic_typing:
            raise ValueError(f"Parameter {{{name}}} cannot have a type and a descriptor with `dynamic_typing=True`")
        descriptor.type = value.value
        return name, None, descriptor
    if isinstance(value, ParameterValue):
        value = Parameter.from_parameter_msg(ParameterMsg(name=name, value=value)).value
    if not descriptor.dynamic_typing:
        descriptor.type = Parameter.Type.from_parameter_value(value).value
        if value is None:
            raise ValueError("Cannot declare a statically typed parameter with default value of type PARAMETER_NOT_SET")
    return name, value, descriptor


def _check_integer(parameter: Parameter, allowed: Any) -> SetParametersResult:
    low, high = sorted((allowed.from_value, allowed.to_value))
    value = parameter.value
    if value in (low, high):
        return SetParametersResult(successful=True)
    if not low < value < high:
        return _refused(f"Parameter {parameter.name} out of range. Min: {low}, Max: {high}, value: {value}")
    if allowed.step and (value - low) % allowed.step:
        return _refused(
            f"The parameter value for {parameter.name} is not a valid step. "
            f"Min: {low}, max: {high}, value: {value}, step: {allowed.step}"
        )
    return SetParametersResult(successful=True)


def _check_double(parameter: Parameter, allowed: Any) -> SetParametersResult:
    low, high = sorted((allowed.from_value, allowed.to_value))
    value = parameter.value

    def close(other: float) -> bool:
        return math.isclose(value, other, rel_tol=PARAM_REL_TOL)

    if close(low) or close(high):
        return SetParametersResult(successful=True)
    if not low < value < high:  # NaN too
        return _refused(f"Parameter {parameter.name} out of range Min: {low}, Max: {high}, value: {value}")
    if allowed.step and not close(low + round((value - low) / allowed.step) * allowed.step):
        return _refused(
            f"The parameter value for {parameter.name} is not close enough to a valid step. "
            f"Min: {low}, max: {high}, value: {value}, step: {allowed.step}"
        )
    return SetParametersResult(successful=True)
