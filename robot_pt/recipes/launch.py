"""`robot-pt launch`: the processes of a YAML launch file, started here; what they print goes to stdout with their name in front."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robot_pt.errors import UserError

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # SGR codes, one per process in turn


def launch(
    file: str, words: Sequence[str] = (), *, show_args: bool = False, only_print: bool = False
) -> dict[str, Any]:
    """Run a launch file until every process has ended; `exit_code` of the result is 1 where one of them failed.

    Raises UserError, before anything is started, for everything that is wrong with the file or its arguments.
    """
    from robot_pt_ros.launch_runner import arguments, description, evaluate, runner

    path = find(file)
    given = arguments.parse(words)
    if show_args:
        known = arguments.declared(path, description.load(path), os.environ)
        return {"file": str(path), "arguments": arguments.described(known), "text": arguments.table(known)}
    processes = evaluate.plan(path, given, os.environ)
    if only_print:
        commands = [
            {"label": p.label, "command": list(p.argv), "parameters": list(p.parameters), "required": p.required}
            for p in processes
        ]
        return {
            "file": str(path),
            "processes": commands,
            "text": "\n".join(_shown(p.label, p.argv, p.parameters) for p in processes),
        }
    if not processes:
        raise UserError(
            f"{path} starts nothing with these arguments; see them with: robot-pt launch {file} --show-args"
        )
    outcome = runner.run(processes, _Screen([p.label for p in processes]).line)
    return {
        "file": str(path),
        "stopped by": outcome.stopped_by,
        "exit codes": outcome.exit_codes,
        "failed": list(outcome.failed),
        "exit_code": 1 if outcome.failed else 0,
    }


def find(file: str) -> Path:
    """The launch file: a path, or the name of one that robot-pt brings (sim, sim.launch.yaml). Raises UserError: neither."""
    path = Path(file)
    if path.is_file():
        return path
    from robot_pt_ros.launch_runner import packages

    ours = sorted(packages.launch_folder().glob("*.launch.yaml"))
    for candidate in ours:
        if file in (candidate.name, candidate.name.removesuffix(".launch.yaml")):
            return candidate
    names = ", ".join(candidate.name.removesuffix(".launch.yaml") for candidate in ours)
    raise UserError(f"{file} is no launch file; give the path of a *.launch.yaml, or one of {names}.")


def _shown(label: str, argv: Sequence[str], parameters: Sequence[str]) -> str:
    texts = [f"# params:{i}\n{text.rstrip()}" for i, text in enumerate(parameters)]
    return "\n".join([f"[{label}] {shlex.join(argv)}", *texts])


class _Screen:
    """Lines of several processes on stdout, each whole; coloured where a person reads them."""

    def __init__(self, labels: Sequence[str]):
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._colour = {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(labels)} if coloured else {}
        self._lock = threading.Lock()

    def line(self, label: str, text: str) -> None:
        head = f"[{label or 'launch'}]"
        if label in self._colour:
            head = f"\x1b[{self._colour[label]}m{head}\x1b[0m"
        with self._lock:
            try:
                sys.stdout.write(f"{head} {text}\n")
                sys.stdout.flush()
            except BrokenPipeError:  # nobody reads on, and an arm still has to be brought to rest
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
