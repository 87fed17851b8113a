"""What a journal says of its episode, and the episode made from it: the same code while recording and from the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from robot_pt.align import Aligner
from robot_pt.alignment import Alignment, Outcome
from robot_pt.commands import Float64
from robot_pt.errors import DataError
from robot_pt.journal_reading import BEGIN, END, Journal, read
from robot_pt.messages import Decoder, Message
from robot_pt.rotations import is_rotation
from robot_pt.schema import Episode, Spec

KEPT = ("success", "failure", "unknown")
"""Outcomes of episodes; whatever else a journal says (aborted) makes none."""


NO_STEPS = "no steps"
"""Reason in the end record of an episode that could not be aligned."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """Everything besides its messages that makes an episode out of a journal."""

    spec: Spec
    episode_id: str
    cameras: dict[str, str]
    """Role -> camera name in the topics."""
    joint_names: list[str] = field(default_factory=list)
    robot: str = ""
    """Arm whose kinematics give the tool pose where no ``ee_pose`` is recorded; "" where it is."""
    action_frame_rotation: list[float] = field(default_factory=list)
    """(9) rotation of the tool in the base frame that its poses call zero, row by row; empty: the model's own."""
    task: str = ""
    instruction: str = ""
    dataset: str = "recorded"
    teleop: str = "teleop"
    patience_s: float = 2.0
    max_age_s: float = 0.15
    namespace: str = "/"
    version: str = ""
    """Of robot-pt."""
    policy_version: str = ""
    """In force at the start."""
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "spec": self.spec.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Header:
        """Raises DataError on missing or unknown fields."""
        known = {f.name for f in fields(cls)}
        if not {"spec", "episode_id", "cameras"} <= set(values) <= known or not isinstance(values["spec"], dict):
            raise DataError(f"a journal's record has the fields {sorted(known)}; this one gives {sorted(values)}.")
        cameras, names = values["cameras"], values.get("joint_names", [])
        if not isinstance(cameras, dict) or not isinstance(names, list):
            raise DataError(
                f"a journal's record has cameras {cameras!r} and joint_names {names!r}; a table and a list."
            )
        turned = values.get("action_frame_rotation", [])
        if not isinstance(turned, list) or (turned and not _is_rotation(turned)):
            raise DataError(
                f"a journal's record has action_frame_rotation {turned!r}; nine numbers of a rotation, or none."
            )
        return cls(**{**values, "spec": Spec.from_json(values["spec"])})


class Assembly:
    """Messages in, an alignment out."""

    def __init__(self, header: Header):
        joints = len(header.joint_names) or None
        self.decoder = Decoder(header.cameras, header.joint_names)
        self.aligner = Aligner(
            header.spec,
            joints=joints,
            fk=_kinematics(header) if header.robot else None,
            patience_s=header.patience_s,
            max_age_s=header.max_age_s,
            teleop=header.teleop,
        )

    def add(self, message: Message, received_ns: int) -> None:
        sample = self.decoder.decode(message, received_ns)
        if sample is not None:
            self.aligner.add(sample, received_ns)

    def finish(self, end_ns: int | None = None) -> Alignment:
        """Raises DataError where there is no step; unreadable messages are among the counts."""
        try:
            found = self.aligner.finish(end_ns)
        except DataError as error:
            raise DataError(
                f"{error} Unreadable: {self.decoder.reasons}." if self.decoder.reasons else str(error)
            ) from None
        unreadable = dict(self.decoder.faults)
        if (halves := self.decoder.unpaired()) > 0:
            unreadable["halves"] = halves
        return found._replace(counts={**found.counts, **({"unreadable": unreadable} if unreadable else {})})


class Ending(NamedTuple):
    """How an episode ended, as its journal's last record says."""

    outcome: str
    end_ns: int
    written: dict[str, int]
    dropped: dict[str, int]
    truncated: bool
    """The recording was cut off."""
    reason: str = ""

    @classmethod
    def of(cls, journal: Journal) -> Ending:
        """Raises DataError where the record is damaged."""
        values = journal.records.get(END, {"truncated": True})
        try:
            written, dropped = (
                {str(k): int(v) for k, v in (values.get(n) or {}).items()} for n in ("written", "dropped")
            )
            return cls(
                str(values.get("outcome", "unknown")),
                int(values.get("end_ns", 0)),
                written,
                dropped,
                bool(values.get("truncated")),
                str(values.get("reason", "")),
            )
        except (TypeError, ValueError, AttributeError):
            raise DataError(f"{journal.path} has a damaged record {END!r}: {str(values)[:100]}.") from None


def header_of(journal: Journal) -> Header:
    """Raises DataError where the journal has no record of its own, as a bag of ros2 bag record has none."""
    if BEGIN not in journal.records:
        raise DataError(f"{journal.path} has no record {BEGIN!r}: it was recorded by something else.")
    return Header.from_json(journal.records[BEGIN])


def messages_of(journal: Journal, namespace: str) -> Iterable[tuple[Message, int]]:
    """(message with its relative topic, arrival [ns]) in the order of recording."""
    relative = {number: without(topic, namespace) for number, (topic, _, _) in journal.channels.items()}
    for entry in journal.messages():
        yield Message(relative[entry.channel], journal.channels[entry.channel][1], entry.cdr), entry.log_ns


def align(messages: Iterable[tuple[Message, int]], header: Header, ending: Ending) -> Alignment:
    """All steps of an episode; raises DataError where there is none."""
    assembly = Assembly(header)
    for message, received_ns in messages:
        assembly.add(message, received_ns)
    return assembly.finish(ending.end_ns or None)


def episode(alignment: Alignment, header: Header, ending: Ending, *, with_images: bool = True) -> Episode:
    """The episode with everything that its record says; `with_images` False leaves the frames where they are."""
    said = cast(Outcome, ending.outcome if ending.outcome in KEPT else "unknown")
    metadata = {
        **header.metadata,
        "episode_id": header.episode_id,
        "robot_pt": header.version,
        "joint_names": header.joint_names,
        **({"action_frame_rotation": header.action_frame_rotation} if header.action_frame_rotation else {}),
        "messages": ending.written,
        "dropped": ending.dropped,
        **({"cut_off": True} if ending.truncated else {}),
    }
    return alignment.episode(
        task=header.task,
        instruction=header.instruction,
        outcome=said,
        dataset=header.dataset,
        metadata=metadata,
        with_images=with_images,
    )


def counts(path: Path, namespace: str) -> dict[str, int]:
    """Relative topic -> messages that are in a journal; raises DataError where it is none."""
    found, by_channel = read(path), Counter[int]()
    by_channel.update(entry.channel for entry in found.messages())
    return {without(found.channels[channel][0], namespace): n for channel, n in by_channel.items()}


def without(topic: str, namespace: str) -> str:
    """A topic relative to a namespace; unchanged where it is elsewhere."""
    prefix = "/" + namespace.strip("/") + "/" if namespace.strip("/") else "/"
    return topic.removeprefix(prefix) if topic.startswith(prefix) else topic


def _kinematics(header: Header) -> Callable[[Float64], Float64]:
    from robot_pt import robots

    turned = np.reshape(header.action_frame_rotation, (3, 3)) if header.action_frame_rotation else None
    return cast(Callable[[Float64], Float64], robots.load(header.robot, turned).fk)


def _is_rotation(numbers: list[Any]) -> bool:
    if len(numbers) != 9 or not all(isinstance(v, int | float) for v in numbers):
        return False
    return is_rotation(np.reshape(numbers, (3, 3)).astype(np.float64))
