"""IDL structs for DDS' type system, from the same definitions as the messages.

Only their names and layouts count (Cyclone compares them with peers that announce types); no sample is ever made of one.
"""

from __future__ import annotations

import functools
from typing import Any

from cyclonedds import idl as dds_idl

from robot_pt_ros.wire import typesystem
from robot_pt_ros.wire.names import type_to_dds
from robot_pt_ros.wire.typesystem import FieldDesc, Nodetype

types: Any = dds_idl.types
BASES: dict[str, Any] = {
    "bool": bool,
    "byte": types.byte,
    "char": types.uint8,
    "float32": types.float32,
    "float64": types.float64,
    **{f"{sign}int{bits}": getattr(types, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@functools.cache
def struct(type_name: str, service_header: bool = False) -> Any:
    """The struct of "pkg/msg/Name", with rmw_cyclonedds' 16-byte service header before its fields where asked."""
    members = {name: _annotation(desc) for name, desc in typesystem.fields(type_name)}
    if service_header:
        members = {"client_guid": types.uint64, "sequence_number": types.int64, **members}
    return dds_idl.make_idl_struct(type_name.replace("/", "_"), type_to_dds(type_name).replace("::", "."), members)


def _annotation(desc: FieldDesc) -> Any:
    kind, detail = desc
    if kind == Nodetype.NAME:
        return struct(detail)
    if kind == Nodetype.BASE:
        base, limit = detail
        if base == "string":
            return types.bounded_str[limit] if limit else str
        return BASES[base]
    item, size = _annotation(detail[0]), detail[1]
    if kind == Nodetype.ARRAY:
        return types.array[item, size]
    return types.sequence[item, size] if size else types.sequence[item]
