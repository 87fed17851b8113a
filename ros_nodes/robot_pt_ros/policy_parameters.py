"""The policy node's parameters -> policy, robot description and session settings."""

from __future__ import annotations

from math import isnan, nan
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from robot_pt.errors import MissingExtraError, UserError
from robot_pt.gate.limits import GateLimits
from robot_pt.robots import Arm
from robot_pt.schema import Spec
from robot_pt.session import SessionSettings, StepLimits
from robot_pt_ros.arm_model import declare_arm
from robot_pt_ros.node import flag, number, size, text, texts


def declare(node: Node) -> None:
    """Declare every parameter of the policy node, read-only but for those that `policy/reload` and `policy/start` read."""
    fixed = lambda words: ParameterDescriptor(description=words, read_only=True)  # noqa: E731
    free = lambda words: ParameterDescriptor(description=words)  # noqa: E731
    node.declare_parameter("checkpoint", "", free("A RUN or one of its checkpoints; read again by policy/reload."))
    node.declare_parameter("task", "", free("Task name; empty takes the policy's only one."))
    node.declare_parameter(
        "prompt", "", free("Sentence for a policy with language; empty takes the simulator's. Read by policy/start.")
    )
    node.declare_parameter("simulated", False, fixed("A sim node says what its task is in words."))
    declare_arm(node)
    node.declare_parameter("frame_id", "base_link", fixed("Frame of all poses: the arm's base."))
    node.declare_parameter("device", "cpu", fixed("torch device."))
    node.declare_parameter(
        "cameras", [""], fixed("role=camera pairs, e.g. primary=front; empty: cameras named as roles.")
    )
    node.declare_parameter("simulated_cameras", [""], fixed("Those that the sim node shows; empty: not known."))
    node.declare_parameter("image_size", [0, 0], fixed("Height and width the cameras deliver [px]; 0 0: as trained."))
    node.declare_parameter("control_rate_hz", 0.0, fixed("Targets per second [Hz]; 0: as trained."))
    node.declare_parameter("lockstep", False, fixed("Simulation that waits for commands; needs use_sim_time."))
    node.declare_parameter("inference_mode", "sync", fixed("sync or async."))
    node.declare_parameter("chunk_execute_steps", 0, fixed("Actions of each chunk that are played; 0: all."))
    node.declare_parameter(
        "sync_policy", "approx", fixed("approx: samples nearest one time; latest: the newest of each.")
    )
    node.declare_parameter("sync_slop_s", 0.0, fixed("approx: farthest a sample may be from that time [s]; 0: any."))
    node.declare_parameter("max_obs_age_s.image", 0.15, fixed("Oldest camera frame to decide on [s]."))
    node.declare_parameter("max_obs_age_s.joint", 0.05, fixed("Oldest joint reading to decide on [s]."))
    node.declare_parameter(
        "max_frozen_s",
        0.0,
        fixed("A camera that repeats one picture for longer is no source, a flat picture none [s]; 0: not looked at."),
    )
    node.declare_parameter(
        "max_step_translation_m",
        nan,
        fixed("The supervisor's: a policy trained on longer steps is refused [m]; NaN: usual in simulation."),
    )
    node.declare_parameter(
        "max_step_rotation_rad",
        nan,
        fixed("The supervisor's: a policy trained on larger turns is refused [rad]; NaN: usual in simulation."),
    )
    node.declare_parameter("replay_store", "", fixed("DemoStore to replay an episode of, instead of a checkpoint."))
    node.declare_parameter("replay_episode", 0, fixed("Number of the episode to replay."))
    node.declare_parameter("warmup_iters", 10, fixed("Inferences before activation."))


def checkpoint_of(node: Node) -> str:
    """The folder that `checkpoint` stands for now, or "" for a replay. Raises DataError where there is none."""
    if text(node, "replay_store") or not text(node, "checkpoint"):
        return ""
    from robot_pt.checkpoint import resolve

    return str(resolve(text(node, "checkpoint")))


def load_policy(node: Node, folder: str = "") -> Any:
    """The policy in `folder`, else that of `checkpoint`, or the episode to replay. Raises UserError and its kinds in one sentence."""
    if text(node, "replay_store"):
        from robot_pt.replaying import load_replay

        return load_replay(text(node, "replay_store"), int(number(node, "replay_episode")))
    checkpoint = folder or text(node, "checkpoint")
    if not checkpoint:
        raise UserError("checkpoint is empty; give a RUN, e.g. checkpoint:=runs/demo/ptr-finetune.")
    try:
        from robot_pt.policy import Policy
    except ImportError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError(
            "torch", "", "the policy node (launch takes python:= for an interpreter that has it)"
        ) from error
    return Policy.load(Path(checkpoint), device=_usable(text(node, "device")))


def _usable(device: str) -> str:
    """A torch device that computes here. Raises UserError for another, whatever torch says of it."""
    import torch

    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"device is {device!r}, which torch cannot use here ({why}); give cpu, or another of its devices."
        ) from error
    return device


def robot_spec(node: Node, trained: Spec) -> tuple[Spec, dict[str, str]]:
    """(what the robot offers, role -> camera name); sizes and rate as trained unless given."""
    given = (pair.partition("=") for pair in texts(node, "cameras"))
    pairs = {role: name or role for role, _, name in given} or {role: role for role in trained.cameras}
    missing = sorted(set(trained.cameras) - set(pairs))
    if missing:
        raise UserError(
            f"the policy looks at camera {missing[0]!r}, and cameras names {sorted(pairs)}; add e.g. {missing[0]}=CAMERA."
        )
    shown = texts(node, "simulated_cameras")
    unseen = sorted(set(trained.cameras) - set(shown))
    if flag(node, "simulated") and shown and unseen:
        raise UserError(
            f"the policy looks at camera {unseen[0]!r}, and the simulator shows {shown}; give cameras:='[{', '.join(trained.cameras)}]'."
        )
    height, width = size(node, "image_size")
    sizes = {role: (height, width) if height and width else trained.cameras[role] for role in trained.cameras}
    hz = number(node, "control_rate_hz") or trained.control_hz
    spec = Spec(cameras=sizes, embodiment=EMBODIMENTS.get(text(node, "robot"), text(node, "robot")), control_hz=hz)
    return spec, {role: pairs[role] for role in trained.cameras}


def require_detail(node: Node, policy: Any) -> None:
    """Raises UserError where the simulator shows smaller pictures than the policy was trained to look at."""
    looks_at, (height, width) = getattr(policy, "record", None), size(node, "image_size")
    if looks_at is None or not looks_at.cameras or not flag(node, "simulated") or not height * width:
        return
    wanted = looks_at.image_size
    if height < wanted[0] or width < wanted[1]:
        raise UserError(
            f"the policy was trained on pictures of {wanted[0]}x{wanted[1]} and the simulator shows {height}x{width}; give "
            f"image_size:='[{wanted[0]}, {wanted[1]}]'."
        )


EMBODIMENTS = {"wx250s": "widowx250s"}
"""Arm model -> name of the embodiment in data, where they differ."""


def session_settings(node: Node) -> SessionSettings:
    """Raises UserError on a value that cannot be meant."""
    return SessionSettings(
        inference_mode=text(node, "inference_mode"),  # type: ignore[arg-type]
        chunk_execute_steps=int(number(node, "chunk_execute_steps")) or None,
        sync_policy=text(node, "sync_policy"),  # type: ignore[arg-type]
        sync_slop_s=number(node, "sync_slop_s") or None,
        max_obs_age_s={source: number(node, f"max_obs_age_s.{source}") for source in ("image", "joint")},
        max_frozen_s=number(node, "max_frozen_s") or None,
        lockstep=flag(node, "lockstep"),
    )


def step_limits(node: Node, arm: Arm) -> StepLimits:
    """What the supervisor allows in one step, to hold a checkpoint's training actions against.

    Raises UserError on a number that cannot be meant.
    """
    given = {
        "max_step_m": number(node, "max_step_translation_m"), "max_step_rad": number(node, "max_step_rotation_rad"),
    }  # fmt: skip
    limits = GateLimits.for_robot(arm, **{name: value for name, value in given.items() if not isnan(value)})
    return StepLimits(limits.max_step_m, limits.max_step_rad)
