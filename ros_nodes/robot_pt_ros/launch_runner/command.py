"""The command line of a node or program, word for word as launch_ros builds it.

`PREFIX EXEC args --ros-args ros_args --ros-args -r __node:=NAME -r __ns:=NAMESPACE --params-file FILE ... -r FROM:=TO ...`
(ros2/launch_ros, actions/node.py). Our own nodes run as `PYTHON -m robot_pt_ros EXEC`: a prefix that ends in an interpreter is
that PYTHON, without one it is the interpreter that runs launch.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from robot_pt.errors import UserError
from robot_pt_ros.launch_runner import packages, parameters
from robot_pt_ros.launch_runner.description import Executable, Node, Program
from robot_pt_ros.launch_runner.names import check_node_name, join_namespace
from robot_pt_ros.launch_runner.parameters import ParameterFile
from robot_pt_ros.launch_runner.substitutions import Context, perform

_PYTHON = re.compile(r"(python|pypy)[0-9.]*")


class Command(NamedTuple):
    argv: tuple[str, ...]
    label: str  # what launch calls the process unless the file names it
    parameters: tuple[str, ...]  # texts of the files that `{params:N}` in argv stands for
    interpreter: str | None  # of our own nodes


def executable_command(program: Executable, context: Context) -> Command:
    """The command of an `executable`. Raises DataError: a substitution fails."""
    argv = tuple(perform(word, context, program.where) for word in program.command)
    return Command((*_prefix(program, Path(argv[0]).name, context), *argv), Path(argv[0]).name, (), None)


def node_command(node: Node, context: Context) -> Command:
    """The command of a `node`. Raises DataError: package, executable or parameter file missing, or no valid name."""
    where = node.where
    executable = perform(node.executable, context, where)
    name = None if node.name is None else check_node_name(perform(node.name, context, where), where)
    own = None if node.namespace is None else perform(node.namespace, context, where)
    namespace = join_namespace(context.configurations.get("ros_namespace"), own, where)
    full_name = None if name is None or namespace is None else f"{namespace.rstrip('/')}/{name}"
    words = [perform(word, context, where) for word in node.arguments]
    if node.ros_arguments:
        words += ["--ros-args", *(perform(word, context, where) for word in node.ros_arguments)]
    words += ["--ros-args"]
    words += [] if name is None else ["-r", f"__node:={name}"]
    words += [] if namespace is None else ["-r", f"__ns:={namespace}"]
    files = _add_parameters(node, context, full_name, words)
    for left, right in node.remaps:
        words += ["-r", f"{perform(left, context, where)}:={perform(right, context, where)}"]
    start, interpreter = _program(node, executable, context)
    return Command((*start, *words), Path(executable).name, files, interpreter)


def _program(node: Node, executable: str, context: Context) -> tuple[tuple[str, ...], str | None]:
    """The words that start the executable, prefix included, and the interpreter of our own nodes."""
    prefix = _prefix(node, Path(executable).name, context)
    if node.package is None:
        return (*prefix, executable), None
    package = perform(node.package, context, node.where)
    try:
        program = packages.program(package, executable, context.environment)
    except UserError as error:
        node.where.fail(str(error))
    if package != packages.OURS:
        return (*prefix, *program), None
    if not (prefix and _PYTHON.fullmatch(Path(prefix[-1]).name)):
        prefix = (*prefix, sys.executable)
    return (*prefix, *program), prefix[-1]


def _prefix(program: Program, executable: str, context: Context) -> tuple[str, ...]:
    """`launch-prefix` of the entity, else of the launch configuration where its filter matches."""
    if program.prefix is not None:
        text = perform(program.prefix, context, program.where)
    elif re.match(context.configurations.get("launch-prefix-filter", ""), executable):
        text = context.configurations.get("launch-prefix", "")
    else:
        text = ""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        program.where.fail(f"`launch-prefix` is {text!r}: {error}.")


def _add_parameters(node: Node, context: Context, full_name: str | None, words: list[str]) -> tuple[str, ...]:
    """Adds `--params-file` for every `param`; returns the texts of the files that are to be written."""
    texts: list[str] = []
    for entry in node.parameters:
        if isinstance(entry, ParameterFile):
            path = Path(perform(entry.path, context, entry.where))
            if not path.is_file():
                entry.where.fail(f"the parameter file {path} is not there; give an existing file.")
            words += ["--params-file", str(path)]
        else:
            words += ["--params-file", f"{{params:{len(texts)}}}"]
            texts.append(parameters.dump(parameters.evaluate(entry, context), full_name))
    return tuple(texts)
