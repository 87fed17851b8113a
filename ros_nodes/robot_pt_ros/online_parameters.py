"""The online node's parameters -> which versions may reach the robot, and the watch over the run's folder."""

from __future__ import annotations

from pathlib import Path

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from robot_pt.errors import UserError
from robot_pt.online.robot import RobotRules
from robot_pt.online.robot_watch import RunWatch
from robot_pt_ros.node import flag, number, text


def declare(node: Node) -> None:
    """Declare every parameter of the online node, read-only but for `confirm`. Raises UserError where `run` is not given."""
    fixed = lambda words: ParameterDescriptor(description=words, read_only=True)  # noqa: E731
    node.declare_parameter(
        "run", "", fixed("RUN that the learner writes (robot-pt online --out), on any disk both see.")
    )
    node.declare_parameter("store", "demos", fixed("DemoStore of this robot's recorder, for its age and count."))
    node.declare_parameter(
        "confirm",
        True,
        ParameterDescriptor(description="Each new version waits for online/confirm; false in simulation."),
    )
    node.declare_parameter(
        "max_bound_share",
        RobotRules.max_bound_share,
        fixed("Largest share of a version's actions at their bounds; 1: any."),
    )
    node.declare_parameter(
        "max_change", 100.0, fixed("Largest RMS change of actions against the version before [half ranges].")
    )
    node.declare_parameter(
        "load_in_episodes", True, fixed("Load beside a policy that acts; false: between episodes only.")
    )
    node.declare_parameter("stale_s", 10.0, fixed("Silence of learner or disk that is reported [s]."))
    if not text(node, "run"):
        raise UserError("run is empty; give the --out folder of `robot-pt online`, e.g. run:=runs/online.")


def run_folder(node: Node) -> Path:
    """Of the run that is followed."""
    return Path(text(node, "run")).expanduser().absolute()


def rules(node: Node) -> RobotRules:
    """Raises UserError for a number that cannot be meant."""
    return RobotRules(
        confirm=flag(node, "confirm"), max_bound_share=number(node, "max_bound_share"),
        max_change=number(node, "max_change"), beside=flag(node, "load_in_episodes"),
    )  # fmt: skip


def run_watch(node: Node) -> RunWatch:
    """Of the run's folder and the robot's store; its heart is named after the node's namespace."""
    name = "_".join(["robot", *node.get_namespace().strip("/").split("/")]).rstrip("_")
    store = Path(text(node, "store")).expanduser().absolute()
    return RunWatch(run_folder(node), store, name, stale_s=number(node, "stale_s"))
