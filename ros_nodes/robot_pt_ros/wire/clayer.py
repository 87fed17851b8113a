"""The only file that calls `cyclonedds`' private functions, written against 11.0.1 and tested to fail loudly when they change.

The public path turns every message into a dataclass, element by element: 20 images a second. These take and give serialized bytes.
Writing and taking hold the GIL while they run.
"""

from __future__ import annotations

import ctypes
from typing import Any

from robot_pt.errors import MissingExtraError, UserError

try:
    from cyclonedds import _clayer as _c
    from cyclonedds.core import DDSException, Entity, InstanceState, SampleState, ViewState, WaitSet
    from cyclonedds.internal import DDS
except ImportError as error:
    raise MissingExtraError("cyclonedds", "ros", "A ROS 2 node without ROS 2") from error

NEEDED = ("ddspy_write", "ddspy_write_ts", "ddspy_take")
missing = [name for name in NEEDED if not callable(getattr(_c, name, None))]
if missing:
    raise UserError(f"this version of cyclonedds has no {', '.join(missing)}; run: pip install 'cyclonedds==11.0.1'.")

_ANY = SampleState.Any | ViewState.Any | InstanceState.Any
TIMEOUT = DDSException.DDS_RETCODE_TIMEOUT


def write(writer: Entity, raw: bytes | bytearray | memoryview, stamp_ns: int | None) -> bool:
    """`raw`: header and CDR, a multiple of four bytes long. False: no room within the writer's max_blocking time. DDSException: else."""
    done = _c.ddspy_write(writer._ref, raw) if stamp_ns is None else _c.ddspy_write_ts(writer._ref, raw, stamp_ns)
    if done < 0 and done != TIMEOUT:
        raise DDSException(done, f"while writing with {writer!r}")
    return bool(done >= 0)


def take(reader: Entity, limit: int) -> list[tuple[bytes, Any]]:
    """Up to `limit` (header and CDR, SampleInfo), oldest first; an entry without valid data tells of a writer that left."""
    taken = _c.ddspy_take(reader._ref, _ANY, limit)
    if isinstance(taken, int):
        raise DDSException(taken, f"while taking from {reader!r}")
    return taken  # type: ignore[no-any-return]


def assert_liveliness(writer: Entity) -> None:
    """Manual liveliness: this writer is alive now."""
    call = DDS._dll_handle.dds_assert_liveliness
    call.argtypes, call.restype = [ctypes.c_int32], ctypes.c_int32
    done = call(writer._ref)
    if done < 0:
        raise DDSException(done, f"while asserting the liveliness of {writer!r}")


def acknowledged(writer: Any, timeout_ns: int) -> bool:
    """Whether every reliable reader has what was written, within that time. Its own `wait_for_acks` breaks where it is not."""
    done = writer._wait_for_acks(writer._ref, timeout_ns)
    if done < 0 and done != TIMEOUT:
        raise DDSException(done, f"while waiting for the readers of {writer!r}")
    return bool(done >= 0)


class Triggers:
    """What a waitset waits on, and which of it ended a wait: asking each costs as much as all else that a message costs."""

    MOST = 256

    def __init__(self, waitset: WaitSet):
        self._waitset = waitset
        self._found = (ctypes.c_void_p * self.MOST)()

    def attach(self, entity: Entity) -> int:
        """Wait on it too; what `wait` calls it."""
        self._waitset.attach(entity)
        return next(ctypes.addressof(value) for attached, value in self._waitset.attached if attached == entity)

    def wait(self, timeout_ns: int) -> list[int] | None:
        """What has triggered, [] after that time; None: more than `MOST`. DDSException: the waitset is gone. Releases the GIL."""
        count = self._waitset._waitset_wait(self._waitset._ref, self._found, self.MOST, timeout_ns)
        if count < 0:
            raise DDSException(count, f"while waiting in {self._waitset!r}")
        return [self._found[i] or 0 for i in range(count)] if count <= self.MOST else None


def delete(entity: Entity) -> None:
    """Delete a DDS entity (and its children) now rather than when Python collects it; a second time does nothing."""
    if Entity._entities.pop(entity._ref, None) is not None:
        entity._delete(entity._ref)


def handle(entity: Entity) -> int:
    """Its instance handle as samples and other processes give it: unsigned (cyclonedds' property is signed)."""
    return int(entity.instance_handle) & 2**64 - 1


def matched(entity: Any) -> list[int]:
    """Unsigned handles of the endpoints that a reader or writer is matched with."""
    if entity._ref not in Entity._entities:
        return []  # deleted here
    readers = hasattr(entity, "get_matched_publications")
    found = entity.get_matched_publications() if readers else entity.get_matched_subscriptions()
    return [int(one) & 2**64 - 1 for one in found]


def matched_data(entity: Any, peer: int) -> Any:
    """Discovery data of a matched endpoint; None: it left."""
    call = (
        entity.get_matched_publication_data
        if hasattr(entity, "get_matched_publications")
        else entity.get_matched_subscription_data
    )
    return call(peer)
