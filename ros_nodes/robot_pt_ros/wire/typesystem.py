"""Type stores of rosbags for one distro: parsed definitions, services among them, and REP-2011 type hashes."""

from __future__ import annotations

import functools
import os
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from robot_pt.errors import MissingExtraError, UserError
from robot_pt_ros.wire.definitions import JAZZY_SERVICES, MESSAGES, SERVICES

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

__all__ = ["PADDING", "FieldDesc", "Nodetype", "distro", "fields", "services", "store", "type_hash"]

try:
    from rosbags.interfaces import Nodetype
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
except ImportError as error:
    raise MissingExtraError("rosbags", "ros", "A ROS 2 node without ROS 2") from error

FieldDesc = tuple[Any, Any]  # (Nodetype, detail) as rosbags parses it
PADDING = "structure_needs_at_least_one_member"  # what an empty message carries on the wire: one uint8


@functools.cache
def distro() -> str:
    """The layout spoken here: $ROS_DISTRO where it is "humble" or "jazzy", else "jazzy"; read once per process."""
    named = os.environ.get("ROS_DISTRO", "")
    return named if named in ("humble", "jazzy") else "jazzy"


@functools.cache
def store(of: str | None = None) -> Typestore:
    """Every definition known here, services as their _Request and _Response messages; cached, not to be changed."""
    of = of or distro()
    made = get_typestore(Stores.ROS2_HUMBLE if of == "humble" else Stores.ROS2_JAZZY)
    parsed = {}
    for name, text in MESSAGES.items():
        parsed.update(get_types_from_msg(dedent(text), name))
    for name in services(of):
        request, response = _service_texts(name)
        for suffix, text in (("_Request", request), ("_Response", response)):
            (fields,) = get_types_from_msg(text, name + suffix).values()
            parsed[name + suffix] = fields if fields[1] else (fields[0], [(PADDING, (Nodetype.BASE, ("uint8", 0)))])
    made.register(parsed)
    return made


def services(of: str | None = None) -> list[str]:
    """Names of the services known here, "pkg/srv/Name"."""
    return [*SERVICES, *(JAZZY_SERVICES if (of or distro()) != "humble" else {})]


def _service_texts(name: str) -> tuple[str, str]:
    lines = dedent({**SERVICES, **JAZZY_SERVICES}[name]).splitlines()
    at = lines.index("---")
    return "\n".join(lines[:at]), "\n".join(lines[at + 1 :])


def fields(type_name: str) -> list[tuple[str, FieldDesc]]:
    """(name, parsed type) of each field; UserError: not a message known here."""
    if type_name not in store().fielddefs:
        raise UserError(
            f"message type {type_name!r} is not known here; run on a machine with ROS 2 and its package, "
            "or add its definition to robot_pt_ros/wire/definitions.py."
        )
    return [(name, desc) for name, desc in store().fielddefs[type_name][1]]


@functools.cache
def type_hash(type_name: str) -> str:
    """REP-2011 hash, "RIHS01_" and 64 hex digits, of a message or, "pkg/srv/Name", a whole service."""
    if type_name in services():
        return _hash_store().hash_rihs01(_add_service_description(type_name))
    fields(type_name)
    return _hash_store().hash_rihs01(type_name)


@functools.cache
def _hash_store() -> Typestore:
    """`char` of a .msg is uint8 in rosidl's IDL, so in hashes too; rosbags counts it as IDL's own char."""
    made = get_typestore(Stores.EMPTY)
    for known in (store("jazzy"), store()):  # Jazzy's also has what describes a service
        made.fielddefs.update(
            {name: (consts, [(f, _char_as_uint8(d)) for f, d in of]) for name, (consts, of) in known.fielddefs.items()}
        )
    return made


def _char_as_uint8(desc: FieldDesc) -> FieldDesc:
    kind, detail = desc
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return kind, (_char_as_uint8(detail[0]), detail[1])
    return (kind, ("uint8", 0)) if desc == (Nodetype.BASE, ("char", 0)) else desc


def _add_service_description(service: str) -> str:
    """rosidl describes a service as a struct of its request, response and event messages."""
    request, response, event = (f"{service}_{part}" for part in ("Request", "Response", "Event"))
    name: Any = Nodetype.NAME
    sequence: Any = Nodetype.SEQUENCE
    parts: list[Any] = [("info", (name, "service_msgs/msg/ServiceEventInfo"))]
    parts += [("request", (sequence, ((name, request), 1))), ("response", (sequence, ((name, response), 1)))]
    whole = [("request_message", request), ("response_message", response), ("event_message", event)]
    _hash_store().fielddefs[event] = ([], parts)
    _hash_store().fielddefs[service] = ([], [(field, (name, of)) for field, of in whole])
    return service
