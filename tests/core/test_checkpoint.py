import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robot_pt import checkpoint
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.observers import read_metrics
from robot_pt.policy_record import PolicyRecord
from robot_pt.safe_files import read_json
from robot_pt.safe_tensors import read_tensors
from robot_pt.schema import Spec
from robot_pt.tasks import TaskTable

RUN = Path(__file__).with_name("toy_run.py")
SPEC = Spec(cameras={"primary": (8, 8), "wrist": (4, 4)}, embodiment="toy")
RECORD = PolicyRecord.of(
    agent="line", network={"cameras": ["primary"], "image_size": [8, 8]}, spec=SPEC, tasks=TaskTable.of(["lift"])
)


class Line:
    """The smallest agent: one layer, one optimiser, noise from the global generator."""

    def __init__(self, width=3):
        self.actor = self.acting = nn.Linear(width, 2)
        self.optimizer = torch.optim.Adam(self.actor.parameters(), lr=0.1)

    def update(self):
        self.optimizer.zero_grad()
        self.actor(torch.randn(5, self.actor.in_features)).square().mean().backward()
        self.optimizer.step()

    def state_dict(self):
        out = {f"actor.{n}": v for n, v in self.actor.state_dict().items()}
        for i, values in self.optimizer.state_dict()["state"].items():
            out |= {f"optimizer.{i}.{n}": v for n, v in values.items()}
        return out

    def load_state_dict(self, state):
        if state["actor.weight"].shape != self.actor.weight.shape:
            raise MismatchError("another width.")
        self.actor.load_state_dict({n[6:]: v for n, v in state.items() if n.startswith("actor.")})
        moments = {}
        for name, value in state.items():
            if name.startswith("optimizer."):
                _, i, key = name.split(".")
                moments.setdefault(int(i), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def save(run, step, agent=None, **options):
    return checkpoint.save(run, step, agent or Line(), RECORD, {"replay": {"next_batch": step}}, **options)


def test_an_agent_with_optimiser_and_global_noise_continues_bit_for_bit(tmp_path):
    agent = Line()
    agent.update()
    save(tmp_path, 1, agent)
    for _ in range(3):
        agent.update()
    torch.manual_seed(99)
    other = Line()
    assert checkpoint.resume(tmp_path, other) == (1, {"replay": {"next_batch": 1}})
    for _ in range(3):
        other.update()
    assert all(torch.equal(a, b) for a, b in zip(agent.actor.parameters(), other.actor.parameters(), strict=True))


def test_the_folder_holds_four_plain_files_and_a_latest_link(tmp_path):
    folder = save(tmp_path, 12)
    assert folder == tmp_path / "checkpoints" / "step_00000012"
    names = {"weights.safetensors", "policy.json", "trainer.safetensors", "trainer.json"}
    assert {p.name for p in folder.iterdir()} == names
    assert os.readlink(tmp_path / "latest") == "checkpoints/step_00000012"
    assert (folder / "weights.safetensors").stat().st_mode & 0o777 == 0o644
    policy = read_json(folder / "policy.json")
    assert policy["step"] == 12
    assert policy["spec"]["cameras"] == {"primary": [8, 8]}, "only what the policy looks at"
    fresh = Line()
    checkpoint.load_weights(folder, fresh.actor)
    assert torch.equal(fresh.actor.weight, read_tensors(folder / "weights.safetensors")["weight"])


def test_a_run_can_be_moved(tmp_path):
    save(tmp_path / "a", 1)
    (tmp_path / "a").rename(tmp_path / "b")
    assert checkpoint.resolve(tmp_path / "b").name == "step_00000001"


def test_resolve_prefers_selected_then_latest_then_the_newest_whole_one(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert checkpoint.resolve(tmp_path).name == "step_00000003"
    assert checkpoint.select(tmp_path, 2).name == "step_00000002"
    assert checkpoint.resolve(str(tmp_path)).name == "step_00000002"
    assert checkpoint.resolve(tmp_path / "latest").name == "step_00000003"
    assert checkpoint.resolve(tmp_path / "checkpoints" / "step_00000001").name == "step_00000001"
    (tmp_path / "selected").unlink()
    (tmp_path / "latest").unlink()
    assert checkpoint.resolve(tmp_path).name == "step_00000003"


def test_resolve_and_select_say_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="has no checkpoint yet"):
        checkpoint.resolve(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        checkpoint.resolve(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no checkpoint 7; it has none"):
        checkpoint.select(tmp_path, 7)
    with pytest.raises(DataError, match="without --resume"):
        checkpoint.resume(tmp_path, Line())


def test_old_trainer_files_go_and_policies_stay_for_selection(tmp_path):
    for step in range(1, 6):
        save(tmp_path, step, keep=2)
    assert checkpoint.steps(tmp_path) == [1, 2, 3, 4, 5]
    with_trainer = [s for s in range(1, 6) if (checkpoint.folder_of(tmp_path, s) / "trainer.safetensors").exists()]
    assert with_trainer == [4, 5]
    assert (checkpoint.folder_of(tmp_path, 1) / "weights.safetensors").exists()


def test_keep_policies_bounds_the_disk_and_spares_the_selected_one(tmp_path):
    save(tmp_path, 1)
    checkpoint.select(tmp_path, 1)
    for step in range(2, 7):
        save(tmp_path, step, keep=1, keep_policies=2)
    assert checkpoint.steps(tmp_path) == [1, 5, 6]
    assert checkpoint.resolve(tmp_path).name == "step_00000001"
    with pytest.raises(UserError, match="at least 1"):
        save(tmp_path, 9, keep=0)


def test_saving_a_step_again_replaces_it(tmp_path):
    one, two = Line(), Line()
    save(tmp_path, 5, one)
    save(tmp_path, 5, two)
    fresh = Line()
    checkpoint.load_weights(tmp_path / "latest", fresh.actor)
    assert torch.equal(fresh.actor.weight, two.actor.weight)
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_leavings_of_a_killed_save_are_ignored_and_cleared(tmp_path):
    save(tmp_path, 1)
    torn = tmp_path / "checkpoints" / ".step_00000002.part"
    torn.mkdir()
    (torn / "policy.json").write_text("{")
    assert checkpoint.resolve(tmp_path).name == "step_00000001"
    assert checkpoint.steps(tmp_path) == [1]
    save(tmp_path, 3)
    assert not torn.exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    save(tmp_path, 1, Line(width=4))
    with pytest.raises(MismatchError):
        checkpoint.resume(tmp_path, Line())
    with pytest.raises(DataError, match="weight has shape"):
        checkpoint.load_weights(tmp_path / "latest", Line().actor)


@pytest.mark.parametrize("name", ["trainer.safetensors", "trainer.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damage_is_noticed(tmp_path, name, damage):
    path = save(tmp_path, 1) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80
    path.write_bytes({"flip": bytes(content), "cut": bytes(content[: len(content) // 2]), "empty": b""}[damage])
    with pytest.raises(DataError, match=r"damaged|no safetensors"):
        checkpoint.resume(tmp_path, Line())


@pytest.mark.parametrize("change", [{"format_version": 9}, {"step": "1"}, {"state": []}, {"trainer_sha256": None}])
def test_a_trainer_file_of_another_kind_is_refused(tmp_path, change):
    path = save(tmp_path, 1) / "trainer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError):
        checkpoint.resume(tmp_path, Line())


@pytest.mark.parametrize("change", [{"step": 2}, {"state": {"at": 8}}, {"state": {}}, {"state_sha256": None}])
def test_a_position_that_is_not_the_one_written_is_refused(tmp_path, change):
    state = {"at": 7, "share": 0.1, "of": {"1": [None, True, "ü"]}}
    path = checkpoint.save(tmp_path, 1, Line(), RECORD, state) / "trainer.json"
    document = json.loads(path.read_text())
    assert checkpoint.resume(tmp_path, Line()).state == state
    path.write_text(json.dumps({**document, **change}))
    with pytest.raises(DataError, match=r"trainer\.json was changed after it was written"):
        checkpoint.resume(tmp_path, Line())


def test_a_checkpoint_from_before_positions_were_hashed_still_resumes(tmp_path):
    path = save(tmp_path, 1) / "trainer.json"
    document = json.loads(path.read_text())
    del document["state_sha256"]
    path.write_text(json.dumps(document))
    assert checkpoint.resume(tmp_path, Line()) == (1, {"replay": {"next_batch": 1}})


def test_random_state_of_another_machine_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_random_state", lambda: {"random.cpu": torch.zeros(3, dtype=torch.uint8)})
    save(tmp_path, 1)
    monkeypatch.undo()
    agent, before = Line(), torch.get_rng_state()
    checkpoint.resume(tmp_path, agent)
    assert torch.equal(before, torch.get_rng_state())


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import test_checkpoint as t
from robot_pt.errors import DataError
t.save(Path({run!r}), 1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (100_000, 300, 0):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        t.save(Path({run!r}), 2, t.Line(width=50_000))
    except DataError as error:
        sys.stdout.write(str(error) + chr(10))
"""


def test_a_disk_that_takes_no_more_loses_nothing(tmp_path):
    """The kernel's file size limit stands in for a full disk: writes fail half-way with an OSError."""
    code = FULL_DISK.format(folder=str(RUN.parent), run=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "checkpoint 2 could not be written" in line
        assert "checkpoint 1 is intact" in line
    assert checkpoint.steps(tmp_path) == [1]
    assert checkpoint.resume(tmp_path, Line()).step == 1
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_resuming_mends_latest_by_one_process_only(tmp_path, monkeypatch):
    save(tmp_path, 1)
    older = checkpoint.folder_of(tmp_path, 1)
    save(tmp_path, 2)
    checkpoint._point(tmp_path, "latest", older)  # as a kill between rename and link leaves it
    assert checkpoint.resume(tmp_path, Line(), relink=False).step == 2
    assert (tmp_path / "latest").resolve() == older.resolve()
    assert checkpoint.resume(tmp_path, Line()).step == 2
    assert (tmp_path / "latest").resolve() == checkpoint.folder_of(tmp_path, 2).resolve()

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(checkpoint, "_point", refuse)
    with pytest.raises(DataError, match="latest could not be set: Read-only file system"):
        checkpoint.resume(tmp_path, Line())


KILLED_AT_EVERY_CALL = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import torch
import test_checkpoint as t
from robot_pt import checkpoint

base = Path({base!r})
first = t.Line()
t.save(base / "run", 4)
t.save(base / "run", 5, first)
second = t.Line()

def child(run, step, number):
    seen = 0
    def watch(event, arguments):
        nonlocal seen
        seen += event.split(".")[0] in ("os", "open", "shutil", "ctypes")
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    t.save(run, step, second)
    os._exit(0)

for step in (5, 6):
    number, killed = 0, True
    while killed:
        number += 1
        run = base / f"{{step}}-{{number}}"
        shutil.copytree(base / "run", run, symlinks=True)
        pid = os.fork()
        if pid == 0:
            child(run, step, number)
        killed = os.waitpid(pid, 0)[1] == signal.SIGKILL
        newest = checkpoint.steps(run)[-1]
        assert newest in (5, step), (number, newest)
        assert checkpoint.resolve(run) == checkpoint.folder_of(run, newest).resolve(), number
        agent = t.Line()
        assert checkpoint.resume(run, agent).step == newest, number
        expected = [second] if newest == 6 else [first, second] if step == 5 else [first]
        assert any(torch.equal(agent.actor.weight, e.actor.weight) for e in expected), number
        t.save(run, 7)
        assert not list((run / "checkpoints").glob(".*")), number
        shutil.rmtree(run)
    sys.stdout.write(f"{{step}} {{number}}" + chr(10))
"""


def test_killed_before_any_file_operation_of_a_save_nothing_saved_is_lost(tmp_path):
    """Also where the step was saved before: then one of the two is there, whole, at every moment."""
    code = KILLED_AT_EVERY_CALL.format(folder=str(RUN.parent), base=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    operations = dict(tuple(map(int, line.split())) for line in done.stdout.splitlines())
    assert min(operations.values()) > 15


def test_a_run_starts_another_from_the_checkpoint_it_stands_for_while_that_can_be_trained(tmp_path):
    for step in range(1, 6):
        save(tmp_path, step, keep=2)
    assert checkpoint.start_of(tmp_path).name == "step_00000005"
    checkpoint.select(tmp_path, 4)
    assert checkpoint.start_of(tmp_path).name == "step_00000004"
    checkpoint.select(tmp_path, 2)
    assert checkpoint.start_of(tmp_path).name == "step_00000005", "trainer files of 2 are gone"
    with pytest.raises(DataError, match="has no checkpoint yet"):
        checkpoint.start_of(tmp_path / "checkpoints")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(DataError, match="could not be written"):
        save(tmp_path / "run", 1)
    with pytest.raises(DataError, match="another --out"):
        checkpoint.write_config(tmp_path / "run", {})
    checkpoint.write_config(tmp_path / "ok", {"seed": 1})
    assert read_json(tmp_path / "ok" / "config.json") == {"seed": 1}


def toy_run(run, *options, **kwargs):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(RUN), str(run), *map(str, options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, **kwargs)


def curve(run):
    keep = ("speed/", "memory/")
    return [{k: v for k, v in m.items() if not k.startswith(keep)} for m in read_metrics(run / "metrics.jsonl")]


def wait_for_step(run, step, process):
    end = time.monotonic() + 60
    while step not in checkpoint.steps(run):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the run writes no checkpoint"
        time.sleep(0.01)


def test_kill_9_and_resume_gives_the_uninterrupted_loss_curve_and_weights(tmp_path):
    whole = toy_run(tmp_path / "whole", 22)
    killed = toy_run(tmp_path / "killed", 22, "--pause", 0.05)
    wait_for_step(tmp_path / "killed", 8, killed)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert max(checkpoint.steps(tmp_path / "killed")) < 22
    resumed = toy_run(tmp_path / "killed", 22, "--resume")
    for process in (whole, resumed):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert len(curve(tmp_path / "whole")) == 8
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    for name in ("weights.safetensors", "trainer.safetensors", "policy.json"):
        one, two = (tmp_path / r / "latest" / name for r in ("whole", "killed"))
        assert one.read_bytes() == two.read_bytes(), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_between_two_updates_and_says_so(tmp_path, number):
    process = toy_run(tmp_path, 1000, "--pause", 0.05, "--checkpoint-every", 1000, "--log-every", 1000)
    assert process.stdout.readline() == "started\n"
    time.sleep(0.5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.count("\n") == 1
    assert "stopped on request after" in errors
    assert "--resume" in errors
    (step,) = checkpoint.steps(tmp_path)
    assert 0 < step < 1000


def test_another_run_can_start_from_an_agent_without_touching_it(tmp_path):
    agent = Line()
    agent.update()
    save(tmp_path, 6, agent)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    other, noise = Line(), torch.get_rng_state()
    assert checkpoint.load_agent(checkpoint.start_of(tmp_path), other) == 6
    assert torch.equal(other.actor.weight, agent.actor.weight)
    assert torch.equal(noise, torch.get_rng_state()), "a new run draws its own random numbers"
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.slow
def test_killed_at_any_moment_again_and_again_the_run_ends_as_one_never_killed(tmp_path):
    """Checkpoints after every update: many of these kills fall into a save."""
    options = ("40", "--checkpoint-every", "1", "--log-every", "7")
    toy_run(tmp_path / "whole", *options).wait(120)
    rng, kills = np.random.default_rng(0), 0
    while max(checkpoint.steps(tmp_path / "killed"), default=0) < 40:
        resume = ["--resume"] if checkpoint.steps(tmp_path / "killed") else []
        process = toy_run(tmp_path / "killed", *options, *resume)
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.4))
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills > 3
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    # Not the link: a kill between the folder's rename and the link's leaves it one behind until the run is resumed.
    one, two = (checkpoint.resolve(tmp_path / r) / "trainer.safetensors" for r in ("whole", "killed"))
    assert one.read_bytes() == two.read_bytes()
