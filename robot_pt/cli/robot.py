"""``robot-pt launch``: the robot side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro


@dataclass(kw_only=True)
class Launch:
    """Start the nodes of a ROS 2 YAML launch file, with or without ROS 2: robot-pt launch FILE name:=value ..."""

    file: Annotated[str, tyro.conf.Positional]
    """A *.launch.yaml, or the name of one that robot-pt brings: sim, robot, collect, replay, online, graph."""
    arguments: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """name:=value, as --show-args lists them."""
    show_args: bool = False
    """Say what the file takes: names, descriptions, defaults, choices."""
    print: bool = False
    """Show the commands that would be started, and start nothing."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import launch

        return launch.launch(self.file, self.arguments, show_args=self.show_args, only_print=self.print)
