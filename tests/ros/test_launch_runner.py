"""Processes that really run: what they are given, how they are stopped, what is said about their end."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from robot_pt.errors import UserError
from robot_pt_ros.launch_runner import evaluate, interpreter, runner

WAITS = "import signal, sys, time\nprint('ready', flush=True)\n"
STUBBORN = WAITS + "signal.signal(signal.SIGINT, lambda *_: print('got SIGINT', flush=True))\n"


@pytest.fixture
def launched(tmp_path):
    """Start `robot-pt launch` on a file with scripts; `{name}` in the file is the path of script `name`."""
    started = []

    def start(text, *words, **scripts):
        for name, source in scripts.items():
            path = tmp_path / name
            path.write_text(f"#!{sys.executable}\n" + textwrap.dedent(source))
            path.chmod(0o755)
            text = text.replace(f"<{name}>", str(path))
        file = tmp_path / "a.launch.yaml"
        file.write_text("launch:\n" + textwrap.dedent(text))
        command = [sys.executable, "-m", "robot_pt", "launch", str(file), *words, "--json"]
        process = Launched(command)
        started.append(process)
        return process

    yield start
    for process in started:
        process.close()


class Launched:
    """`robot-pt launch` with its output read as it comes."""

    def __init__(self, command):
        self.lines = []
        pipe = subprocess.PIPE
        self._popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        self.pid = self._popen.pid
        self._reader = threading.Thread(target=lambda: self.lines.extend(iter(self._popen.stdout.readline, "")))
        self._reader.start()

    def wait_for(self, text, count=1, timeout_s=30.0):
        end_s = time.monotonic() + timeout_s
        while sum(text in line for line in self.lines) < count:
            assert time.monotonic() < end_s, f"no {text!r} in {self.lines}"
            time.sleep(0.01)

    def send(self, number):
        os.kill(self.pid, number)

    def end(self, timeout_s=30.0):
        """(exit code, its JSON)."""
        code = self._popen.wait(timeout_s)
        self._reader.join(5.0)
        return code, json.loads(self.lines[-1])

    @property
    def errors(self):
        return self._popen.stderr.read()

    def close(self):
        if self._popen.poll() is None:
            self._popen.terminate()
        try:
            self._popen.wait(20.0)
        except subprocess.TimeoutExpired:
            self._popen.kill()


def test_a_node_really_gets_its_arguments_parameters_environment_and_folder(launched, tmp_path):
    node = """\
        import json, os, sys
        files = [open(a).read() for a in sys.argv if a.endswith(".yaml")]
        print(json.dumps([sys.argv[1:], files, os.environ["E"], os.getcwd(), os.environ["F"], os.getpgid(0) == os.getpid()]))
        print("to stderr", file=sys.stderr)
        """
    text = f"""\
        - set_env: {{name: F, value: from file}}
        - group:
          - push_ros_namespace: {{namespace: sim}}
          - node: {{exec: <node>, name: n, args: a 'b c', param: [{{name: p, value: 0.5}}], remap: [{{from: x, to: y}}],
              env: [{{name: E, value: $(var e)}}], cwd: {tmp_path}}}
        - arg: {{name: e, default: x}}
        """
    launch = launched(text.replace("- arg", "- let").replace(", default", ", value"), node=node)
    code, result = launch.end()
    assert code == 2  # `let` comes after its use
    assert "$(var e)" in result["error"]
    launch = launched("- arg: {name: e}\n" + textwrap.dedent(text.rsplit("- arg", 1)[0]), "e:=v", node=node)
    code, result = launch.end()
    assert (code, result["exit codes"], result["failed"]) == (0, {"node-1": 0}, [])
    (line,) = [line for line in launch.lines if line.startswith("[node-1] [")]
    argv, files, e, folder, f, own_group = json.loads(line.removeprefix("[node-1] "))
    assert argv[:8] == ["a", "b c", "--ros-args", "-r", "__node:=n", "-r", "__ns:=/sim", "--params-file"]
    assert argv[9:] == ["-r", "x:=y"]
    assert "/sim/n" in files[0]
    assert "0.5" in files[0]
    assert (e, folder, f, own_group) == ("v", str(tmp_path), "from file", True)
    assert "[node-1] to stderr\n" in launch.lines
    assert not os.path.exists(argv[8])  # its parameters are gone with the launch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_all_at_once_and_a_clean_end_is_success(launched, number):
    polite = (
        WAITS + "signal.signal(signal.SIGINT, lambda *_: (print('bye', flush=True), sys.exit(0)))\ntime.sleep(60)\n"
    )
    default = WAITS + "signal.signal(signal.SIGINT, signal.SIG_DFL)\nprint('set', flush=True)\ntime.sleep(60)\n"
    text = "- executable: {cmd: <polite>}\n- executable: {cmd: <default>}\n- executable: {cmd: <polite>, name: third}\n"
    launch = launched(text, polite=polite, default=default)
    launch.wait_for("ready", 3)
    launch.wait_for("set")
    time.sleep(0.2)
    launch.send(number)
    code, result = launch.end()
    assert (code, result["stopped by"], result["failed"]) == (0, number.name, [])
    assert result["exit codes"] == {"polite-1": 0, "default-2": -signal.SIGINT, "third-3": 0}
    assert sum("bye" in line for line in launch.lines) == 2


def test_who_does_not_stop_gets_sigterm_and_then_sigkill_in_its_own_time(launched):
    deaf = (
        STUBBORN
        + "signal.signal(signal.SIGTERM, lambda *_: print('got SIGTERM', flush=True))\nprint('set', flush=True)\n"
    )
    slow = STUBBORN + "print('set', flush=True)\ntime.sleep(60)\n"
    text = """\
        - executable: {cmd: <deaf>, sigterm_timeout: 0.4, sigkill_timeout: 0.8}
        - executable: {cmd: <slow>}
        """
    loop = "while True: time.sleep(60)\n"
    launch = launched(text, "sigterm_timeout:=0.8", deaf=deaf + loop, slow=slow)
    launch.wait_for("set", 2)
    begin_s = time.monotonic()
    launch.send(signal.SIGINT)
    launch.wait_for("stopping: SIGINT")
    launch.send(signal.SIGINT)
    code, result = launch.end()
    assert time.monotonic() - begin_s >= 1.2
    assert (code, result["failed"]) == (1, ["deaf-1", "slow-2"])
    assert result["exit codes"] == {"deaf-1": -signal.SIGKILL, "slow-2": -signal.SIGTERM}
    told = [
        "[deaf-1] got SIGINT", "[launch] deaf-1: did not stop, sending SIGTERM", "[deaf-1] got SIGTERM",
        "[launch] deaf-1: did not stop, sending SIGKILL", "[launch] deaf-1: has died (SIGKILL)",
    ]  # fmt: skip
    lines = [line.strip() for line in launch.lines]
    assert [line for line in lines if line in told] == told
    assert any("SIGINT again: already stopping" in line for line in lines)


def test_a_stopped_process_is_killed_in_the_end(launched):
    launch = launched(
        "- executable: {cmd: <node>, sigterm_timeout: 0.2, sigkill_timeout: 0.2}\n", node=WAITS + "time.sleep(60)\n"
    )
    launch.wait_for("ready")
    (line,) = [line for line in launch.lines if "started with pid" in line]
    os.kill(int(line.split()[-1]), signal.SIGSTOP)
    launch.send(signal.SIGTERM)
    code, result = launch.end()
    assert (code, result["exit codes"]) == (1, {"node-1": -signal.SIGKILL})


def test_the_end_of_a_required_process_takes_the_others_down(launched, tmp_path):
    """It ends when the other has set its handler: a signal before that finds an interpreter that still starts."""
    for number, (source, code, failed) in enumerate((("", 0, []), ("raise SystemExit(3)", 1, ["short-2"]))):
        ready = str(tmp_path / f"ready{number}")
        waits = f"import signal, time\nsignal.signal(2, signal.SIG_DFL)\nopen({ready!r}, 'w').close()\ntime.sleep(60)\n"
        short = f"import os, time\nwhile not os.path.exists({ready!r}):\n    time.sleep(0.01)\n"
        text = "- executable: {cmd: <waits>}\n- executable: {cmd: <short>, on_exit: shutdown}\n"
        launch = launched(text, waits=waits, short=f"{short}{source}\n")
        got, result = launch.end()
        assert (got, result["stopped by"], result["failed"]) == (code, "the end of short-2", failed)
        assert result["exit codes"]["waits-1"] == -signal.SIGINT


def test_the_end_of_another_process_changes_nothing_and_its_failure_is_told(launched):
    launch = launched(
        "- executable: {cmd: <fails>}\n- executable: {cmd: <works>}\n- executable: {cmd: <dies>}\n",
        fails="raise SystemExit(7)", works="import time\ntime.sleep(0.5)\nprint('worked')\n",
        dies="import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    )  # fmt: skip
    code, result = launch.end()
    assert (code, result["stopped by"]) == (1, "the end of every process")
    assert result["exit codes"] == {"fails-1": 7, "works-2": 0, "dies-3": -signal.SIGSEGV}
    assert sorted(result["failed"]) == ["dies-3", "fails-1"]
    assert "[works-2] worked\n" in launch.lines
    assert "[launch] fails-1: has died (exit code 7)\n" in launch.lines
    assert "[launch] dies-3: has died (SIGSEGV)\n" in launch.lines


def test_what_a_process_leaves_behind_does_not_outlive_it(launched, tmp_path):
    parent = f"""\
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
        """
    code, _ = launched("- executable: {cmd: <parent>}\n", parent=parent).end(20.0)
    assert code == 0
    child = int((tmp_path / "child").read_text())
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s and _alive(child):
        time.sleep(0.02)
    assert not _alive(child)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_that_reads_the_terminal_stays_in_our_group(launched):
    source = "import os\nprint('group', os.getpgid(0) == os.getpgid(os.getppid()))\n"
    text = "- node: {exec: <asks>, env: [{name: ROBOT_PT_TERMINAL, value: '1'}]}\n- node: {exec: <asks>}\n"
    launch = launched(text, asks=source)
    launch.end()
    assert "[asks-1] group True\n" in launch.lines
    assert "[asks-2] group False\n" in launch.lines


def test_keys_and_ctrl_c_of_a_terminal_reach_the_node_that_reads_it_once(tmp_path):
    """As a person at a keyboard: a pseudo terminal, a key, then Ctrl-C, which the terminal sends to the foreground group itself."""
    scripts = {
        "reads": "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: (print('node int', flush=True), ends.append(time.monotonic() + 0.5)))\n"
        "ends = []\ntty = open('/dev/tty')\nprint('opened', flush=True)\nprint('key', tty.readline().strip(), flush=True)\n"
        "while not ends or time.monotonic() < ends[0]: time.sleep(0.05)\n",
        "waits": WAITS + "signal.signal(signal.SIGINT, signal.SIG_DFL)\ntime.sleep(60)\n",
    }
    for name, source in scripts.items():
        (tmp_path / name).write_text(f"#!{sys.executable}\n{source}")
        (tmp_path / name).chmod(0o755)
    file = tmp_path / "a.launch.yaml"
    file.write_text(
        f"launch:\n- node: {{exec: {tmp_path}/reads, env: [{{name: ROBOT_PT_TERMINAL, value: '1'}}]}}\n- node: {{exec: {tmp_path}/waits}}\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "robot_pt", "launch", str(file), "--json"])
    said, status = "", None
    try:
        for word, reply in (("opened", b"x\n"), ("key x", b""), ("ready", b"\x03"), ("exit_code", b"")):
            end_s = time.monotonic() + 30
            while word not in said:
                assert time.monotonic() < end_s, said
                if select.select([terminal], [], [], 1.0)[0]:
                    said += os.read(terminal, 65536).decode()
            os.write(terminal, reply)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)  # hangs up: whatever still runs is stopped
        if status is None:
            os.waitpid(pid, 0)
    assert said.count("node int") == 1
    assert '"reads-1": 0' in said
    assert '"waits-2": -2' in said
    assert os.waitstatus_to_exitcode(status) == 0


def test_output_that_is_no_text_or_one_long_line_comes_through(launched):
    source = "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe ok\\r\\n' + b'x' * 200_000 + b'\\nlast')\n"
    launch = launched("- executable: {cmd: <node>}\n", node=source)
    assert launch.end()[0] == 0
    assert "[node-1] \ufffd\ufffd ok\n" in launch.lines
    assert sum(line.count("x") for line in launch.lines if line.startswith("[node-1] x")) == 200_000
    assert "[node-1] last\n" in launch.lines


def test_a_reader_that_leaves_does_not_stop_the_processes(launched, tmp_path):
    file = tmp_path / "a.launch.yaml"
    script = tmp_path / "node"
    script.write_text(
        f"#!{sys.executable}\nimport time\nfor i in range(20): print(i, flush=True); time.sleep(0.02)\nopen({str(tmp_path / 'done')!r}, 'w')\n"
    )
    script.chmod(0o755)
    file.write_text(f"launch:\n- executable: {{cmd: {script}}}\n")
    command = f"{sys.executable} -m robot_pt launch {file} | head -1; test ${{PIPESTATUS[0]}} = 0"
    assert subprocess.run(["bash", "-c", command], capture_output=True, timeout=60).returncode == 0
    assert (tmp_path / "done").exists()


def test_nothing_is_started_when_one_program_is_missing(launched, tmp_path):
    text = "- executable: {cmd: <first>}\n- executable: {cmd: /no/such/program}\n"
    launch = launched(text, first=f"open({str(tmp_path / 'started')!r}, 'w')\n")
    code, result = launch.end()
    assert code == 2
    assert "program-2 cannot be started: /no/such/program is no program" in result["error"]
    assert not (tmp_path / "started").exists()


def test_what_fails_while_starting_stops_those_that_run(tmp_path):
    """The second file is a program by its rights, and the kernel does not take it."""
    waits, broken = tmp_path / "waits", tmp_path / "broken"
    waits.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    broken.write_bytes(b"\x7fELF nonsense")
    for path in (waits, broken):
        path.chmod(0o755)
    file = tmp_path / "a.launch.yaml"
    file.write_text(f"launch:\n- executable: {{cmd: {waits}}}\n- executable: {{cmd: {broken}}}\n")
    lines = []
    with pytest.raises(UserError, match=r"broken-2 cannot be started: .*Exec format"):
        runner.run(evaluate.plan(file, {}, os.environ), lambda label, text: lines.append(text))
    assert "stopping: a process that cannot be started" in lines
    assert any(line.startswith("waits-1: has ") for line in lines)


def test_signals_outside_the_main_thread_are_left_alone(tmp_path):
    file = tmp_path / "a.launch.yaml"
    file.write_text("launch:\n- executable: {cmd: 'true'}\n")
    before = signal.getsignal(signal.SIGINT)
    outcomes = []
    thread = threading.Thread(
        target=lambda: outcomes.append(runner.run(evaluate.plan(file, {}, os.environ), lambda *_: None))
    )
    thread.start()
    thread.join(30.0)
    assert outcomes[0].exit_codes == {"true-1": 0}
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ('{"version": [3, 10], "rclpy": true, "robot_pt": true, "robot_pt_ros": true}', "is Python 3.10"),
        ('{"version": [3, 12], "rclpy": true, "robot_pt": false, "robot_pt_ros": false}', "cannot import robot_pt and robot_pt_ros"),
        (
            '{"version": [3, 12], "rclpy": false, "robot_pt": true, "robot_pt_ros": true, "cyclonedds": false, "rosbags": true}',
            "cannot import cyclonedds; run: .* -m pip install 'robot-pt.ros.'",
        ),
        ("hello", "does not answer as a Python interpreter"),
    ],
)  # fmt: skip
def test_interpreters_that_cannot_run_the_nodes_are_refused(tmp_path, answer, says):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{answer}'\n")
    python.chmod(0o755)
    with pytest.raises(UserError, match=says):
        interpreter.check(str(python), os.environ)


def test_this_interpreter_runs_the_nodes_and_a_missing_one_does_not():
    interpreter.check(sys.executable, os.environ)
    with pytest.raises(UserError, match="python:=/no/python is no program"):
        interpreter.check("/no/python", os.environ)


@pytest.mark.parametrize("domain", ["abc", "233", "-1", "4.0"])
def test_a_domain_that_is_none_starts_nothing(tmp_path, domain):
    file = tmp_path / "a.launch.yaml"
    file.write_text("launch:\n- node: {pkg: robot_pt_ros, exec: manager, name: manager}\n")
    with pytest.raises(UserError, match=f"ROS_DOMAIN_ID is '{domain}'; set an integer"):
        runner.check(evaluate.plan(file, {}, {**os.environ, "ROS_DOMAIN_ID": domain}))
