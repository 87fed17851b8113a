"""`robot-pt reward train | check | label` on episodes whose success can be seen: a bright square that arrives at the top."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import robot_pt_data
from robot_pt import cli, relabels
from robot_pt.images import encode_png
from robot_pt.recipes.reward import _rule
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore
from robot_pt.success.classifier import SuccessClassifier

SIDE = 16
SPEC = Spec(cameras={"primary": (SIDE, SIDE)}, embodiment="panda")
FAST = ("--image-size", SIDE, "--steps", "150", "--batch-size", "16", "--final-steps", "2", "--learning-rate", "0.002")


def frames(success: bool, steps: int, rng: np.random.Generator) -> np.ndarray:
    """A square somewhere in the lower half that in the last two frames of a success is in the upper."""
    out = rng.integers(0, 60, (steps, SIDE, SIDE, 3), np.uint8)
    for t in range(steps):
        row = int(rng.integers(1, 3)) if success and t >= steps - 2 else int(rng.integers(9, 12))
        column = int(rng.integers(0, SIDE - 5))
        out[t, row : row + 4, column : column + 5] = (230, 40, 40)
    return out


def record(path: Path, episodes: int, seed: int, *, told: str = "truth") -> DemoStore:
    """`told`: "truth", "nothing", or "shuffled", where the frames of all episodes change places, so that labels mean nothing."""
    rng = np.random.default_rng(seed)
    store = DemoStore.create(path, SPEC, codec="png")
    truth = [e % 2 == 0 for e in range(episodes)]
    pictures = np.concatenate([frames(success, 8, rng) for success in truth])
    if told == "shuffled":
        pictures = pictures[rng.permutation(len(pictures))]
    for e, success in enumerate(truth):
        said = None if told == "nothing" else success
        last = np.arange(8) == 7
        store.append(
            Episode(
                spec=SPEC, images={"primary": pictures[8 * e : 8 * e + 8]}, proprio=rng.normal(size=(8, 7)).astype(np.float32),
                actions=rng.normal(size=(8, 7)).astype(np.float32), rewards=np.zeros(8, np.float32), terminated=last, success=said,
                truncated=~last & last, task="lift",
            )
        )  # fmt: skip
    return store


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict:
    assert cli.main([*map(str, arguments), "--json"]) == code, capsys.readouterr().err
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return json.loads(shown.out.splitlines()[-1])


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("reward")
    record(root / "train", 20, 0)
    record(root / "fresh", 16, 1)
    record(root / "shuffled", 20, 0, told="shuffled")
    for name in ("train", "shuffled"):
        words = ["reward", "train", "--data", str(root / name), "--out", str(root / f"run_{name}"), *map(str, FAST)]
        assert cli.main(words) == 0
    return {p.name: p for p in root.iterdir()}


def test_it_is_right_on_fresh_episodes_and_one_of_shuffled_labels_is_not(places, tmp_path, capsys) -> None:
    page = tmp_path / "page.html"
    common = ("--data", places["fresh"], "--final-steps", "2", "--out", page)
    good = run(capsys, "reward", "check", places["run_train"], *common)
    assert good["frames"]["precision_95"][0] > 0.6
    assert good["frames"]["recall_95"][0] > 0.6
    assert (good["frames"]["true_positive"] + good["frames"]["false_negative"], good["left_out_trained_on"]) == (16, 0)
    assert good["episodes"]["f1"] > 0.9
    assert good["calibration_error"] < 0.2
    text = page.read_text()
    assert "Precision over recall" in text
    assert str(good["frames"]["precision"]) in text
    bad = run(capsys, "reward", "check", places["run_shuffled"], *common)
    assert bad["frames"]["f1"] < 0.6
    assert "data:image/jpeg;base64" in page.read_text()  # its mistakes, to look at


def test_precision_by_choice_and_refused_where_it_cannot_be(places, capsys) -> None:
    common = ("--data", places["fresh"])  # the last two frames are taken, as in training
    found = run(capsys, "reward", "check", places["run_train"], *common, "--precision", "0.9")
    assert found["frames"]["precision"] >= 0.9
    chosen = next(row for row in found["thresholds"] if row["threshold"] == found["threshold"])
    assert chosen["true_positive"] == found["frames"]["true_positive"]
    given = run(capsys, "reward", "check", places["run_train"], *common, "--threshold", "0.123")
    assert given["threshold"] == 0.123
    blind = places["train"].parent / "blind"
    shutil.copytree(places["run_train"], blind, dirs_exist_ok=True)
    sure = SuccessClassifier.load(blind)
    sure.card = replace(sure.card, scale=1e-9, offset=0.0)  # says one half of everything
    sure.save(blind)
    refused = run(capsys, "reward", "check", blind, *common, "--precision", "0.9", code=2)
    assert "no threshold reaches a precision of 0.9 on these 112 frames, the best is 0.143" in refused["error"]


def test_episodes_it_was_trained_on_do_not_judge_it(places, capsys) -> None:
    own = run(capsys, "reward", "check", places["run_train"], "--data", places["train"], "--final-steps", "2")
    assert (own["left_out_trained_on"], own["held_out_in_training"]) == (16, 4)
    assert sum(own["episodes"][k] for k in ("true_positive", "false_positive", "false_negative", "true_negative")) == 4


def test_a_store_is_labelled_read_back_and_unchanged(places, tmp_path, capsys) -> None:
    store = record(tmp_path / "robot", 10, 5, told="nothing")
    before = {
        p: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in store.path.rglob("*")
        if p.is_file() and p.name != ".lock"
    }
    made = run(capsys, "reward", "label", store.path, "--by", places["run_train"], "--rewards")
    assert (made["who"], made["labelled"], made["changed"]) == ("classifier", 10, 10)
    assert made["version"] == SuccessClassifier.load(places["run_train"]).version
    source = robot_pt_data.open(store.path)
    right = source.episodes.success == (np.arange(10) % 2 == 0)
    assert right.sum() >= 9
    for e in np.flatnonzero(right):
        rewards = source.rewards[source.episodes.start[e] :][:8]
        assert rewards[-1] == (1.0 if e % 2 == 0 else 0.0)
    wrong = "000001"
    run(capsys, "reward", "label", store.path, "--success", wrong)
    run(capsys, "reward", "label", store.path, "--by", places["run_train"], "--threshold", "1.0")
    assert robot_pt_data.open(store.path).episodes.success.tolist() == [0, 1] + [0] * 8  # a person's word stands
    shown = run(capsys, "data", "inspect", store.path)
    assert (shown["labels"]["passes"], shown["labels"]["applied"]["id"]) == (["000000", "000001", "000002"], "000002")
    none = run(capsys, "data", "inspect", store.path, "--labels", "none")
    assert none["splits"]["all"]["unknown"] == 10
    assert {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in before} == before


def test_export_and_cache_take_the_labels_asked_for(tmp_path, capsys) -> None:
    store = record(tmp_path / "robot", 2, 5, told="nothing")
    run(capsys, "reward", "label", store.path, "--success", "000000", "--failure", "000001")
    for choice, expected in (("newest", [1, 0]), ("none", [-1, -1])):
        out = tmp_path / f"cache-{choice}"
        run(capsys, "data", "cache", store.path, "--out", out, "--size", SIDE, "--labels", choice)
        assert robot_pt_data.open(out).episodes.success.tolist() == expected
    for verb in ("cache", "export"):
        words = ("data", verb, store.path, "--out", tmp_path / "refused", "--labels", "000009")
        assert "000009" in run(capsys, *words, code=2)["error"]
        assert not (tmp_path / "refused").exists()


def test_a_table_labels(tmp_path, capsys) -> None:
    store = record(tmp_path / "robot", 3, 5, told="nothing")
    table = tmp_path / "said.csv"
    table.write_text("episode,success\n000000,true\n000002,unknown\n")
    assert run(capsys, "reward", "label", store.path, "--csv", table)["changed"] == 1
    assert store.source().episodes.success.tolist() == [1, -1, -1]
    for text, match in (
        ("episode\n000000\n", "it needs episode and success"),
        ("episode,success\n000000,maybe\n", "line 2"),
        ("episode,success\n000000,true\n000000,false\n", "line 3"),
        ("episode,success\n", "names no episode"),
        ("episode,success\n000009,true\n", "no episode '000009'"),
    ):
        table.write_text(text)
        assert match in run(capsys, "reward", "label", store.path, "--csv", table, code=2)["error"]
    assert relabels.ids(store.path) == ["000000"]


def test_pictures_in_folders_and_tables_train(tmp_path, capsys) -> None:
    rng = np.random.default_rng(3)
    lines = ["image,success,episode"]
    for e in range(8):
        for t, picture in enumerate(frames(True, 4, rng)):
            kind = "success" if t >= 2 else "failure"
            file = tmp_path / "pictures" / kind / f"e{e}" / f"{t}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(picture))
            lines.append(f"pictures/{kind}/e{e}/{t}.png,{t >= 2},{e}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    brief = (*FAST, "--steps", "20")
    for name in ("pictures", "table.csv"):
        done = run(capsys, "reward", "train", "--data", tmp_path / name, "--out", tmp_path / f"run_{name}", *brief)
        assert (done["frames"], done["positive"], done["episodes"]) == (32, 16, 8)
    (tmp_path / "table.csv").write_text("image,success\nabsent.png,true\n")
    assert (
        "line 2"
        in run(capsys, "reward", "train", "--data", tmp_path / "table.csv", "--out", tmp_path / "r", code=2)["error"]
    )


@pytest.mark.parametrize(("final_steps", "expected"), [(1, (1, 1)), (2, (2, 2)), (3, (2, 3)), (9, (2, 3))])
def test_the_rule_asks_for_no_more_frames_than_show_success(final_steps: int, expected: tuple[int, int]) -> None:
    rule = _rule(0, 0, final_steps)
    assert (rule.needed, rule.window) == expected
    assert _rule(3, 5, final_steps).window == 5


@pytest.mark.parametrize("there", [True, False])
def test_training_that_is_cut_off_leaves_nothing_in_the_way_of_the_next(
    places, tmp_path, capsys, monkeypatch, there
) -> None:
    out = tmp_path / "r"
    if there:
        out.mkdir()

    def cut_off(*_: object) -> None:
        assert (out / "metrics.jsonl").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("robot_pt.success.training.fit", cut_off)
        run(capsys, "reward", "train", "--data", places["train"], "--out", out, *FAST, code=130)
    assert list(tmp_path.rglob("*")) == ([out] if there else [])
    run(capsys, "reward", "train", "--data", places["train"], "--out", out, *FAST)


def test_what_cannot_be_used_is_one_sentence(places, tmp_path, capsys) -> None:
    one_kind = tmp_path / "pictures"
    for kind in ("success", "failure"):
        (one_kind / kind).mkdir(parents=True)
    (one_kind / "failure" / "a.png").write_bytes(encode_png(np.zeros((16, 16, 3), np.uint8)))
    mute = record(tmp_path / "mute", 2, 0, told="nothing").path
    few = record(tmp_path / "few", 1, 0).path
    train, out, data = ("reward", "train"), ("--out", tmp_path / "r"), ("--data", places["train"])
    cases = [
        ((*train, "--data", one_kind, *out), "a classifier needs both"),
        ((*train, "--data", mute, *out), "says whether it succeeded"),
        ((*train, "--data", few, *out), "at least 2 of each"),
        ((*train, *data, *out, "--camera", "wrist"), "camera 'wrist' is not in"),
        ((*train, *data, *out, "--threshold", "0.5", "--precision", "0.9"), "give one of them"),
        ((*train, *data, *out, "--precision", "1.5"), "from 0 to 1"),
        ((*train, *data, *out, "--needed", "4", "--window", "3"), "needed <= window"),
        ((*train, *data, *out, "--held-out", "1"), "held-out share"),
        ((*train, *data, *out, "--batch-size", "1"), "a batch of at least 2"),
        ((*train, *data, *out, "--final-steps", "0"), "--final-steps is 0"),
        ((*train, *data, *out, "--image-size", "-1"), "--image-size is -1"),
        ((*train, *data, *out, "--encoder", "small", "--freeze"), "random weights"),
        ((*train, *data, "--out", places["run_train"]), "holds a run already"),
        ((*train, *data, "--out", places["train"]), "choose another --out"),
        (("reward", "check", tmp_path, *data), "is no classifier"),
        (("reward", "label", places["train"]), "give one of --by RUN"),
        (("reward", "label", places["train"], "--success", "000000", "--rewards"), "go with --by"),
        (("reward", "label", places["train"], "--success", "000000", "--failure", "000000"), "name each once"),
        (("reward", "label", places["train"], "--success", "000000", "--base", "000009"), "has no labels"),
        (("reward", "label", tmp_path, "--success", "000000"), "not a demo store"),
        (("reward",), "train, check, label"),
        (("data", "inspect", places["train"], "--labels", "000004"), "has no labels"),
    ]
    for words, match in cases:
        error = run(capsys, *words, code=2)["error"]
        assert match in error, (words, error)
    assert relabels.ids(places["train"]) == []


def test_a_run_that_was_trained_on_everything_given_cannot_be_judged(places, tmp_path, capsys) -> None:
    copy = tmp_path / "run"
    shutil.copytree(places["run_train"], copy)
    seen = json.loads((copy / "episodes.json").read_text())
    (copy / "episodes.json").write_text(json.dumps({"train": seen["train"] + seen["held_out"], "held_out": []}))
    words = ("reward", "check", copy, "--data", places["train"], "--final-steps", "2")
    assert "give --data it has not seen" in run(capsys, *words, code=2)["error"]
    (copy / "episodes.json").write_text("{}")
    assert "does not say what was trained on" in run(capsys, *words, code=2)["error"]
