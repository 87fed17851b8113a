"""What the client library needs of the wire: one participant and one thread per context that takes what arrives.

The thread alone touches the readers: it empties them into bounded queues as samples come, so that an executor waits on
plain Python conditions, which signals interrupt, and a busy callback never keeps old samples alive.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from threading import RLock, Thread, current_thread
from typing import Any

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from robot_pt_ros.wire.dds import Participant, Waiter
from robot_pt_ros.wire.qos import DEFAULT, QoS

_LARGEST_SPAN_NS = 2**63 - 2
"""From here on "best available" and "infinite", which is no promise at all."""


class Session:
    """A participant and the thread that listens for it. Closing waits for the thread, unless it is the caller."""

    def __init__(self, domain_id: int | None) -> None:
        self.participant = Participant(domain_id)
        self._waiter = Waiter(self.participant)
        self._ready: dict[Any, Callable[[], None]] = {}
        self._lock = RLock()
        self._closing = False
        self._thread = Thread(target=self._listen, name="rclpy wire", daemon=True)
        self._thread.start()

    def watch(self, source: Any, on_ready: Callable[[], None]) -> None:
        """Call `on_ready` in the listening thread whenever `source` has something; it must take all there is."""
        with self._lock:
            self._ready[source] = on_ready
            self._waiter.add(source)

    def unwatch(self, source: Any) -> None:
        """Returns only when `on_ready` is not running, unless it is the caller."""
        with self._lock:
            if self._ready.pop(source, None) is not None and not self._closing:
                self._waiter.remove(source)

    def _listen(self) -> None:
        while not self._closing:
            for source in self._waiter.wait(None):
                with self._lock:
                    on_ready = self._ready.get(source)
                    if on_ready is None or self._closing:
                        continue
                    try:
                        on_ready()
                    except Exception:  # noqa: BLE001  # one bad source must not deafen the others
                        sys.stderr.write(f"[rclpy wire] {source!r} failed:\n{traceback.format_exc()}")

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._ready.clear()
        self._waiter.wake()
        if current_thread() is not self._thread:
            self._thread.join()
        self._waiter.close()
        self.participant.close()


def _span(duration: Duration) -> int | None:
    ns = duration.nanoseconds
    return None if ns <= 0 or ns >= _LARGEST_SPAN_NS else ns


def wire_qos(profile: QoSProfile, ask_peers: Callable[[], list[Any]] | None = None) -> QoS:
    """The wire's QoS for a profile; "best available" is the most that all peers known now keep."""
    best = ReliabilityPolicy.BEST_AVAILABLE in (profile.reliability, profile.durability)
    peers = [peer.qos for peer in ask_peers()] if best and ask_peers is not None else []
    reliability = profile.reliability
    if reliability == ReliabilityPolicy.BEST_AVAILABLE:
        least = any(peer.reliability == "best_effort" for peer in peers)
        reliability = ReliabilityPolicy.BEST_EFFORT if least else ReliabilityPolicy.RELIABLE
    durability = profile.durability
    if durability == DurabilityPolicy.BEST_AVAILABLE:
        all_keep = all(peer.durability == "transient_local" for peer in peers)
        durability = DurabilityPolicy.TRANSIENT_LOCAL if all_keep else DurabilityPolicy.VOLATILE
    return DEFAULT._replace(
        reliability="best_effort" if reliability == ReliabilityPolicy.BEST_EFFORT else "reliable",
        durability="transient_local" if durability == DurabilityPolicy.TRANSIENT_LOCAL else "volatile",
        history="keep_all" if profile.history == HistoryPolicy.KEEP_ALL else "keep_last",
        depth=profile.depth if profile.depth > 0 else (1 if profile.history == HistoryPolicy.SYSTEM_DEFAULT else 10),
        deadline_ns=_span(profile.deadline),
        lifespan_ns=_span(profile.lifespan),
        liveliness="manual_by_topic" if profile.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC else "automatic",
        lease_ns=_span(profile.liveliness_lease_duration),
    )


def profile_of(qos: QoS) -> QoSProfile:
    """A profile of what the graph says of an endpoint; history and depth are not announced."""

    def duration(ns: int | None) -> Duration:
        return Duration(nanoseconds=2**63 - 1 if ns is None else ns)

    return QoSProfile(
        history=HistoryPolicy.UNKNOWN,
        depth=0,
        reliability=ReliabilityPolicy[qos.reliability.upper()],
        durability=DurabilityPolicy[qos.durability.upper()],
        lifespan=duration(qos.lifespan_ns),
        deadline=duration(qos.deadline_ns),
        liveliness=LivelinessPolicy[qos.liveliness.upper()],
        liveliness_lease_duration=duration(qos.lease_ns),
    )
