"""robot-pt online as a user types it, in a maze of numpy: the whole way once, and every refusal in one sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from robot_pt import checkpoint, cli, store_episode
from robot_pt.images import decode
from robot_pt.online.actor import store_of
from robot_pt.online.arrivals import read_arrivals
from robot_pt.online.serving import read_serving
from robot_pt.policy import Policy
from robot_pt.schema import Observation
from robot_pt.store import DemoStore
from robot_pt.success.classifier import SuccessClassifier


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("online") / "demos"
    assert (
        cli.main(
            ["collect", "--task", "maze-u", "--episodes", "8", "--out", str(out), "--camera", "none", "--workers", "1"]
        )
        == 0
    )
    return out


@pytest.fixture(scope="module")
def start(data: Path) -> Path:
    out = data.parent / "p"
    words = [
        "pretrain",
        "--data",
        data,
        "--out",
        out,
        "--camera",
        "none",
        "--algorithm",
        "bc",
        "--steps",
        "3",
        "--batch-size",
        "8",
    ]
    assert cli.main([*map(str, words)]) == 0
    return out


def run(*words: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict, str]:
    code = cli.main(["online", *map(str, words), "--json"])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, json.loads(shown.out.strip().splitlines()[-1]), " ".join(shown.err.split())


@pytest.mark.timeout(280)
def test_the_whole_way(data, start, tmp_path, capsys) -> None:
    out = tmp_path / "o"
    words = [
        "--from",
        start,
        "--task",
        "maze-u",
        "--data",
        data,
        "--out",
        out,
        "--episodes",
        3,
        "--utd",
        0.1,
        "--batch-size",
        8,
        "--help-after",
        1.0,
        "--intervention-share",
        0.25,
    ]
    code, result, _ = run(*words, capsys=capsys)
    assert code == 0
    assert result["episodes"] == result["helped"] == 3  # after three updates nobody is there within a second
    assert result["successes"] == 0
    assert result["updates"] == result["env_steps"] // 10
    arrivals = read_arrivals(out / "arrivals.jsonl")
    assert len(arrivals) == 3
    assert all(0 < a.interventions < a.steps and a.success for a in arrivals)
    assert read_serving(out).version == result["version"] == Policy.load(out).version
    assert checkpoint.steps(out)[-1] == 3 + result["updates"]
    page = (out / "report.html").read_text()
    assert "Learning on the job" in page
    code, again, said = run(*words, "--resume", capsys=capsys)
    assert code == 0
    assert (again["updates"], again["episodes"], again["version"]) == (result["updates"], 3, result["version"])
    assert "resumed at" in said
    words[words.index("--episodes") + 1] = 4  # the actors hear of it too
    code, longer, _ = run(*words, "--resume", "--max-change", 2, capsys=capsys)
    assert code == 0, longer
    assert longer["episodes"] == 4
    assert longer["updates"] == longer["env_steps"] // 10 > result["updates"]
    result = longer
    others = {
        "--utd": 0.2,
        "--task": "maze-medium",
        "--noise": 0.5,
        "--alternation": "step",
        "--batch-size": 4,
        "--help-after": 2.0,
    }
    for option, value in others.items():
        code, refused, _ = run(*words, "--resume", option, value, capsys=capsys)
        assert code == 2
        assert "was started with" in refused["error"]
        assert option.removeprefix("--").replace("-", "_") in refused["error"].replace("-", "_")
    code, refused, _ = run(*words, capsys=capsys)
    assert code == 2
    assert "holds a run already" in refused["error"]
    number = read_serving(out).number
    code, back, _ = run("--rollback", out, capsys=capsys)
    assert (code, back["serving"], back["held"]) == (0, number - 1, True)
    code, free, _ = run("--release", out, capsys=capsys)
    assert (code, free["held"]) == (0, False)


def damage(store: Path, episode: str) -> None:
    for chunk in (store / episode / "actions").glob("c*"):
        chunk.unlink()


@pytest.mark.timeout(280)
def test_a_damaged_episode_is_set_aside_and_nobody_stops(start, data, tmp_path, capsys) -> None:
    """In a store that others write, from the first moment on; and in an actor's own, before a resumed run."""
    others, out = tmp_path / "others", tmp_path / "o"
    shutil.copytree(data, others)
    damage(others, "000000")
    words = ["--from", start, "--task", "maze-u", "--out", out, "--follow", others, "--utd", 0.1, "--batch-size", 8]
    code, result, _ = run(*words, "--episodes", 2, capsys=capsys)
    assert code == 0, result
    assert result["episodes"] >= 2, "the damaged one is tried for a while, and the run may be over before"
    damage(store_of(out, 0), "000000")
    code, result, said = run(*words, "--episodes", 3, "--resume", capsys=capsys)
    assert code == 0, result
    assert len(DemoStore(store_of(out, 0)).episodes) == 3
    own = f"{store_of(out, 0)}/000000"
    assert "it joined before and cannot be read any more" in result["set_aside"][own]
    assert f"set aside {own}" in said


def test_a_run_that_sees_nothing_is_no_encoder(data, start, tmp_path, capsys) -> None:
    for words in (
        ["probe", start, "--data", data],
        ["compare", "--runs", start, "--quick", "--out", tmp_path / "c"],
        ["finetune", "--from", start, "--target", data, "--data", data, "--freeze-encoder", "--out", tmp_path / "f"],
    ):
        assert cli.main([*map(str, words)]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "learned from the state alone" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs --out"),
        (["--out", "OUT"], "needs --from"),
        (["--from", "DATA", "--task", "maze-u", "--out", "OUT"], "is no run"),
        (["--from", "START", "--out", "OUT"], "name a task for actors to play"),
        (["--from", "START", "--out", "OUT", "--actors", "0"], "name it with --follow"),
        (["--from", "START", "--task", "maze-x", "--out", "OUT"], "there is no task 'maze-x'"),
        (["--from", "START", "--task", "lift-red", "--out", "OUT"], ""),
        (["--from", "START", "--task", "maze-u", "--out", "DATA"], "is no run and not empty"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--utd", "0"], "--utd is 0"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--episodes", "0"], "--episodes is 0"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--offline-share", "0.9", "--intervention-share", "0.2"], "shares of a batch"),
        (["--from", "START", "--data", "DATA", "--task", "maze-u", "--out", "OUT", "--offline-share", "1"], "no episode of the job would be learned from"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--target-share", "0.2"], "give both, or neither"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--noise", "3"], "--noise is 3"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--help-after", "-1"], "--help-after is -1"),
        (["--from", "START", "--out", "OUT", "--actors", "0", "--follow", "S", "--help-after", "1"], "on a robot a person takes over"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--bound-share", "2"], "bound_share 2"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--max-change", "0"], "change 0"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--judge", "DATA"], "is no classifier"),
        (["--from", "START", "--out", "OUT", "--actors", "0", "--follow", "s3://"], "--follow is s3://, neither a URL with its bucket"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--freeze-encoder"], "learned from the state alone"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--options", "weight=1"], "bc has no option 'weight'"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--hours", "0"], "give a time above 0"),
        (["--from", "START", "--task", "maze-u", "--out", "OUT", "--algorithm", "sarsa"], "sarsa"),
        (["--rollback", "START"], "published no policy"),
        (["--release", "START"], "nothing to release"),
        (["--actor", "0", "--out", "START"], "is no run of `robot-pt online`"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(data, start, tmp_path, capsys, words: list[str], said: str) -> None:
    places = {"OUT": str(tmp_path / "o"), "START": str(start), "DATA": str(data)}
    code = cli.main(["online", *(places.get(w, w) for w in words)])
    error = capsys.readouterr().err
    assert code == 2
    assert "Traceback" not in error
    assert said in " ".join(error.split())
    assert not (tmp_path / "o" / "episodes").exists()


@pytest.mark.timeout(280)
def test_a_classifier_says_which_episodes_succeeded(tmp_path, capsys) -> None:
    """Pictures of the maze; half of what the simulator would say is not asked: the judge's word is what is logged and counted."""
    demos, judge, start, out = (tmp_path / name for name in ("demos", "judge", "p", "o"))
    small = ("--image-size", 16)
    for words in (
        ("collect", "--task", "maze-u", "--episodes", 6, "--out", demos, "--workers", 1, "--image-size", 32),
        ("reward", "train", "--data", demos, "--out", judge, *small, "--steps", 20, "--batch-size", 8),
        ("pretrain", "--data", demos, "--out", start, "--algorithm", "bc", "--encoder", "small", *small, "--steps", 2, "--batch-size", 4),
    ):  # fmt: skip
        assert cli.main([*map(str, words)]) == 0
    words = [
        "--from",
        start,
        "--task",
        "maze-u",
        "--out",
        out,
        "--episodes",
        2,
        "--utd",
        0.05,
        "--batch-size",
        4,
        "--judge",
        judge,
    ]
    code, result, _ = run(*words, capsys=capsys)
    assert code == 0
    classifier = SuccessClassifier.load(judge)
    store = DemoStore(store_of(out, 0))
    said = [
        classifier.card.rule.at_end(classifier(decode(store.read(n).images["primary"], (16, 16))))
        for n in ("000000", "000001")
    ]
    assert [a.success for a in read_arrivals(out / "arrivals.jsonl")] == said
    assert result["successes"] == sum(said)
    assert json.loads((out / "config.json").read_text())["arguments"]["judge"] == str(judge)


@pytest.mark.timeout(280)
def test_frozen_encoders_look_at_every_frame_once(tmp_path, capsys) -> None:
    """Pictures, PTR, then Cal-QL on its features: the policy that serves has the start's encoder, takes frames, and goes on after a stop."""
    demos, start, out = (tmp_path / name for name in ("demos", "p", "o"))
    for words in (
        ("collect", "--task", "maze-u", "--episodes", 4, "--out", demos, "--workers", 1, "--image-size", 16),
        ("pretrain", "--data", demos, "--out", start, "--algorithm", "ptr", "--encoder", "small", "--image-size", 16, "--steps", 2, "--batch-size", 4),
    ):  # fmt: skip
        assert cli.main([*map(str, words)]) == 0
    capsys.readouterr()
    words = [
        "--from",
        start,
        "--task",
        "maze-u",
        "--data",
        demos,
        "--out",
        out,
        "--algorithm",
        "cal_ql",
        "--freeze-encoder",
    ]
    words += ["--options", "weight=2", "target_gap=none", "actions=2", "--utd", 0.1, "--batch-size", 4, "--episodes"]
    code, result, _ = run(*words, 1, capsys=capsys)
    assert code == 0, result
    code, longer, said = run(*words, 2, "--resume", capsys=capsys)
    assert code == 0, longer
    assert "resumed at" in said
    assert longer["updates"] == longer["env_steps"] // 10 > result["updates"]
    settings = json.loads((out / "config.json").read_text())["settings"]
    assert (settings["frozen"], settings["options"]["weight"], settings["options"]["augment"]) == ("encoder", 2, None)
    steps = len(DemoStore(demos).source().actions)
    (table,) = (out / "features").glob("*.npy")
    assert np.load(table, mmap_mode="r").shape == (steps, 1, 512)  # actor's and critic's
    before, after = (load_file(checkpoint.resolve(run_) / "weights.safetensors") for run_ in (start, out))
    assert all(np.array_equal(after[n], value) for n, value in before.items() if n.startswith("encoder."))
    assert any(not np.array_equal(after[n], value) for n, value in before.items() if n.startswith("body."))
    frame = np.zeros((16, 16, 3), np.uint8)
    policy = Policy.load(out)
    policy.reset("maze-u")
    assert np.isfinite(
        policy.act([Observation({"primary": frame}, np.zeros(len(policy.spec.proprio_names), np.float32))])
    ).all()
    other = ["weight=3" if word == "weight=2" else word for word in words]
    code, refused, _ = run(*other, 2, "--resume", capsys=capsys)
    assert code == 2
    assert "was started with --options" in refused["error"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kitchen_is_learned_in(tmp_path, capsys) -> None:
    """The way in the maze, once more on the WidowX: actors play the task in the scene they are given."""
    pytest.importorskip("mujoco")
    task, data, start, out = "kitchen/open-drawer", tmp_path / "demos", tmp_path / "p", tmp_path / "o"
    demos = ["--task", task, "--scene", 2, "--episodes", 6, "--out", data, "--camera", "none", "--workers", 1]
    few = ["--camera", "none", "--algorithm", "bc", "--steps", 3, "--batch-size", 8]
    for words in (["collect", *demos], ["pretrain", "--data", data, "--out", start, *few]):
        assert cli.main([*map(str, words)]) == 0
    capsys.readouterr()
    words = ["--from", start, "--task", f"{task}@2", "--data", data, "--out", out, "--episodes", 2, "--utd", 0.1]
    code, result, _ = run(*words, "--batch-size", 8, capsys=capsys)
    assert code == 0, result
    assert (result["episodes"], result["updates"]) == (2, result["env_steps"] // 10)
    (found,) = {store_episode.header(path)[0]["metadata"]["initial_conditions"]["scene"] for path in played(out)}
    assert found == 2


def played(out: Path) -> list[Path]:
    """Episodes of the first actor."""
    store = DemoStore(store_of(out, 0))
    return [store.path / name for name in store.episodes]
