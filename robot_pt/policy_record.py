"""policy.json: what a policy was trained for, beside its weights. Imports neither torch nor agents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robot_pt.errors import DataError, MismatchError
from robot_pt.schema import Spec
from robot_pt.tasks import TaskTable

POLICY_FORMAT = 1
POLICY_FILE = "policy.json"

_MAX_NUMBER, _MAX_TEXT, _MAX_DEPTH, _MAX_VALUES = 1 << 16, 1000, 8, 10_000


@dataclass(frozen=True, kw_only=True)
class PolicyRecord:
    """Everything in policy.json but the step and the hashes."""

    agent: str
    """Name of the algorithm that trained it, for the reader."""
    network: Mapping[str, Any]
    """`ActorNetwork.config`: cameras, image size, proprio and action normalisation, layers."""
    spec: Spec
    """Robot, control rate, action and proprio convention; cameras are those the policy looks at, with their trained size."""
    tasks: TaskTable
    data: Sequence[Mapping[str, Any]] = ()
    """One JSON object per data set trained on: name, episodes, steps, fingerprint."""

    @classmethod
    def of(
        cls,
        *,
        agent: str,
        network: Mapping[str, Any],
        spec: Spec,
        tasks: TaskTable,
        data: Sequence[Mapping[str, Any]] = (),
    ) -> PolicyRecord:
        """A record whose spec names exactly the cameras and the image size of `network`."""
        height, width = network["image_size"]
        cameras = dict.fromkeys(network["cameras"], (height, width))
        return cls(
            agent=agent, network=network, spec=Spec(**{**spec.to_json(), "cameras": cameras}), tasks=tasks, data=data
        )

    @property
    def file(self) -> str:
        return POLICY_FILE

    def weights_of(self, learner: Any) -> Any:
        """The network that acts."""
        return learner.acting

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(self.network["cameras"])

    @property
    def image_size(self) -> tuple[int, int]:
        height, width = self.network["image_size"]
        return int(height), int(width)

    @property
    def language_size(self) -> int:
        return int(self.network.get("language_size", 0))

    def to_json(self, step: int, weights_sha256: str) -> dict[str, Any]:
        """The document; its "version" is a hash of all of it, weights included."""
        document = {
            "format_version": POLICY_FORMAT,
            "agent": self.agent,
            "network": dict(self.network),
            "spec": self.spec.to_json(),
            "tasks": self.tasks.to_json(),
            "data": [dict(d) for d in self.data],
            "step": step,
            "weights_sha256": weights_sha256,
        }
        document = json.loads(json.dumps(document, allow_nan=False))  # tuples become the lists that a reader gets
        return {**document, "version": version_of(document)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PolicyRecord:
        """Raises DataError on anything that `to_json` would not have written."""
        if document.get("format_version") != POLICY_FORMAT:
            raise DataError(
                f"policy.json has format {document.get('format_version')!r}, this version reads {POLICY_FORMAT}; use the version that wrote it."
            )
        for name, kind in (
            ("agent", str), ("network", dict), ("spec", dict), ("tasks", dict), ("data", list), ("step", int),
            ("weights_sha256", str), ("version", str),
        ):  # fmt: skip
            if not isinstance(document.get(name), kind):
                raise DataError(
                    f"policy.json is damaged: {name} must be a {kind.__name__}; restore it or use another checkpoint."
                )
        if document["version"] != version_of(document):
            raise DataError(
                "policy.json was changed after it was written: its version is not the hash of its content; restore it."
            )
        require_sane(document["network"], POLICY_FILE)
        try:
            spec = Spec.from_json(document["spec"])
            record = cls.of(
                agent=document["agent"], network=document["network"], spec=spec,
                tasks=TaskTable.from_json(document["tasks"]), data=document["data"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"policy.json is damaged: {error}; restore it or use another checkpoint.") from None
        _require_texts(record.spec)
        return record


def version_of(document: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of the document without its version."""
    content = {name: value for name, value in document.items() if name != "version"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def require_fits(policy: Spec, robot: Spec) -> None:
    """Raise MismatchError, one sentence, unless a policy trained for `policy` may drive `robot`."""
    if policy.embodiment != robot.embodiment:
        raise MismatchError(
            f"this is a checkpoint of another robot: it was trained for {policy.embodiment!r} and would drive {robot.embodiment!r}; "
            "finetune it on data of that robot."
        )
    missing = sorted(set(policy.cameras) - set(robot.cameras))
    if missing:
        raise MismatchError(
            f"the policy looks at camera {missing[0]!r}, the robot has {sorted(robot.cameras)}; add that camera or map one to this role."
        )
    for name, what in (("proprio_names", "state"), ("action_names", "action"), ("action_source", "action convention")):
        trained, offered = getattr(policy, name), getattr(robot, name)
        if trained != offered:
            raise MismatchError(
                f"the {what} differs: the policy was trained with {name} {trained}, the robot has {offered}; "
                "bring the data to the robot's convention and train again."
            )
    require_metric(policy)
    if robot.action_unit != "metric":
        raise MismatchError(
            f"the robot's spec says action_unit {robot.action_unit!r}; only 'metric' (metres, radians) can be driven."
        )
    if abs(policy.control_hz - robot.control_hz) > 0.01 * policy.control_hz:
        raise MismatchError(
            f"the policy was trained at {policy.control_hz:g} Hz, the robot is driven at {robot.control_hz:g} Hz; set the robot's rate to the policy's."
        )


def require_metric(policy: Spec) -> None:
    """Raise MismatchError for a policy whose actions are not metres and radians."""
    if policy.action_unit != "metric":
        raise MismatchError(
            f"the policy's actions are {policy.action_unit}, not metres and radians, so no robot may execute them; "
            "finetune on data with action_unit 'metric'."
        )


def require_sane(value: Any, file: str, depth: int = 0) -> int:
    """Bound every number, text and list of a network config before anything is built from it; returns the count of values.

    Raises DataError naming the `file` it stands in.
    """
    if isinstance(value, bool) or value is None:
        return 1
    if isinstance(value, int | float) and abs(value) <= _MAX_NUMBER:
        return 1
    if isinstance(value, str) and len(value) <= _MAX_TEXT:
        return 1
    if isinstance(value, list | dict) and depth < _MAX_DEPTH and len(value) <= _MAX_VALUES:
        children = list(value.values()) if isinstance(value, dict) else value
        count = 1 + sum(require_sane(child, file, depth + 1) for child in children)
        if count <= _MAX_VALUES:
            return count
    raise DataError(f"{file} is damaged: its network description holds a value out of all proportion; restore it.")


def _require_texts(spec: Spec) -> None:
    texts = (spec.embodiment, *spec.action_names, *spec.proprio_names, *spec.cameras)
    if not all(isinstance(t, str) and len(t) <= _MAX_TEXT for t in texts):
        raise DataError(
            "policy.json is damaged: its spec must name robot, cameras, actions and state in words; restore it."
        )
