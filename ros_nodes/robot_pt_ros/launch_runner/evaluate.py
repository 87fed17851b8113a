"""A launch file and its arguments become processes: argv, environment, label, timeouts. Nothing is started here.

Entities take effect in the order they are written, as launch executes them; a node sees the environment and the namespace of its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from robot_pt.errors import DataError, UserError
from robot_pt_ros.launch_runner import description, substitutions
from robot_pt_ros.launch_runner.arguments import declared, refuse_unknown
from robot_pt_ros.launch_runner.command import executable_command, node_command
from robot_pt_ros.launch_runner.description import (
    Action,
    Argument,
    Executable,
    Group,
    Include,
    Let,
    Node,
    Program,
    PushNamespace,
    SetEnvironment,
)
from robot_pt_ros.launch_runner.document import Where
from robot_pt_ros.launch_runner.names import join_namespace
from robot_pt_ros.launch_runner.substitutions import Context, perform

_DEPTH = 20  # includes inside includes


@dataclass(frozen=True, kw_only=True)
class Process:
    """One program to start. `argv` holds `{params:N}` where the text of `parameters[N]` goes in a file of its own."""

    label: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    parameters: tuple[str, ...]
    directory: str | None
    required: bool
    sigterm_timeout_s: float
    sigkill_timeout_s: float
    interpreter: str | None  # of a node of robot_pt_ros: the Python it runs in


def plan(file: Path, given: Mapping[str, str], environment: Mapping[str, str]) -> list[Process]:
    """The processes of `file` with the arguments `given`, in starting order.

    Raises UserError (DataError with file and line): unknown, missing or wrongly chosen arguments, anything launch would refuse, a package or
    parameter file that is not there.
    """
    actions = description.load(file)
    refuse_unknown(given, declared(file, actions, environment), file)
    context = Context(file.resolve(), dict(given), dict(environment))
    planner = _Planner(context)
    planner.take(actions)
    return planner.finished()


class _Planner:
    def __init__(self, context: Context):
        self._context = context
        self._depth = 0
        self._found: list[tuple[Program, Process]] = []

    def take(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if self._applies(action):
                self._apply(action)

    def finished(self) -> list[Process]:
        """launch reads the default timeouts when it stops, so what the whole file set counts."""
        defaults = {n: self._default_timeout(n) for n in ("sigterm_timeout", "sigkill_timeout")}
        made = []
        for program, process in self._found:
            term, kill = program.sigterm_timeout_s, program.sigkill_timeout_s
            timeouts = {
                "sigterm_timeout_s": defaults["sigterm_timeout"] if term is None else term,
                "sigkill_timeout_s": defaults["sigkill_timeout"] if kill is None else kill,
            }
            made.append(Process(**{**vars(process), **timeouts}))
        return made

    def _default_timeout(self, name: str) -> float:
        text = self._context.configurations.get(name, "5")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0.0 <= value < float("inf"):
            raise UserError(f"{name}:={text} is no time; give seconds >= 0.")
        return value

    def _applies(self, action: Action) -> bool:
        if action.condition is None:
            return True
        try:
            value = substitutions.condition(perform(action.condition.template, self._context, action.where))
        except ValueError as error:
            action.where.fail(f"{error}.")
        return value is action.condition.expected

    def _apply(self, action: Action) -> None:
        match action:
            case Argument():
                self._argument(action)
            case Let():
                name = perform(action.name, self._context, action.where)
                self._context.configurations[name] = perform(action.value, self._context, action.where)
            case SetEnvironment():
                self._environment(action)
            case PushNamespace():
                pushed = perform(action.namespace, self._context, action.where)
                joined = join_namespace(self._context.configurations.get("ros_namespace"), pushed, action.where)
                self._context.configurations["ros_namespace"] = joined or "/"
            case Group():
                self._group(action)
            case Include():
                self._include(action)
            case Executable() | Node():
                self._program(action)

    def _argument(self, argument: Argument) -> None:
        values = self._context.configurations
        if argument.name not in values:
            values[argument.name] = self._default(argument)
        value = values[argument.name]
        if argument.choices and value not in argument.choices:
            raise UserError(f"{argument.name}:={value} is not possible; give one of {', '.join(argument.choices)}.")

    def _default(self, argument: Argument) -> str:
        """A default that comes down to the argument itself is none: so a file can need it under a condition only."""
        about = f" ({argument.description})" if argument.description else ""
        missing = UserError(
            f"{argument.where.file} needs the argument {argument.name}{about}; give {argument.name}:=VALUE."
        )
        if argument.default is None:
            raise missing
        try:
            return perform(argument.default, self._context, argument.where)
        except DataError as error:
            raise missing if f"$(var {argument.name}) " in str(error) else error from None

    def _environment(self, action: SetEnvironment) -> None:
        name = perform(action.name, self._context, action.where)
        if action.value is None:
            self._context.environment.pop(name, None)
        else:
            self._context.environment[name] = perform(action.value, self._context, action.where)

    def _group(self, group: Group) -> None:
        context = self._context
        before = dict(context.configurations), dict(context.environment)
        self.take(group.actions)
        if group.scoped:
            context.configurations, context.environment = before

    def _include(self, include: Include) -> None:
        context, where = self._context, include.where
        path = Path(perform(include.file, context, where))
        if self._depth == _DEPTH:
            where.fail(f"{path} is the {_DEPTH + 1}th file inside a file; do the files include each other in a circle?")
        if not path.is_file():
            where.fail(f"the included file {path} is not there; $(dirname)/NAME names a file beside this one.")
        given = {perform(n, context, where): perform(v, context, where) for n, v in include.arguments}
        actions = description.load(path)
        for needed in (a for a in actions if isinstance(a, Argument) and a.default is None and a.condition is None):
            if needed.name not in given:
                where.fail(f"the included file {path} needs the argument {needed.name}; pass it with `arg`.")
        context.configurations.update(given)
        outer, context.file = context.file, path.resolve()
        self._depth += 1
        self.take(actions)
        self._depth -= 1
        context.file = outer

    def _program(self, program: Executable | Node) -> None:
        context, where = self._context, program.where
        command = node_command(program, context) if isinstance(program, Node) else executable_command(program, context)
        environment = dict(context.environment)
        for variable, value in program.environment:
            environment[perform(variable, context, where)] = perform(value, context, where)
        name = command.label if program.label is None else perform(program.label, context, where)
        self._check_output(program, where)
        directory = None if program.directory is None else perform(program.directory, context, where)
        process = Process(
            label=f"{name}-{len(self._found) + 1}", argv=command.argv, environment=environment, parameters=command.parameters,
            directory=directory, required=program.required, sigterm_timeout_s=0.0, sigkill_timeout_s=0.0, interpreter=command.interpreter,
        )  # fmt: skip
        self._refuse_broken(process, where)
        self._found.append((program, process))

    def _check_output(self, program: Program, where: Where) -> None:
        output = "log" if program.output is None else perform(program.output, self._context, where)
        if output not in ("screen", "log", "both", "own_log", "full"):
            where.fail(f"`output` is {output!r}; give screen, log, both, own_log or full.")

    def _refuse_broken(self, process: Process, where: Where) -> None:
        if any("\0" in word for word in process.argv):
            where.fail(f"the command of {process.label} has a NUL character in it.")
        if process.directory is not None and not Path(process.directory).is_dir():
            where.fail(f"`cwd` of {process.label} is {process.directory!r}, which is no folder.")
        bad = [name for name in process.environment if not name or re.search(r"[=\0]", name)]
        if bad:
            raise DataError(f"{where.file}:{where.line}: an environment variable cannot be named {bad[0]!r}.")
