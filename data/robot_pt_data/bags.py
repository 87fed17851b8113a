"""Bags of `ros2 bag record`, as the messages of an episode; a folder with metadata.yaml, an .mcap or a .db3 file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError, MissingExtraError
from robot_pt.images import image_size
from robot_pt.journal_episode import Ending, Header, without
from robot_pt.messages import Decoder, Message, camera_of, typestore
from robot_pt.samples import Frame
from robot_pt.schema import Spec
from robot_pt_data.mapping import Mapping as RldsMapping
from robot_pt_data.mapping import read_table

SUFFIXES = (".mcap", ".db3", ".part")
_SIZES_WITHIN = 2000  # messages that are looked through for the first frame of every camera


@dataclass(frozen=True, kw_only=True)
class Bag:
    """What the messages of a bag do not say."""

    control_hz: float = 5.0
    """Rate of the steps to be made [Hz]."""
    embodiment: str = "unknown"
    robot: str = ""
    """Arm whose kinematics give the tool pose where the bag has no ``ee_pose``, e.g. "wx250s"."""
    namespace: str = ""
    """Of the robot; "" = the only one that has ``joint_states``."""
    cameras: dict[str, str] = field(default_factory=dict)
    """Role -> camera name; empty = every camera under its name."""
    joint_names: list[str] = field(default_factory=list)
    """Empty = those of the first ``command``."""
    task: str = ""
    instruction: str = ""
    success: bool | None = None
    dataset: str = "bag"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Bag:
        """Raises DataError naming fields that there are not."""
        known = {f.name for f in fields(cls)}
        if set(given) - known:
            raise DataError(f"a bag's mapping has the fields {sorted(known)}; this one gives {sorted(given)}.")
        return cls(**given)


def mapping_table(given: Any) -> dict[str, Any]:
    """A mapping for bags as a dict: from a dict, or a TOML or JSON file. Raises DataError for anything else."""
    if given is None:
        return {}
    if isinstance(given, RldsMapping):
        raise DataError("that mapping is for RLDS data; give a dict or file with the fields of robot_pt_data.bags.Bag.")
    return read_table(given)


def members(path: Path) -> list[Path]:
    """The journals and bags that `path` is or holds, by name."""
    if path.is_file() or is_bag_folder(path):
        return [path]
    return sorted(p for p in path.iterdir() if p.suffix in (".mcap", ".db3") or is_bag_folder(p))


def is_bag_folder(path: Path) -> bool:
    """Whether rosbag2 made the folder."""
    return (path / "metadata.yaml").is_file()


def is_journals(path: Path) -> bool:
    """Whether a folder is a bag or holds journals or bags."""
    return bool(members(path))


def bag_header(path: Path, given: Mapping[str, Any]) -> tuple[Header, Ending]:
    """What a bag and its mapping say together. Raises DataError where that is not enough."""
    bag = Bag.of(given)
    namespace = bag.namespace or _namespace(path)
    relative = {without(topic, namespace): type for topic, type in _topics(path).items()}
    names = sorted({name for topic in relative if (name := camera_of(topic)) is not None})
    cameras = bag.cameras or {name: name for name in names}
    if missing := set(cameras.values()) - set(names):
        raise DataError(f"{path} has no camera {sorted(missing)}; it has {names}.")
    joint_names = bag.joint_names
    sizes: dict[str, tuple[int, int]] = {}
    decoder = Decoder(cameras)
    for i, (message, received_ns) in enumerate(bag_messages(path, namespace)):
        if message.topic == "command" and not joint_names:
            content = typestore().deserialize_cdr(message.cdr, message.type)
            joint_names = [name for name in content.joint_names if name != "gripper"]
        sample = decoder.decode(message, received_ns) if camera_of(message.topic) else None
        if isinstance(sample, Frame) and sample.camera not in sizes:
            with suppress(DataError):  # a damaged frame; another will do
                sizes[sample.camera] = _size(sample.image)
        if (len(sizes) == len(cameras) and joint_names) or i >= _SIZES_WITHIN:
            break
    if absent := set(cameras) - set(sizes):
        raise DataError(
            f"{path} has no readable frame of {sorted(absent)} at its start; {decoder.reasons or 'none came'}."
        )
    spec = Spec(cameras=sizes, embodiment=bag.embodiment, control_hz=bag.control_hz)
    header = Header(
        spec=spec, episode_id=path.stem, cameras=dict(cameras), joint_names=joint_names, robot=bag.robot, task=bag.task,
        instruction=bag.instruction, dataset=bag.dataset, namespace=namespace,
    )  # fmt: skip
    outcome = {True: "success", False: "failure", None: "unknown"}[bag.success]
    return header, Ending(outcome, 0, {}, {}, False)


def _size(image: Any) -> tuple[int, int]:
    height, width = (image.shape if getattr(image, "ndim", 1) == 3 else image_size(image))[:2]
    return int(height), int(width)


def bag_messages(path: Path, namespace: str) -> Iterable[tuple[Message, int]]:
    """(message with its relative topic, arrival [ns]) in the order of arrival. Raises DataError on a damaged bag."""
    with _Reading(path) as reader:
        for connection, received_ns, raw in reader.messages():
            yield Message(without(connection.topic, namespace), connection.msgtype, raw), received_ns


def _topics(path: Path) -> dict[str, str]:
    with _Reading(path) as reader:
        return {connection.topic: connection.msgtype for connection in reader.connections}


def _namespace(path: Path) -> str:
    found = sorted(topic.removesuffix("joint_states") for topic in _topics(path) if topic.endswith("/joint_states"))
    if len(found) != 1:
        raise DataError(f"{path} has joint_states in {found or 'no namespace'}; name the robot's as mapping namespace.")
    return found[0]


class _Reading:
    """A rosbags reader whose faults are DataErrors."""

    def __init__(self, path: Path):
        try:
            from rosbags.rosbag2 import Reader
        except ImportError:
            raise MissingExtraError("rosbags", "ros", f"reading the bag {path}") from None
        self._path = path
        try:
            self._reader = Reader(path)
            self._reader.open()
        except _faults() as error:
            raise DataError(f"{path} is no readable bag ({str(error)[:100]}); `ros2 bag info` it.") from None

    def __enter__(self) -> Any:
        return self._reader

    def __exit__(self, kind: Any, error: Any, _: Any) -> None:
        self._reader.close()
        if error is not None and isinstance(error, _faults()):
            raise DataError(f"{self._path} is damaged ({str(error)[:100]}); recover it with `mcap recover`.") from None


def _faults() -> tuple[type[Exception], ...]:
    import struct

    from rosbags.rosbag2 import ReaderError

    return (ReaderError, OSError, struct.error, ValueError, AssertionError, KeyError, TypeError)
