"""XCDR1 little endian, byte by byte as rmw_cyclonedds writes it; rosbags' generated code over the slots of our messages.

Images: writing copies the pixels once, into the buffer that goes to DDS; reading copies nothing until `.data` is read.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, Any, TypeVar

from robot_pt.errors import DataError, UserError
from robot_pt_ros.wire import typesystem
from robot_pt_ros.wire.messages import Message, message_class, type_name

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

M = TypeVar("M", bound=Message)
Buffer = bytes | bytearray | memoryview
HEADER = b"\x00\x01\x00\x00"


class _Builders(dict[str, Any]):
    """Type name -> what rosbags calls with decoded values."""

    def __missing__(self, name: str) -> Any:
        return message_class(name).from_wire


@functools.cache
def _wire_store() -> Typestore:
    """rosbags' generated code reads and fills slots ("_data"), which hold what it can write, instead of public fields."""
    made = get_typestore(Stores.EMPTY)
    known = typesystem.store().fielddefs
    made.fielddefs.update(
        {name: ([], [("_" + field, desc) for field, desc in fields]) for name, (_, fields) in known.items()}
    )
    made.types = _Builders()
    return made


def serialize(message: Message) -> memoryview:
    """Header and body, padded with zeros to a multiple of four bytes; UserError: a list holds what its type does not allow."""
    wire = _wire_store()
    definition = wire.get_msgdef(type_name(message))
    try:
        size = definition.getsize_cdr(0, message, wire)
        raw = memoryview(bytearray(4 + (size + 3 & ~3)))
        raw[1] = 1
        definition.serialize_cdr_le(raw[4:], 0, message, wire)
    except (struct.error, AttributeError, TypeError, ValueError, SerdeError) as error:
        raise UserError(
            f"{type_name(message)} holds a value that its type does not allow ({error}); set the field again with one that does."
        ) from error
    return raw


def deserialize(raw: Buffer, cls: type[M]) -> M:
    """The message in `raw`, header included; DataError: cut short, too long, or not this type."""
    name = type_name(cls)
    try:
        return _wire_store().deserialize_cdr(memoryview(raw), name)  # type: ignore[return-value]
    except (SerdeError, struct.error, ValueError, IndexError, OverflowError) as error:
        raise DataError(
            f"received {len(raw)} bytes that are no {name} ({error}); does the sender use another definition?"
        ) from error


def type_hash(cls: Any) -> str:
    """REP-2011 hash of a message or service class, "RIHS01_" and 64 hex digits."""
    return typesystem.type_hash(type_name(cls))
