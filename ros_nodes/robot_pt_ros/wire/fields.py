"""One message field: what may be assigned to it, what its slot holds, what reading it returns.

Reading gives what rclpy gives: array.array for sequences of numbers, numpy.ndarray for fixed arrays of numbers, `bytes` of length one
for `byte`, lists else. A received array stays a view of the received bytes until it is read for the first time, so an image that is
only forwarded is never copied, and reading it costs one copy. Checks are rosidl's (they raise AssertionError as rosidl's setters do),
and besides, numpy arrays of the exact dtype are accepted for sequences.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from robot_pt_ros.wire.typesystem import FieldDesc, Nodetype

# rosidl name -> (array typecode, numpy dtype, name in get_fields_and_field_types)
NUMBERS: dict[str, tuple[str, str, str]] = {
    "int8": ("b", "int8", "int8"),
    "uint8": ("B", "uint8", "uint8"),
    "char": ("B", "uint8", "uint8"),
    "int16": ("h", "int16", "int16"),
    "uint16": ("H", "uint16", "uint16"),
    "int32": ("i", "int32", "int32"),
    "uint32": ("I", "uint32", "uint32"),
    "int64": ("q", "int64", "int64"),
    "uint64": ("Q", "uint64", "uint64"),
    "float32": ("f", "float32", "float"),
    "float64": ("d", "float64", "double"),
}
FLOAT32_MAX = float(np.finfo(np.float32).max)
MessageClass = Callable[[str], type]


class Field(NamedTuple):
    """`store(value)` checks and gives what the slot holds; `load(held)` gives what is read, None where that is the same object."""

    name: str
    type_text: str
    store: Callable[[Any], Any]
    load: Callable[[Any], Any] | None
    default: Callable[[], Any]


class Primitives(array.array):  # type: ignore[type-arg]
    """array.array that rosbags' generated code can write: it asks for `view`."""

    def view(self, dtype: object) -> memoryview:
        return memoryview(self).cast("B")

    def __repr__(self) -> str:
        return super().__repr__().replace(type(self).__name__, "array", 1)


class Bools(list[bool]):
    def view(self, dtype: object) -> np.ndarray[Any, Any]:
        return np.array(self, np.bool_).view(np.uint8)


class Octets(list[bytes]):
    def view(self, dtype: object) -> np.ndarray[Any, Any]:
        return np.frombuffer(b"".join(self), np.uint8)


def make_field(
    name: str, desc: FieldDesc, owner: str, default: float | bool | None, message_class: MessageClass
) -> Field:
    """The field `name` of message type `owner` as rosbags parsed it."""
    where = f"{owner} field {name!r}"
    kind, detail = desc
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        (item, item_detail), size = detail
        bound = _Bound(where, size, fixed=kind == Nodetype.ARRAY)
        if item == Nodetype.BASE and item_detail[0] in NUMBERS:
            return (_number_array if bound.fixed else _number_sequence)(name, item_detail[0], bound)
        return _list_of(name, (item, item_detail), bound, message_class)
    text, check, make, load = _item(desc, where, message_class)
    return Field(name, text, check, load, make if default is None else lambda: default)


class _Bound(NamedTuple):
    where: str
    size: int  # 0: unbounded
    fixed: bool

    def text(self, item: str) -> str:
        if self.fixed:
            return f"{item}[{self.size}]"
        return f"sequence<{item}, {self.size}>" if self.size else f"sequence<{item}>"

    def check(self, length: int) -> None:
        if (self.fixed and length != self.size) or (self.size and length > self.size):
            allowed = f"exactly {self.size}" if self.fixed else f"at most {self.size}"
            raise AssertionError(f"{self.where} takes {allowed} values, not {length}.")


def _refuse(where: str, allowed: str, value: object) -> AssertionError:
    return AssertionError(f"{where} takes {allowed}, not {str(value)[:60]!r} ({type(value).__name__}).")


def _item(desc: FieldDesc, where: str, message_class: MessageClass) -> tuple[str, Any, Any, Any]:
    """(type text, check, default, load) of one value that is no array."""
    kind, detail = desc
    if kind == Nodetype.NAME:
        package, _, short = detail.split("/")
        return f"{package}/{short}", _message_check(detail, where, message_class), lambda: message_class(detail)(), None
    base, limit = detail
    if base == "string":
        return (f"string<{limit}>" if limit else "string"), _string_check(where, limit), str, None
    if base == "bool":
        return "boolean", _type_check(where, bool, "a bool"), bool, None
    if base == "byte":
        return "octet", _byte_check(where), int, lambda held: bytes((held & 0xFF,))
    text = NUMBERS[base][2]
    return (
        (text, _float_check(where, base), float, None)
        if "float" in base
        else (text, _int_check(where, base), int, None)
    )


def _type_check(where: str, kind: type, allowed: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise _refuse(where, allowed, value)
        return value

    return check


def _message_check(type_name: str, where: str, message_class: MessageClass) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if getattr(value, "__msgtype__", None) != type_name:
            raise _refuse(where, f"a {type_name}", value)
        return value

    return check


def _string_check(where: str, limit: int) -> Callable[[Any], Any]:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise _refuse(where, "a str", value)
        if limit and len(value.encode()) > limit:
            raise _refuse(where, f"a str of at most {limit} bytes", value)
        return value

    return check


def _byte_check(where: str) -> Callable[[Any], int]:
    """Stored signed, as rosbags packs `byte`."""

    def check(value: Any) -> int:
        if not isinstance(value, (bytes, bytearray)) or len(value) != 1:
            raise _refuse(where, "bytes of length 1", value)
        return value[0] - 256 if value[0] > 127 else value[0]

    return check


def _int_check(where: str, base: str) -> Callable[[Any], int]:
    info = np.iinfo(NUMBERS[base][1])
    low, high = int(info.min), int(info.max)

    def check(value: Any) -> int:
        if not isinstance(value, int) or not low <= value <= high:
            raise _refuse(where, f"an int from {low} to {high}", value)
        return value

    return check


def _float_check(where: str, base: str) -> Callable[[Any], float]:
    """Infinity and NaN pass, as in rosidl: whoever acts on a number checks it."""

    def check(value: Any) -> float:
        if not isinstance(value, float):
            raise _refuse(where, "a float", value)
        if base == "float32" and FLOAT32_MAX < abs(value) < float("inf"):
            raise _refuse(where, "a float within float32's range", value)
        return value

    return check


def _values(where: str, value: Any) -> list[Any]:
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, set, frozenset, array.array)):
        raise _refuse(where, "a list, tuple or array", value)
    return list(value)


def _number_sequence(name: str, base: str, bound: _Bound) -> Field:
    code, dtype, text = NUMBERS[base]
    check = _float_check(bound.where, base) if "float" in base else _int_check(bound.where, base)

    def store(value: Any) -> Any:
        held: Any
        if isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == 1:
            held = Primitives(code)
            held.frombytes(np.ascontiguousarray(value).view(np.uint8))
        elif isinstance(value, bytes) and code == "B":
            held = np.frombuffer(value, np.uint8)  # bytes cannot change below us
        elif isinstance(value, (bytearray, memoryview)) and code == "B":
            held = np.frombuffer(bytes(value), np.uint8)
        elif isinstance(value, array.array):
            if value.typecode != code:
                raise _refuse(bound.where, f"an array of typecode {code!r}", value)
            held = Primitives(code, value.tobytes())
        else:
            held = Primitives(code, [check(item) for item in _values(bound.where, value)])
        bound.check(len(held))
        return held

    def load(held: Any) -> Any:
        if type(held) is not np.ndarray:
            return held
        public = Primitives(code)
        public.frombytes(held.view(np.uint8).data)
        return public

    return Field(name, bound.text(text), store, load, lambda: Primitives(code))


def _number_array(name: str, base: str, bound: _Bound) -> Field:
    _, dtype, text = NUMBERS[base]
    check = _float_check(bound.where, base) if "float" in base else _int_check(bound.where, base)

    def store(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            if value.dtype != dtype or value.ndim != 1:
                raise _refuse(bound.where, f"{bound.size} values of {dtype}", value)
            held = np.array(value)
        else:
            held = np.array([check(item) for item in _values(bound.where, value)], dtype)
        bound.check(held.size)
        return held

    def load(held: Any) -> Any:
        return held if held.flags.writeable else held.copy()

    return Field(name, bound.text(text), store, load, lambda: np.zeros(bound.size, dtype))


def _list_of(name: str, item: FieldDesc, bound: _Bound, message_class: MessageClass) -> Field:
    """Lists of bool, byte, str and messages."""
    text, check, make, _ = _item(item, bound.where, message_class)
    base = item[1][0] if item[0] == Nodetype.BASE else ""
    holder: Callable[[Any], list[Any]] = Bools if base == "bool" else Octets if base == "byte" else list

    def store(value: Any) -> Any:
        items = (
            [value[i : i + 1] for i in range(len(value))]
            if base == "byte" and isinstance(value, bytes)
            else _values(bound.where, value)
        )
        bound.check(len(items))
        for one in items:
            check(one)
        return holder(items)

    def load(held: Any) -> Any:
        if type(held) is not np.ndarray:
            return held
        return holder(held.tolist()) if base == "bool" else Octets(bytes((v & 0xFF,)) for v in held.tolist())

    def default() -> Any:
        return holder(b"\0" if base == "byte" else make() for _ in range(bound.size if bound.fixed else 0))

    return Field(name, bound.text(text), store, load if base in ("bool", "byte") else None, default)
