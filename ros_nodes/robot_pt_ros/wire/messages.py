"""Message and service classes as rclpy programs know them, made from parsed definitions on first use.

`from sensor_msgs.msg import Image` works after `install_message_packages()`; a real package on the path is found first.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from operator import attrgetter
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from robot_pt.errors import UserError
from robot_pt_ros.wire import typesystem
from robot_pt_ros.wire.definitions import DEFAULTS
from robot_pt_ros.wire.fields import Field, make_field
from robot_pt_ros.wire.typesystem import PADDING, distro, store

__all__ = ["Message", "distro", "install_message_packages", "message_class", "service_class", "type_name"]


class Message:
    """Base of every message class: keyword constructor, checked fields, equality, text."""

    __slots__ = ()
    __msgtype__: ClassVar[str]
    __fields__: ClassVar[tuple[Field, ...]]  # declared ones; the padding byte of an empty message is none

    def __init__(self, **values: Any):
        """Fields not given are zero, empty or nested defaults; AssertionError: no such field, or a value that does not fit."""
        values.pop("check_fields", None)  # rosidl's switch: checks are always on here
        unknown = values.keys() - {field.name for field in self.__fields__}
        if unknown:
            raise AssertionError(
                f"{self.__msgtype__} has no field {', '.join(sorted(unknown))}; it has: {', '.join(f.name for f in self.__fields__)}."
            )
        if not self.__fields__:
            setattr(self, "_" + PADDING, 0)
        for field in self.__fields__:
            if field.name in values:
                setattr(self, field.name, values[field.name])
            else:
                setattr(self, "_" + field.name, field.default())

    @classmethod
    def get_fields_and_field_types(cls) -> dict[str, str]:
        """Field name -> rosidl's type text, "sequence<uint8>", "std_msgs/Header"."""
        return {field.name: field.type_text for field in cls.__fields__}

    @classmethod
    def from_wire(cls, *held: Any) -> Message:
        """Built by the decoder from what the slots hold, in order."""
        message = cls.__new__(cls)
        slots: tuple[str, ...] = cls.__slots__
        for slot, value in zip(slots, held, strict=True):
            setattr(message, slot, value)
        return message

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, self.__class__):
            return False
        return all(_equal(getattr(self, f.name), getattr(other, f.name)) for f in self.__fields__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        module = type(self).__module__
        return f"{module}.{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in self.__fields__)})"


def _equal(left: Any, right: Any) -> bool:
    return bool(np.array_equal(left, right)) if isinstance(left, np.ndarray) else bool(left == right)


@functools.cache
def message_class(type_name: str) -> type[Message]:
    """The class of "pkg/msg/Name" (or "pkg/srv/Name_Request"); UserError: not known here."""
    package, folder, short = _split(type_name)
    defaults = DEFAULTS.get(type_name, {}) if distro() != "humble" or "Quaternion" in type_name else {}
    declared = [
        make_field(name, desc, type_name, defaults.get(name), message_class)
        for name, desc in typesystem.fields(type_name)
        if name != PADDING
    ]
    space: dict[str, Any] = {_name: _constant(kind, value) for _name, kind, value in store().fielddefs[type_name][0]}
    space |= {field.name: _property(field) for field in declared}
    space |= {
        "__slots__": tuple("_" + field.name for field in declared) or ("_" + PADDING,),
        "__module__": f"{package}.{folder}",
        "__doc__": f"ROS 2 message {type_name}.",
        "__msgtype__": type_name,
        "__fields__": tuple(declared),
    }
    return type(short, (Message,), space)


def _split(type_name: str) -> tuple[str, str, str]:
    parts = type_name.split("/")
    if len(parts) != 3 or not all(parts):
        raise UserError(f"interface name {type_name!r} is not of the form 'package/msg/Name' or 'package/srv/Name'.")
    return parts[0], parts[1], parts[2]


def _constant(kind: str, value: Any) -> Any:
    return bytes((value,)) if kind == "byte" else value


def _property(field: Field) -> property:
    slot, load, stored = "_" + field.name, field.load, field.store

    def read(message: Any) -> Any:
        held = getattr(message, slot)
        public = load(held)  # type: ignore[misc]
        if public is not held and not isinstance(held, int):
            setattr(message, slot, public)  # from now on the program's own, which it may change
        return public

    def assign(message: Any, value: Any) -> None:
        setattr(message, slot, stored(value))

    return property(attrgetter(slot) if load is None else read, assign, doc=field.type_text)


@functools.cache
def service_class(type_name: str) -> type:
    """The class of "pkg/srv/Name" with .Request and .Response; UserError: not known here."""
    package, folder, short = _split(type_name)
    if type_name not in typesystem.services():
        raise UserError(
            f"service type {type_name!r} is not known here; known are: {', '.join(sorted(typesystem.services()))}."
        )
    parts = {part: message_class(f"{type_name}_{part}") for part in ("Request", "Response")}
    return type(
        short,
        (),
        {
            **parts,
            "__module__": f"{package}.{folder}",
            "__msgtype__": type_name,
            "__doc__": f"ROS 2 service {type_name}.",
        },
    )


def type_name(cls: Any) -> str:
    """ "pkg/msg/Name" or "pkg/srv/Name" of a class or message made here; UserError: of anything else."""
    name = getattr(cls, "__msgtype__", None)
    if not isinstance(name, str):
        raise UserError(
            f"{cls!r} is no ROS 2 message or service class; import one, as in `from std_msgs.msg import String`."
        )
    return name


def install_message_packages() -> None:
    """Let `import sensor_msgs.msg` and the like answer with the classes made here, wherever no real package does."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last on sys.meta_path. Knows `pkg`, `pkg.msg` and `pkg.srv` of the packages whose definitions are here."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, folder = fullname.partition(".")
        folders = _packages().get(package)
        if folders is None or folder not in ("", *folders):
            return None
        spec = getattr(sys.modules.get(package), "__spec__", None)
        if folder and (spec is None or spec.loader is not self):
            return None  # a real package without this folder: not ours to complete
        return importlib.machinery.ModuleSpec(fullname, self, is_package=not folder)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _InterfaceModule(spec.name, f"ROS 2 interfaces of {spec.name}, made from their definitions.")

    def exec_module(self, module: ModuleType) -> None:
        return None


class _InterfaceModule(ModuleType):
    """`pkg.msg` or `pkg.srv`: a class is made when it is first asked for."""

    def __getattr__(self, name: str) -> Any:
        package, _, folder = self.__name__.partition(".")
        full = f"{package}/{folder}/{name}"
        if name.startswith("__") or name not in _packages()[package].get(folder, ()):
            raise AttributeError(
                f"{self.__name__} has no {name}; it has: {', '.join(sorted(_packages()[package].get(folder, ())))}."
            )
        made = service_class(full) if full in typesystem.services() else message_class(full)
        setattr(self, name, made)
        return made

    def __dir__(self) -> list[str]:
        package, _, folder = self.__name__.partition(".")
        return sorted({*super().__dir__(), *_packages()[package].get(folder, ())})


@functools.cache
def _packages() -> dict[str, dict[str, set[str]]]:
    """package -> "msg" or "srv" -> names."""
    found: dict[str, dict[str, set[str]]] = {}
    for full in (*store().fielddefs, *typesystem.services()):
        package, folder, name = full.split("/")
        found.setdefault(package, {}).setdefault(folder, set()).add(name)
    return found
