"""What a launch file may say: every refusal names file and line, as a person needs it at a robot."""

import re
import sys
import textwrap

import pytest

from robot_pt.errors import DataError, MissingExtraError
from robot_pt_ros.launch_runner import description
from robot_pt_ros.launch_runner.template import Call, Text


def load(tmp_path, text):
    path = tmp_path / "a.launch.yaml"
    path.write_text(textwrap.dedent(text))
    return description.load(path)


def test_every_entity_is_read(tmp_path):
    actions = load(
        tmp_path,
        """\
        launch:
        - arg: {name: robot, default: sim, description: 'What is
            driven', choice: [{value: sim}, {value: real}]}
        - let: {name: a, value: $(var robot)}
        - set_env: {name: A, value: '1'}
        - unset_env: {name: A, if: $(var a)}
        - group:
          - push-ros-namespace: {namespace: x}
          - push_ros_namespace: {namespace: y, unless: 'true'}
        - group:
            scoped: false
            if: 'true'
            children:
            - include: {file: $(dirname)/b.launch.yaml, arg: [{name: n, value: v}]}
        - executable: {cmd: echo a 'b c' $(var robot), name: echo, cwd: /, on_exit: shutdown, sigterm_timeout: 1.5}
        - node: {pkg: p, exec: e, name: n, namespace: s, args: --x 1, ros_args: --log-level debug,
            remap: [{from: a, to: b}], env: [{name: E, value: v}], output: screen, launch-prefix: nice, exec_name: label,
            respawn: 'False', sigkill_timeout: 0.0}
        """,
    )
    argument, let, set_env, unset_env, group, open_group, executable, node = actions
    assert (argument.name, argument.default, argument.choices) == ("robot", (Text("sim"),), ("sim", "real"))
    assert argument.description == "What is driven"
    assert let.value == (Call("var", ((Text("robot"),),)),)
    assert (set_env.value, unset_env.value) == ((Text("1"),), None)
    assert unset_env.condition.expected
    assert [a.namespace for a in group.actions] == [(Text("x"),), (Text("y"),)]
    assert group.actions[1].condition.expected is False
    assert group.scoped
    assert not open_group.scoped
    assert open_group.actions[0].arguments == (((Text("n"),), (Text("v"),)),)
    assert [w if isinstance(w[0], Call) else w[0].text for w in executable.command][:3] == ["echo", "a", "b c"]
    assert (executable.required, executable.sigterm_timeout_s, executable.sigkill_timeout_s) == (True, 1.5, None)
    assert node.ros_arguments == ((Text("--log-level"),), (Text("debug"),))
    assert (node.required, node.sigkill_timeout_s, node.label) == (False, 0.0, (Text("label"),))
    assert [a.where.line for a in actions] == [2, 4, 5, 6, 7, 10, 15, 16]


@pytest.mark.parametrize(
    ("entity", "says"),
    [
        ("node: {pkg: p}", "`node` needs the attribute `exec`"),
        ("node: {exec: e, respawn: 'true'}", "restarts by itself"),
        ("node: {exec: e, respawn: true}", "launch takes text there; write 'True' in quotes"),
        ("node: {exec: e, on_exit: restart}", "know only `shutdown`"),
        ("node: {exec: e, sigterm_timeout: 5}", "launch takes number with a point"),
        ("node: {exec: e, sigterm_timeout: -1.0}", "seconds >= 0.0"),
        ("node: {exec: e, sigterm_timeout: .inf}", "seconds >= 0.0"),
        ("node: {exec: e, name: 3}", "write '3' in quotes"),
        ("node: {exec: e, shell: true}", "does not take `shell`"),
        ("node: {exec: e, ros-args: x}", "does not take `ros-args`"),
        ("node: {exec: e, remap: [{from: a}]}", "`remap` needs the attribute `to`"),
        ("node: {exec: e, remap: {from: a, to: b}}", "must be a list of entries"),
        ("node: {exec: e, env: [{name: A, value: 1}]}", "`value` of `env` is 1"),
        ("node: {exec: e, env: [{name: A, value: '1', if: 'true'}]}", "`env` does not take `if`"),
        ("node: {exec: e, if: 'true', unless: 'true'}", "both `if` and `unless`"),
        ("node: {exec: e, if: true}", "write 'True' in quotes"),
        ("node: {exec: $(var)}", "has 0 arguments, and takes 1 or 2"),
        ("node: {exec: $(command ls)}", "$(command ...) is no substitution"),
        ("node: {exec: $(var a}", "is not closed"),
        ("node: {exec: e, args: \"'$(var a)'\"}", "quotes"),
        ("node: {exec: e, args: '\"a\" ''b'''}", "both kinds of quotes"),
        ("node: {exec: e, output: 3}", "write '3' in quotes"),
        ("node: [{exec: e}]", "`node` needs the attribute `exec`"),
        ("node:", "needs attributes or a list"),
        ("executable: {cmd: ''}", "`cmd` of `executable` is empty"),
        ("executable: {name: a}", "needs the attribute `cmd`"),
        ("arg: {default: a}", "needs the attribute `name`"),
        ("arg: {name: a, default: 5}", "write '5' in quotes"),
        ("arg: {name: a, choice: [a, b]}", "must be a list of entries"),
        ("arg: {name: a, choice: []}", "must be a list of entries"),
        ("arg: {name: a, name: b}", "given twice"),
        ("let: {name: a}", "needs the attribute `value`"),
        ("set_env: {value: a}", "needs the attribute `name`"),
        ("unset_env: {name: a, value: b}", "does not take `value`"),
        ("push_ros_namespace: {}", "needs the attribute `namespace`"),
        ("include: {file: a, children: []}", "does not take `children`"),
        ("group: {scoped: 'true', children: []}", "launch takes true or false there"),
        ("group: {scoped: true}", "needs the attribute `children`"),
        ("group: {children: 3}", "must be a list"),
        ("group: [node]", "every entry is one entity"),
        ("group: [{node: {exec: a}, let: {name: a, value: b}}]", "every entry is one entity"),
        ("timer: {period: 1.0, children: []}", "`timer` is no entity"),
        ("nodes: {}", "it knows arg, executable, group"),
    ],
)  # fmt: skip
def test_what_launch_would_not_read_is_refused_with_its_line(tmp_path, entity, says):
    with pytest.raises(DataError) as error:
        load(tmp_path, f"launch:\n- let: {{name: a, value: b}}\n- {entity}\n")
    assert re.match(rf"{re.escape(str(tmp_path))}/a\.launch\.yaml:3: ", str(error.value))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "one `launch:`"),
        ("launch: {}", "needs the attribute `children`"),
        ("launch: 3", "needs attributes or a list"),
        ("- launch: []", "one `launch:`"),
        ("launch: []\nother: 1", "one `launch:`"),
        ("launch:\n- a: {b: [}", "this is not YAML"),
        ("launch:\n\t- a", "this is not YAML"),
        ("launch: !!python/object/apply:os.getcwd []", "this is not YAML"),
        ("[" * 5000, "this is not YAML"),
        ("a: &a [*a]", "one `launch:`"),
        ("launch: 2024-13-45", "this is not YAML"),
    ],
)
def test_files_that_are_no_launch_files_are_refused(tmp_path, text, says):
    with pytest.raises(DataError) as error:
        load(tmp_path, text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DataError, match="Is a directory"):
        description.load(tmp_path)
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        description.load(tmp_path / "b")


def test_anchors_and_merges_are_yaml_and_keep_the_lines_of_what_is_wrong(tmp_path):
    text = "launch:\n- node: &shared {exec: a, output: screen}\n- node:\n    <<: *shared\n    exec: b\n    shell: 'x'\n"
    with pytest.raises(DataError, match=r":3: `node` does not take `shell`"):
        load(tmp_path, text)
    first, second = load(tmp_path, text.replace("    shell: 'x'\n", ""))
    assert (first.executable, second.executable) == ((Text("a"),), (Text("b"),))
    assert second.output == (Text("screen"),)


def test_without_pyyaml_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"reading launch files needs PyYAML.*robot-pt\[ros\]"):
        load(tmp_path, "launch: []\n")
