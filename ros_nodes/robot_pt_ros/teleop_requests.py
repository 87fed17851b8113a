"""What an operator's request means in services, and what the operator hears back."""

from __future__ import annotations

from typing import get_args

from robot_pt.teleop import Request
from robot_pt_ros.calls import Call

TRIGGERS = (
    "episode/start",
    "episode/stop",
    "episode/keep",
    "episode/discard",
    "episode/redo",
    "safety/arm",
    "online/confirm",
)
SWITCHES = ("episode/end", "takeover", "safety/estop_set")

CALLS: dict[str, tuple[Call, ...]] = {
    **{name: (Call(f"episode/{name}"),) for name in ("start", "stop", "keep", "discard", "redo")},
    "success": (Call("episode/end", True),),
    "failure": (Call("episode/end", False),),
    "takeover": (Call("safety/arm"), Call("takeover", True)),
    "release": (Call("takeover", False),),
    "estop": (Call("safety/estop_set", True),),
    "confirm": (Call("online/confirm"),),
}
"""Who takes over arms what is not armed; the gripper is no request to others."""

assert set(CALLS) == set(get_args(Request)) - {"gripper"}
