"""Bytes and type hashes against ros2_pyterfaces' cyclone backend, type by type, in an environment of its own."""

import json
import os
import random
import struct
import subprocess
from typing import Any

import pytest
from rosbags.interfaces import Nodetype

from robot_pt_ros.wire import cdr, typesystem
from robot_pt_ros.wire.messages import Message, message_class

PYTHON = os.environ.get("ROBOT_PT_PYTERFACES_PYTHON", "")
needs_pyterfaces = pytest.mark.skipif(
    not PYTHON, reason="ROBOT_PT_PYTERFACES_PYTHON names no Python with tests/envs/pyterfaces.txt installed"
)
ABSENT_THERE = {"geometry_msgs/msg/Pose2D"}  # deprecated in favour of 2D uses of Pose
OURS = {
    *(
        "builtin_interfaces",
        "std_msgs",
        "geometry_msgs",
        "sensor_msgs",
        "trajectory_msgs",
        "diagnostic_msgs",
        "lifecycle_msgs",
    ),
    *("rcl_interfaces", "std_srvs", "rosgraph_msgs"),
}
EACH = 4

READER = """
import base64, importlib, json, sys

def find(name):
    package, folder, short = name.split("/")
    try:
        module = importlib.import_module(f"ros2_pyterfaces.cyclone.{package}.{folder}")
    except ModuleNotFoundError:
        return None
    return getattr(module, short, None)

for line in sys.stdin:
    name, trees = json.loads(line)
    cls = find(name)
    if cls is None:
        print(json.dumps(None))
        continue
    hashed = cls.hash_rihs01()
    raws = []
    for tree in trees:
        raws.append(base64.b64encode(bytes(cls.from_core_message(tree).serialize())).decode())
    print(json.dumps([hashed if isinstance(hashed, str) else str(hashed), raws]))
"""


def tree_of(type_name: str, rng: random.Random) -> dict[str, Any]:
    """Field name -> random plain value, nested messages as dicts."""
    return {name: _value(desc, rng) for name, desc in typesystem.fields(type_name)}


def _value(desc: Any, rng: random.Random) -> Any:
    kind, detail = desc
    if kind == Nodetype.NAME:
        return tree_of(detail, rng)
    if kind != Nodetype.BASE:
        item, size = detail
        count = size if kind == Nodetype.ARRAY else rng.randint(0, min(size or 3, 3))
        return [_value(item, rng) for _ in range(count)]
    base = detail[0]
    if base == "string":
        return "".join(rng.choices("abcäß_/ 7", k=rng.randint(0, 9)))
    if base == "bool":
        return rng.random() < 0.5
    if base.startswith("float"):
        number = rng.uniform(-1e3, 1e3)
        return struct.unpack("<f", struct.pack("<f", number))[0] if base == "float32" else number
    bits = 7 if base == "byte" else 8 if base == "char" else int(base.removeprefix("u").removeprefix("int"))
    return rng.getrandbits(bits) if base[0] in "ubc" else rng.getrandbits(bits - 1) * rng.choice((-1, 1))


def message_of(type_name: str, tree: dict[str, Any]) -> Message:
    described = [(n, d) for n, d in typesystem.fields(type_name) if n != typesystem.PADDING]
    return message_class(type_name)(**{name: _ours(desc, tree[name]) for name, desc in described})


def _ours(desc: Any, value: Any) -> Any:
    kind, detail = desc
    if kind == Nodetype.NAME:
        return message_of(detail, value)
    if kind != Nodetype.BASE:
        return [_ours(detail[0], item) for item in value]
    return bytes((value,)) if detail[0] == "byte" else value


@pytest.mark.slow
@needs_pyterfaces
def test_bytes_and_hashes_of_every_type() -> None:
    import base64

    rng = random.Random(0)
    names = sorted(typesystem.store().fielddefs)
    trees = {name: [tree_of(name, rng) for _ in range(EACH)] for name in names}
    for name in names:
        for tree in trees[name]:
            if typesystem.PADDING in tree:
                tree[typesystem.PADDING] = 0
    asked = [(name, trees[name]) for name in names] + [(name, []) for name in typesystem.services()]
    done = subprocess.run(
        [PYTHON, "-c", READER],
        input="".join(json.dumps(one) + "\n" for one in asked),
        env={**os.environ, "ROS_DISTRO": "jazzy"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(asked)
    absent, wrong, compared = set(), [], 0
    for (name, given), answer in zip(asked, answers, strict=True):
        if answer is None:
            absent.add(name)
            continue
        hashed, raws = answer
        compared += 1
        if hashed != typesystem.type_hash(name):
            wrong.append(f"{name}: hash {hashed}")
        for tree, raw in zip(given, raws, strict=True):
            theirs, message = base64.b64decode(raw), message_of(name, tree)
            ours = bytes(cdr.serialize(message))
            if ours.rstrip(b"\0") != theirs.rstrip(b"\0") or cdr.deserialize(theirs, type(message)) != message:
                wrong.append(f"{name}: {ours.hex()} here, {theirs.hex()} there")
    assert wrong == []
    assert {name for name in absent if name.split("/")[0] in OURS} == ABSENT_THERE
    assert compared > 150
