"""From a launch file and its arguments to command lines: what launch_ros would start, word for word."""

import os
import re
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from robot_pt.errors import DataError, UserError
from robot_pt_ros.launch_runner import arguments, description, evaluate, packages


@pytest.fixture
def prefix(tmp_path):
    """An installed ROS 2 package `demo` with the executable `talker`."""
    root = tmp_path / "install"
    (root / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (root / "share/ament_index/resource_index/packages/demo").touch()
    (root / "lib/demo").mkdir(parents=True)
    (root / "lib/demo/talker").write_text("#!/bin/sh\n")
    (root / "lib/demo/talker").chmod(0o755)
    (root / "lib/demo/notes.txt").write_text("")
    return root


def planned(tmp_path, text, *words, **environment):
    path = tmp_path / "a.launch.yaml"
    path.write_text("launch:\n" + textwrap.dedent(text))
    return evaluate.plan(path, arguments.parse(words), {"PATH": os.environ["PATH"], **environment})


def echoes(tmp_path, text, *words, **environment):
    """The words behind `echo` of every executable."""
    return [" ".join(p.argv[1:]) for p in planned(tmp_path, text, *words, **environment)]


def test_a_node_gets_the_words_that_launch_ros_gives_it(tmp_path, prefix):
    (tmp_path / "limits.yaml").write_text("/**: {ros__parameters: {a: 1}}")
    text = f"""\
        - push_ros_namespace: {{namespace: fleet}}
        - node:
            pkg: demo
            exec: talker
            name: speaker
            namespace: one
            args: --count 3 "two words"
            ros_args: --log-level debug
            param:
            - {{name: rate, value: 5.0}}
            - {{from: {tmp_path}/limits.yaml}}
            - {{name: text, value: y}}
            remap: [{{from: chatter, to: /talk}}, {{from: a, to: b}}]
            launch-prefix: nice -n 5
        """
    (process,) = planned(tmp_path, text, AMENT_PREFIX_PATH=f"/nowhere:{prefix}")
    assert process.argv == (
        "nice", "-n", "5", f"{prefix}/lib/demo/talker", "--count", "3", "two words", "--ros-args", "--log-level", "debug",
        "--ros-args", "-r", "__node:=speaker", "-r", "__ns:=/fleet/one", "--params-file", "{params:0}",
        "--params-file", f"{tmp_path}/limits.yaml", "--params-file", "{params:1}", "-r", "chatter:=/talk", "-r", "a:=b",
    )  # fmt: skip
    assert [yaml.safe_load(p) for p in process.parameters] == [
        {"/fleet/one/speaker": {"ros__parameters": {"rate": 5.0}}},
        {"/fleet/one/speaker": {"ros__parameters": {"text": "y"}}},
    ]
    assert (process.label, process.required, process.interpreter) == ("talker-1", False, None)


def test_a_node_without_name_or_namespace_gets_neither_and_parameters_for_all(tmp_path):
    (process,) = planned(tmp_path, "- node: {exec: /bin/x, param: [{name: a, value: 1}]}\n")
    assert process.argv == ("/bin/x", "--ros-args", "--params-file", "{params:0}")
    assert yaml.safe_load(process.parameters[0]) == {"/**": {"ros__parameters": {"a": 1}}}


@pytest.mark.parametrize(
    ("pushed", "own", "namespace"),
    [
        ([], "a", "/a"),
        (["a"], None, "/a"),
        (["a", "b"], None, "/a/b"),
        (["a"], "b/c", "/a/b/c"),
        (["a"], "/b", "/b"),
        (["a", "/b"], None, "/b"),
        (["/"], None, "/"),
        (["/"], "a", "/a"),
        (["a/"], "b/", "/a/b"),
        ([""], None, "/"),
    ],
)
def test_namespaces_join_as_in_launch_ros(tmp_path, pushed, own, namespace):
    text = "".join(f"- push_ros_namespace: {{namespace: '{p}'}}\n" for p in pushed)
    text += f"- node: {{exec: e, name: n{'' if own is None else f', namespace: {own}'}}}\n"
    (process,) = planned(tmp_path, text)
    assert process.argv[4:6] == ("-r", f"__ns:={namespace}")


@pytest.mark.parametrize("name", ["a-b", "1a", "a/b", "", "ä", "a" * 300])
def test_names_that_rclpy_refuses_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="cannot be named"):
        planned(tmp_path, f"- node: {{exec: e, name: '{name}'}}\n")


@pytest.mark.parametrize("name", ["a-b", "1a", "a//b", "//a", "ä", "~", "a" * 300])
def test_namespaces_that_rclpy_refuses_are_refused(tmp_path, name):
    for entity in ("node: {exec: e, namespace: '%s'}", "push_ros_namespace: {namespace: '%s'}"):
        with pytest.raises(DataError, match="is no namespace"):
            planned(tmp_path, f"- {entity % name}\n")


def test_groups_keep_what_they_set_unless_they_are_open(tmp_path):
    text = """\
        - let: {name: a, value: outer}
        - group:
          - let: {name: a, value: inner}
          - set_env: {name: E, value: inner}
          - push_ros_namespace: {namespace: x}
          - executable: {cmd: echo $(var a) $(env E)}
          - node: {exec: echo, name: n}
        - executable: {cmd: echo $(var a) $(env E none)}
        - group:
            scoped: false
            children: [{let: {name: a, value: open}}, {unset_env: {name: HOME}}]
        - executable: {cmd: echo $(var a) $(env HOME none)}
        - node: {exec: echo, name: n}
        """
    found = echoes(tmp_path, text, HOME="/home")
    assert found[0] == "inner inner"
    assert found[1].endswith("__ns:=/x")
    assert found[2:4] == ["outer none", "open none"]
    assert "__ns" not in found[4]


@pytest.mark.parametrize(
    ("value", "applies"),
    [("true", True), ("1", True), (" True ", True), ("false", False), ("0", False), ("FALSE", False)],
)  # fmt: skip
def test_conditions_take_what_launch_takes(tmp_path, value, applies):
    text = "- arg: {name: c}\n- executable: {cmd: echo if, if: $(var c)}\n- executable: {cmd: echo unless, unless: $(var c)}\n"
    assert echoes(tmp_path, text, f"c:={value}") == ["if" if applies else "unless"]


@pytest.mark.parametrize("value", ["yes", "on", "", "2", "tru"])
def test_conditions_that_are_neither_true_nor_false_are_refused(tmp_path, value):
    text = "- arg: {name: c}\n- executable: {cmd: echo, if: $(var c)}\n"
    with pytest.raises(DataError, match=r"a\.launch\.yaml:3: a condition is"):
        planned(tmp_path, text, f"c:={value}")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("$(not true)", "false"),
        ("$(and true $(var yes))", "true"),
        ("$(or 0 false)", "false"),
        ("$(equals 1 true)", "true"),
        ("$(equals 1.0 1)", "true"),
        ("$(equals a b)", "false"),
        ("$(not-equals a b)", "true"),
        ("$(equals x$(var yes) x)", "false"),
        ("$(equals x$(var empty '') x)", "true"),
        ("$(if $(var yes) a $(var nothing))", "a"),
        ("$(if 0 a)", ""),
        ("$(var nothing b)", "b"),
        ("$(var yes $(var nothing))", "true"),
        ("$(env E)", "v"),
        ("$(env NOTHING 'a b')", "a b"),
        ("$(eval '1 + 1')", "2"),
        ("$(var $(var name))", "true"),
    ],
)
def test_substitutions(tmp_path, template, text):
    head = "- let: {name: 'yes', value: 'true'}\n- let: {name: name, value: 'yes'}\n"
    (process,) = planned(tmp_path, head + f'- executable: {{cmd: "echo {template}"}}\n', E="v")
    assert process.argv[1] == text


def test_places_and_anonymous_names(tmp_path, prefix):
    text = (
        "- executable: {cmd: echo $(dirname) $(filename) $(find-pkg-share demo) $(find-pkg-prefix demo) $(find-exec sh)}\n"
        "- executable: {cmd: echo $(anon a) $(anon a) $(anon b)}\n"
    )
    found = planned(tmp_path, text, AMENT_PREFIX_PATH=str(prefix))
    assert found[0].argv[1:5] == (str(tmp_path), f"{tmp_path}/a.launch.yaml", f"{prefix}/share/demo", str(prefix))
    assert Path(found[0].argv[5]).name == "sh"
    one, same, other = found[1].argv[1:]
    assert one == same != other
    assert re.fullmatch(r"a_\d+_\d+", one)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("$(var nothing)", "known here: robot"),
        ("$(env NOTHING)", "export NOTHING"),
        ("$(find-pkg-share nothing)", "package 'nothing' is not installed"),
        ("$(find-exec nothing-at-all)", "no such program"),
        ("$(eval nothing)", "cannot do 'nothing'"),
        ("$(not maybe)", "neither true nor false"),
        ("$(if maybe a b)", "give true or false"),
        ("$(equals $(var robot) '')", "as in $(equals x$(var a) x)"),
        ("$(not-equals '' a)", "put a letter before both"),
    ],
)
def test_substitutions_that_fail_say_where_and_why(tmp_path, template, says):
    with pytest.raises(DataError) as error:
        planned(tmp_path, f"- let: {{name: robot, value: sim}}\n- executable: {{cmd: echo {template}}}\n")
    assert "a.launch.yaml:3: " in str(error.value)
    assert says in str(error.value)


def test_words_are_split_around_substitutions_never_inside(tmp_path):
    text = "- let: {name: v, value: 'two words'}\n- executable: {cmd: \"echo a$(var v)b $(var v) $(var v)$(var v) 'c d' -e  f\"}\n"
    (process,) = planned(tmp_path, text)
    assert process.argv == ("echo", "atwo wordsb", "two words", "two wordstwo words", "c d", "-e", "f")


def test_includes_see_and_set_arguments_and_know_their_folder(tmp_path, prefix):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.launch.yaml").write_text(
        "launch:\n- arg: {name: needed}\n- arg: {name: optional, default: d}\n- arg: {name: shared, default: d}\n"
        "- executable: {cmd: echo $(var needed) $(var optional) $(var shared) $(dirname)}\n"
    )
    text = """\
        - arg: {name: shared}
        - include: {file: $(dirname)/sub/b.launch.yaml, arg: [{name: needed, value: $(var shared)2}]}
        - executable: {cmd: echo $(var needed) $(dirname)}
        """
    assert echoes(tmp_path, text, "shared:=s") == [f"s2 d s {tmp_path}/sub", f"s2 {tmp_path}"]
    assert echoes(tmp_path, text, "shared:=s", "optional:=o")[0] == f"s2 o s {tmp_path}/sub"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- include: {file: $(dirname)/b.launch.yaml}\n", ":2: the included file .* needs the argument n"),
        ("- let: {name: n, value: x}\n- include: {file: $(dirname)/b.launch.yaml}\n", ":3: .* needs the argument n"),
        ("- include: {file: $(dirname)/nothing.launch.yaml}\n", ":2: the included file .* is not there"),
        ("- include: {file: $(dirname)/a.launch.yaml}\n", ":2: .* in a circle"),
    ],
)
def test_includes_that_cannot_be_followed_are_refused(tmp_path, text, says):
    (tmp_path / "b.launch.yaml").write_text("launch:\n- arg: {name: n}\n")
    with pytest.raises(DataError, match=says):
        planned(tmp_path, text)


ARGUMENTS = """\
    - arg: {name: robot, choice: [{value: sim}, {value: real}], description: What is driven}
    - arg: {name: rate, default: '5'}
    - executable: {cmd: echo $(var robot) $(var rate)}
    """


def test_arguments_come_from_the_command_line_or_their_default(tmp_path):
    assert echoes(tmp_path, ARGUMENTS, "robot:=sim") == ["sim 5"]
    assert echoes(tmp_path, ARGUMENTS, "robot:=real", "rate:=", "robot:=sim") == ["sim "]
    assert echoes(tmp_path, ARGUMENTS, "robot:=sim", "rate:=a:=b") == ["sim a:=b"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], r"needs the argument robot \(What is driven\); give robot:=VALUE"),
        (["robot:=franka"], "robot:=franka is not possible; give one of sim, real"),
        (["robot:=sim", "rat:=5"], "takes no argument rat; did you mean rate?"),
        (["robot:=sim", "xyz:=5"], "takes no argument xyz; it takes robot, rate"),
        (["robot=sim"], "write name:=value"),
        ([":=sim"], "write name:=value"),
        (["robot:=sim", "sigterm_timeout:=soon"], "sigterm_timeout:=soon is no time"),
        (["robot:=sim", "sigkill_timeout:=-1"], "sigkill_timeout:=-1 is no time"),
        (["robot:=sim", "sigkill_timeout:=nan"], "is no time"),
        (["robot:=sim", "launch-prefix:='"], "`launch-prefix` is"),
    ],
)
def test_mistakes_in_arguments_are_one_sentence(tmp_path, words, says):
    with pytest.raises(UserError, match=says) as error:
        planned(tmp_path, ARGUMENTS, *words)
    assert "\n" not in str(error.value)


def test_an_argument_can_be_needed_under_a_condition_only(tmp_path):
    text = "- arg: {name: sim}\n- arg: {name: box, default: $(if $(var sim) 1 $(var box)), description: Walls}\n- executable: {cmd: echo $(var box)}\n"
    assert echoes(tmp_path, text, "sim:=true") == ["1"]
    assert echoes(tmp_path, text, "sim:=false", "box:=2") == ["2"]
    with pytest.raises(UserError, match=r"needs the argument box \(Walls\); give box:=VALUE"):
        planned(tmp_path, text, "sim:=false")


def test_timeouts_come_from_the_entity_or_from_launch_or_are_five_seconds(tmp_path):
    text = "- executable: {cmd: a, sigterm_timeout: 1.5}\n- executable: {cmd: b}\n- let: {name: sigkill_timeout, value: '7'}\n"
    timeouts = [(p.sigterm_timeout_s, p.sigkill_timeout_s) for p in planned(tmp_path, text)]
    assert timeouts == [(1.5, 7.0), (5.0, 7.0)]
    assert planned(tmp_path, text, "sigterm_timeout:=9")[1].sigterm_timeout_s == 9.0


def test_the_prefix_of_launch_goes_where_its_filter_says(tmp_path):
    text = "- executable: {cmd: one}\n- executable: {cmd: two}\n- executable: {cmd: two, launch-prefix: ''}\n"
    words = ("launch-prefix:=gdb --args", "launch-prefix-filter:=tw")
    assert [p.argv for p in planned(tmp_path, text, *words)] == [("one",), ("gdb", "--args", "two"), ("two",)]


@pytest.mark.parametrize(
    ("entity", "says"),
    [
        ("node: {pkg: demo, exec: listener}", "has no executable 'listener'"),
        ("node: {pkg: demo, exec: notes.txt}", "has no executable 'notes.txt'"),
        ("node: {pkg: other, exec: talker}", "package 'other' is not installed"),
        ("node: {pkg: robot_pt_ros, exec: nothing}", "robot_pt_ros has no executable 'nothing'"),
        ("node: {exec: e, param: [{from: /nothing.yaml}]}", "the parameter file /nothing.yaml is not there"),
        ("node: {exec: e, output: loud}", "give screen, log, both"),
        ("executable: {cmd: e, cwd: /nothing}", "is no folder"),
        ('executable: {cmd: "e \\0"}', "NUL"),
        ("executable: {cmd: e, env: [{name: A=B, value: c}]}", "cannot be named 'A=B'"),
    ],
)
def test_what_cannot_be_started_is_refused_before_anything_is(tmp_path, prefix, entity, says):
    with pytest.raises(DataError) as error:
        planned(tmp_path, f"- {entity}\n", AMENT_PREFIX_PATH=str(prefix))
    assert "a.launch.yaml:2: " in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ("", (sys.executable,)),
        ("/venv/bin/python", ("/venv/bin/python",)),
        ("nice python3.12", ("nice", "python3.12")),
        ("gdb --args", ("gdb", "--args", sys.executable)),
    ],
)
def test_our_nodes_run_as_modules_of_the_interpreter_asked_for(tmp_path, monkeypatch, given, start):
    monkeypatch.setattr(packages, "_HERE", tmp_path)
    (tmp_path / "camera_node.py").touch()
    text = (
        "- arg: {name: python, default: ''}\n- node: {pkg: robot_pt_ros, exec: camera, launch-prefix: $(var python)}\n"
    )
    (process,) = planned(tmp_path, text, f"python:={given}")
    assert process.argv == (*start, "-m", "robot_pt_ros", "camera", "--ros-args")
    assert (process.interpreter, process.label) == (start[-1], "camera-1")


def test_our_files_are_found_in_a_checkout_and_in_a_wheel(tmp_path, monkeypatch):
    root = Path(__file__).parents[2]
    assert packages.share("robot_pt_ros", {}) == root / "ros_nodes"
    assert packages.launch_folder() == root / "launch"
    monkeypatch.setattr(packages, "_HERE", tmp_path / "lib/python3.11/site-packages/robot_pt_ros")
    with pytest.raises(UserError, match="install robot-pt again"):
        packages.own_share()
    (tmp_path / "share/robot_pt_ros/launch").mkdir(parents=True)
    (tmp_path / "share/robot_pt_ros/package.xml").touch()
    assert packages.launch_folder() == tmp_path / "share/robot_pt_ros/launch"
    assert packages.prefix("robot_pt_ros", {}) == tmp_path


def test_show_args_says_name_default_choices_and_what_an_included_file_takes(tmp_path):
    (tmp_path / "b.launch.yaml").write_text(
        "launch:\n- arg: {name: inner, default: $(env HOME '')}\n- arg: {name: robot, default: x}\n- arg: {name: set, default: y}\n"
    )
    path = tmp_path / "a.launch.yaml"
    text = (
        textwrap.dedent(ARGUMENTS)
        + "- group:\n  - include: {file: $(dirname)/b.launch.yaml, arg: [{name: set, value: z}]}\n"
    )
    path.write_text("launch:\n" + text)
    known = arguments.declared(path, description.load(path), {})
    assert arguments.described(known) == [
        {"name": "robot", "description": "What is driven", "default": None, "choices": ["sim", "real"]},
        {"name": "rate", "description": "", "default": "5", "choices": []},
        {"name": "inner", "description": "", "default": "$(env HOME '')", "choices": []},
    ]
    shown = arguments.table(known)
    assert "robot   (required)\n      What is driven\n      one of: sim, real" in shown
    assert "rate   (default: '5')" in shown
    assert arguments.table({}) == "This launch file takes no arguments."
