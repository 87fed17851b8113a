"""launch/*.launch.yaml: every one is read, starts what it should, and says what it takes."""

import ast
import inspect
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from robot_pt import cli
from robot_pt.cli.robot import Launch
from robot_pt.errors import UserError
from robot_pt.gate.limits import GateLimits
from robot_pt.robots import load
from robot_pt_ros.launch_runner import arguments, description, evaluate, packages
from robot_pt_sim.kitchen.tasks import find_kitchen

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "launch").glob("*.launch.yaml"))
BOX = ("workspace_min:=[0.15, -0.15, 0.02]", "workspace_max:=[0.4, 0.2, 0.25]")
COMMANDS = {
    "sim": ("checkpoint:=RUN", "task:=lift-red"),
    "robot": ("robot:=wx250s", "checkpoint:=RUN", "teleop:=joy", *BOX),
    "collect": ("task:=lift-red",),
    "replay": ("store:=demos",),
    "online": ("checkpoint:=RUN", "run:=LEARNER", "task:=lift-red"),
    "graph": ("robot:=sim", *BOX),
}


def setup_py():
    """The keyword arguments and NODES of setup.py, without running it."""
    tree = ast.parse((ROOT / "ros_nodes/setup.py").read_text())
    (nodes,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "NODES"]
    (call,) = [n.value for n in tree.body if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)]
    return {k.arg: k.value for k in call.keywords}, ast.literal_eval(nodes)


@pytest.fixture
def plan(monkeypatch):
    """Processes of a launch file; an executable is there if setup.py installs it."""
    _, nodes = setup_py()

    def program(package, executable, environment):
        assert package == "robot_pt_ros"
        assert executable in nodes
        return ("-m", "robot_pt_ros", executable)

    monkeypatch.setattr(packages, "program", program)

    def made(name, *words):
        return evaluate.plan(ROOT / f"launch/{name}.launch.yaml", arguments.parse(words), {"HOME": "/home/u"})

    return made


def parameters(process):
    """{name: value} of the file's own `param` entries."""
    found = {}
    for text in process.parameters:
        ((_, values),) = yaml.safe_load(text).items()
        found |= values["ros__parameters"]
    return found


def names(processes):
    return [next(w.removeprefix("__node:=") for w in p.argv if w.startswith("__node:=")) for p in processes]


def test_these_are_the_files():
    assert {path.name.removesuffix(".launch.yaml") for path in FILES} == set(COMMANDS)


def test_every_file_is_named_where_users_look():
    """By the verb's help, and in the table of what each does; in the wheel they are found by these names."""
    shown = inspect.getsource(Launch)
    table = (ROOT / "ros_nodes" / "README.md").read_text()
    for name in COMMANDS:
        assert re.search(rf"robot-pt brings: .*\b{name}\b", shown), name
        assert f"\n| `{name}` |" in table, name


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_file_is_planned_with_what_it_needs_and_refused_without(plan, name):
    assert plan(name, *COMMANDS[name])
    with pytest.raises(UserError, match="needs the argument"):
        plan(name)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_argument_is_described_and_only_simple_words_are_choices(path):
    known = arguments.declared(path, description.load(path), os.environ)
    assert known
    for argument in known.values():
        assert argument.description, argument.name
        assert len(argument.description) < 200


def test_sim_closes_the_loop_and_brings_itself_up(plan):
    processes = plan("sim", *COMMANDS["sim"])
    assert names(processes) == ["sim", "supervisor", "policy", "episodes", "manager"]
    sim, supervisor, policy, _, manager = map(parameters, processes)
    assert (sim["task"], policy["task"], policy["checkpoint"]) == ("lift-red", "lift-red", "RUN")
    assert (supervisor["hardware"], supervisor["workspace_min"]) == (False, [0.2, -0.5, -0.1])
    assert manager["nodes"] == ["sim", "supervisor", "policy"]
    assert manager["trigger"] == ["safety/arm", "safety/start_policy", "policy/start"]
    assert parameters(plan("sim", *COMMANDS["sim"], "start:=false")[-1])["trigger"] == [""]


@pytest.mark.parametrize("name", ["sim", "collect", "replay", "online"])
def test_in_the_kitchens_the_gates_walls_are_the_twins(plan, name):
    """With the Panda's an arm stopped at x 0.20 m, before things that lie from 0.18 m on."""
    limits = find_kitchen("kitchen/put-croissant-on-plate@6").limits
    words = [word for word in COMMANDS[name] if not word.startswith("task:=")]
    for task, low, high in (
        ("kitchen/put-croissant-on-plate@6", limits.low[:3], limits.high[:3]),
        ("lift-red", [0.2, -0.5, -0.1], [0.9, 0.7, 0.6]),
    ):
        processes = plan(name, *words, f"task:={task}")
        supervisor = parameters(processes[names(processes).index("supervisor")])
        assert supervisor["workspace_min"] == pytest.approx(list(low))
        assert supervisor["workspace_max"] == pytest.approx(list(high))
    processes = plan(name, *words, "task:=kitchen/open-door@5", *BOX)
    supervisor = parameters(processes[names(processes).index("supervisor")])
    assert supervisor["workspace_min"] == [0.15, -0.15, 0.02], "what is given wins"


@pytest.mark.parametrize(
    ("name", "words", "watched"),
    [
        ("sim", (), ["primary"]),
        ("sim", ("cameras:=[primary, wrist]",), ["primary", "wrist"]),
        ("sim", ("lockstep:=true",), [""]),
        ("robot", (), ["primary"]),
        ("robot", ("wrist_camera:=/dev/video2",), ["primary", "wrist"]),
        ("robot", ("camera:=",), [""]),
        ("robot", ("camera:=", "watch:=[front]"), ["front"]),
        ("collect", (), [""]),
        ("replay", (), [""]),
    ],
)
def test_the_gate_watches_the_cameras_that_a_policy_looks_at(plan, name, words, watched):
    found = dict(zip(names(p := plan(name, *COMMANDS[name], *words)), map(parameters, p), strict=True))
    assert found["supervisor"]["cameras"] == watched


def test_episodes_run_by_themselves_and_no_second_starter_interferes(plan):
    found = dict(zip(names(p := plan("sim", *COMMANDS["sim"])), map(parameters, p), strict=True))
    assert (found["episodes"]["episodes"], found["episodes"]["max_steps"]) == (0, 0)
    words = (*COMMANDS["sim"], "episodes:=20", "max_steps:=50")
    found = dict(zip(names(p := plan("sim", *words)), map(parameters, p), strict=True))
    assert (found["episodes"]["episodes"], found["episodes"]["max_steps"]) == (20, 50)
    assert found["manager"]["trigger"] == [""]
    for wrong in ("episodes:=many", "max_steps:=1.5"):
        with pytest.raises(UserError, match=wrong.partition(":=")[2]):
            plan("sim", *COMMANDS["sim"], wrong)


def test_an_arm_is_hardware_with_cameras_and_an_operator_and_never_starts_itself(plan):
    processes = plan("robot", *COMMANDS["robot"], "wrist_camera:=/dev/video2")
    assert names(processes) == [
        "arm",
        "camera_primary",
        "camera_wrist",
        "supervisor",
        "policy",
        "teleop",
        "episodes",
        "manager",
    ]
    found = dict(zip(names(processes), map(parameters, processes), strict=True))
    assert (found["supervisor"]["hardware"], found["supervisor"]["allow_domain_0"]) == (True, False)
    assert found["supervisor"]["latch_file"] == "/home/u/.ros/robot_pt_wx250s_latch.json"
    assert found["camera_wrist"]["source"] == "/dev/video2"
    assert found["manager"]["trigger"] == [""]
    assert found["manager"]["nodes"] == ["arm", "camera_primary", "camera_wrist", "supervisor", "teleop", "policy"]
    with pytest.raises(UserError, match="takes no argument start"):
        plan("robot", *COMMANDS["robot"], "start:=true")


@pytest.mark.parametrize("word", ["workspace_min", "workspace_max", "teleop"])
def test_an_arm_needs_a_box_and_a_device_to_hold(plan, word):
    with pytest.raises(UserError, match=f"needs the argument {word}"):
        plan("robot", *(w for w in COMMANDS["robot"] if not w.startswith(word)))


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("robot", (), True),
        ("replay", ("robot:=franka", *BOX), True),
        ("online", ("robot:=wx250s", "teleop:=joy", *BOX), True),
        ("collect", ("robot:=wx250s", *BOX), False),
        ("collect", ("robot:=wx250s", "checkpoint:=RUN", *BOX), True),
        ("graph", ("teleop:=keyboard", "checkpoint:=RUN"), False),
    ],
)
def test_a_device_is_told_that_a_policy_moves_a_real_arm(plan, name, words, told):
    found = dict(zip(names(p := plan(name, *COMMANDS[name], *words)), map(parameters, p), strict=True))
    assert found["teleop"]["policy_on_arm"] is told


@pytest.mark.parametrize("device", ["keyboard", "spacenav"])
def test_no_device_that_cannot_be_held_drives_a_policy_on_an_arm(plan, device):
    words = (w for w in COMMANDS["robot"] if not w.startswith("teleop"))
    with pytest.raises(UserError, match=f"teleop:={device} is not possible; give one of joy, topic"):
        plan("robot", *words, f"teleop:={device}")
    with pytest.raises(UserError, match=f"teleop:={device} is not possible; give one of none, joy, topic"):
        plan("replay", "store:=d", "robot:=franka", *BOX, f"teleop:={device}")


@pytest.mark.parametrize("file", ["collect", "replay"])
@pytest.mark.parametrize("robot", ["wx250s", "ros2_control", "franka"])
def test_simulation_has_a_box_of_its_own_and_an_arm_none(plan, file, robot):
    with pytest.raises(UserError, match="workspace_min"):
        plan(file, *COMMANDS[file], f"robot:={robot}")
    assert "arm" in names(plan(file, *COMMANDS[file], f"robot:={robot}", *BOX))


def test_collect_records_with_an_operator_and_no_policy(plan):
    processes = plan("collect", *COMMANDS["collect"], "store:=/data/demos")
    found = dict(zip(names(processes), map(parameters, processes), strict=True))
    assert list(found) == ["sim", "supervisor", "teleop", "recorder", "episodes", "manager"]
    assert found["recorder"]["root"] == "/data/demos"
    assert (found["recorder"]["simulated"], found["recorder"]["prompt"], found["sim"]["seed"]) == (True, "", -1)
    assert (found["teleop"]["device"], found["teleop"]["window"], found["episodes"]["record"]) == (
        "keyboard",
        True,
        True,
    )
    (teleop,) = [p for p in processes if p.label.startswith("teleop")]
    assert teleop.environment["ROBOT_PT_TERMINAL"] == "1"


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["task:=lift-red"], "sim"),
        (["task:=kitchen/open-drawer@2"], "sim_kitchen"),
        (["task:=kitchen/open-drawer", "config:=@"], ""),
        (["task:=mother's lid", "robot:=wx250s", "workspace_min:=[0.1, 0.1, 0.1]", "workspace_max:=[0.2, 0.2, 0.2]"], "wx250s"),
        (["task:=kitchen/x", "robot:=franka", "workspace_min:=[0.1, 0.1, 0.1]", "workspace_max:=[0.2, 0.2, 0.2]"], "franka"),
    ],
)  # fmt: skip
def test_settings_follow_from_the_robot_and_in_simulation_from_the_task(plan, tmp_path, arguments, settings):
    mine = tmp_path / "mine.yaml"
    mine.write_text("{}\n")
    for process in plan("collect", *(word.replace("@", str(mine)) if "config" in word else word for word in arguments)):
        words = list(process.argv)
        given = Path(words[words.index("--params-file") + 1])
        assert given == (mine if not settings else given.with_name(f"{settings}.yaml")), words


def test_replay_plays_an_episode_through_the_same_graph(plan):
    found = dict(zip(names(p := plan("replay", "store:=d", "episode:=3")), map(parameters, p), strict=True))
    assert (found["policy"]["replay_store"], found["policy"]["replay_episode"], found["policy"]["checkpoint"]) == (
        "d",
        3,
        "",
    )
    assert "supervisor" in found
    on_arm = ("store:=d", "robot:=franka", *BOX)
    assert names(plan("replay", *on_arm)) == ["arm", "supervisor", "policy", "teleop", "episodes", "manager"]
    assert names(plan("replay", *on_arm, "camera:=/dev/video2", "record:=true"))[1] == "camera_primary"


def test_online_takes_versions_by_itself_in_simulation_and_after_the_operator_on_an_arm(plan):
    found = dict(zip(names(p := plan("online", *COMMANDS["online"], "store:=demos")), map(parameters, p), strict=True))
    assert list(found) == ["sim", "supervisor", "policy", "recorder", "episodes", "manager", "online"]
    assert (found["online"]["run"], found["online"]["store"], found["recorder"]["root"]) == (
        "LEARNER",
        "demos",
        "demos",
    )
    assert (found["online"]["confirm"], found["policy"]["checkpoint"], found["episodes"]["record"]) == (
        False,
        "RUN",
        True,
    )
    assert "online" not in found["manager"]["nodes"], "its end is nobody's"
    words = (*COMMANDS["online"], "robot:=wx250s", "teleop:=joy", *BOX)
    processes = plan("online", *words)
    found = dict(zip(names(processes), map(parameters, processes), strict=True))
    assert found["online"]["confirm"] is True
    assert found["supervisor"]["hardware"] is True
    assert "__ns:=/wx250s/pt" in processes[-1].argv
    assert parameters(plan("online", *words, "confirm:=false")[-1])["confirm"] is False
    for missing in ("teleop", "workspace_min"):
        with pytest.raises(UserError, match=missing):
            plan("online", *(w for w in words if not w.startswith(missing)))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_order_down_is_safe(plan, name):
    """Whose end must take the rest down does so; recorder, supervisor, arm, policy and manager have longer than others to leave."""
    for process in plan(name, *COMMANDS[name], *(["record:=true"] if name not in ("collect", "online") else [])):
        kind = process.label.rpartition("-")[0]
        bodies = ("sim", "arm", "supervisor", "manager")
        assert process.required == (kind in (*bodies, "episodes"))
        assert process.sigterm_timeout_s == {"recorder": 20.0, "policy": 10.0}.get(
            kind, 10.0 if kind in bodies else 5.0
        )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_node_takes_the_interpreter_and_the_namespace(plan, name):
    for process in plan(name, *COMMANDS[name], "python:=/venv/bin/python", "namespace:=left"):
        assert process.argv[:2] == ("/venv/bin/python", "-m")
        assert "__ns:=/left" in process.argv


def test_lockstep_means_simulated_time_for_every_node(plan):
    for process in plan("sim", *COMMANDS["sim"], "lockstep:=true", "record:=true")[:-1]:
        found = parameters(process)
        assert found.get("lockstep", True) is True
        assert found.get("use_sim_time", True) is True


@pytest.mark.parametrize("path", sorted((ROOT / "ros_nodes/config").glob("*.yaml")), ids=lambda p: p.stem)
def test_settings_of_a_robot_are_ones_its_arm_and_the_gate_take(path):
    nodes = yaml.safe_load(path.read_text())
    arm = load(nodes["/**"]["ros__parameters"]["robot"])
    given = nodes["/**/supervisor"]["ros__parameters"]
    names_ = {"control_rate_hz": "control_hz", "max_step_translation_m": "max_step_m", "max_step_rotation_rad": "max_step_rad",
              "max_joint_velocity": "max_joint_velocity_rad_s", "max_obs_age_s": "max_observation_age_s"}  # fmt: skip
    from robot_pt.gate.limits import Box

    changes = {names_.get(name, name): value for name, value in given.items()}
    hardware = not path.stem.startswith("sim")
    limits = GateLimits.for_robot(
        arm, workspace=Box((0.15, -0.15, 0.02), (0.4, 0.2, 0.25)), hardware=hardware, **changes
    )
    assert limits.require_deadman is hardware


def test_robots_of_the_files_have_settings():
    known = arguments.declared(path := ROOT / "launch/graph.launch.yaml", description.load(path), {})
    assert set(known["robot"].choices) == {
        p.stem for p in (ROOT / "ros_nodes/config").glob("*.yaml") if not p.stem.startswith("sim_")
    }


def test_one_version_everywhere():
    keywords, _ = setup_py()
    version = ast.literal_eval(keywords["version"])
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()
    assert f"<version>{version}</version>" in (ROOT / "ros_nodes/package.xml").read_text()


def test_commands_in_the_files_comments_are_ones_that_work(plan):
    """Every `robot-pt launch FILE words` and `ros2 launch robot_pt_ros FILE words` in a comment, continued lines joined."""
    seen = 0
    for path in FILES:
        comment = " ".join(
            line.lstrip("# ")
            for line in itertools.takewhile(lambda x: x.startswith("#"), path.read_text().splitlines())
        )
        for start in ("robot-pt launch launch/", "ros2 launch robot_pt_ros "):
            for found in comment.split(start)[1:]:
                file, *rest = shlex.split(found.replace("…", ""))
                words = list(itertools.takewhile(lambda w: ":=" in w, rest))
                assert plan(file.removesuffix(".launch.yaml"), *words)
                seen += 1
    assert seen >= 5


def test_the_verb_explains_prints_and_refuses(capsys):
    assert cli.main(["launch", "sim", "--show-args"]) == 0
    shown = capsys.readouterr().out
    assert "checkpoint   (required)" in shown
    assert "one of: true, false" in shown
    assert cli.main(["launch", str(ROOT / "launch/sim.launch.yaml"), "--show-args", "--json"]) == 0
    listed = {a["name"]: a for a in json.loads(capsys.readouterr().out)["arguments"]}
    assert (listed["checkpoint"]["default"], listed["lockstep"]["choices"]) == (None, ["true", "false"])
    for words, says in (
        (["sim"], "give checkpoint:=VALUE"),
        (["nothing"], "one of collect, graph, online, replay, robot, sim"),
    ):
        assert cli.main(["launch", *words]) == 2
        assert says in capsys.readouterr().err


def test_print_shows_commands_and_starts_nothing(tmp_path, capsys):
    file = tmp_path / "a.launch.yaml"
    file.write_text(
        "launch:\n- arg: {name: a}\n- node: {exec: /bin/false, args: 'x y $(var a)', param: [{name: p, value: 1}]}\n"
    )
    assert cli.main(["launch", str(file), "a:=b c", "--print"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "[false-1] /bin/false x y 'b c' --ros-args --params-file '{params:0}'"
    assert shown[1] == "# params:0"
    assert cli.main(["launch", str(file), "a:=b", "--print", "--json"]) == 0
    (process,) = json.loads(capsys.readouterr().out)["processes"]
    assert process["command"][:4] == ["/bin/false", "x", "y", "b"]
    file.write_text("launch: []\n")
    assert cli.main(["launch", str(file)]) == 2
    assert "starts nothing" in capsys.readouterr().err


def test_launching_imports_no_torch_and_no_simulator():
    code = "import sys; from robot_pt.cli import main; main(['launch', 'sim', '--show-args']); "
    code += "print(sorted({'torch', 'mujoco', 'tensorflow', 'zarr', 'cyclonedds'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] in ("[]", "['cyclonedds']")


@pytest.mark.parametrize(("name", "simulated"), [("sim", True), ("robot", False), ("online", True)])
def test_a_sentence_reaches_policy_and_episodes(plan, name, simulated):
    """A policy with language acts by it; in simulation the simulator has one where none is given."""
    for words, sentence in (((), ""), (("prompt:=lift the red cube",), "lift the red cube")):
        planned = plan(name, *COMMANDS[name], *words)
        given = {node: parameters(process) for node, process in zip(names(planned), planned, strict=True)}
        assert given["policy"]["prompt"] == given["episodes"]["prompt"] == sentence
        assert given["policy"]["simulated"] is simulated
