"""The demo's whole way on a scale of seconds: every stage is the real one, only fewer episodes and updates."""

import json
from pathlib import Path

import pytest

from robot_pt.errors import MismatchError, UserError
from robot_pt.recipes import demo

SMALL = demo.Scale(
    source_tasks=("lift-red",), episodes=2, demos=2, judges=2, evaluation_episodes=2, pretrain_updates=4,
    finetune_updates=4,
)  # fmt: skip


@pytest.mark.timeout(600)
def test_the_demo_ends_in_a_report_and_continues_where_it_stopped(tmp_path: Path) -> None:
    pytest.importorskip("robosuite", reason="the demo collects in robosuite: pip install --no-deps robosuite==1.5.2")
    result = demo.demo(tmp_path / "demo", scale=SMALL)
    names = [e["name"] for e in result["evaluations"]]
    assert names == [demo.PTR_NAME, demo.BC_ALL, demo.BC_SUCCESS, demo.BLANKED, demo.OPEN_LOOP]
    assert all(e["n"] == 2 for e in result["evaluations"])
    page = Path(result["report"]).read_text()
    for shown in (*names, "advantage-weighted", "What the critic believes", "data:video/mp4"):
        assert shown in page
    assert (tmp_path / "demo" / "rlds" / "lift_red" / "1.0.0" / "features.json").exists()
    stages = json.loads((tmp_path / "demo" / "stages.json").read_text())
    again = demo.demo(tmp_path / "demo", scale=SMALL)
    assert again["evaluations"] == result["evaluations"]
    assert json.loads((tmp_path / "demo" / "stages.json").read_text()) == stages


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"minutes": 1}, "--minutes"), ({"minutes": float("nan")}, "--minutes"), ({"minutes": float("inf")}, "--minutes"),
        ({"seed": -1}, "--seed"), ({"seed": 10**6}, "--seed"),
    ],
)  # fmt: skip
def test_impossible_requests_are_refused_before_anything_runs(tmp_path: Path, arguments: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        demo.demo(tmp_path / "demo", **arguments)
    assert not (tmp_path / "demo").exists()


def test_a_demo_works_in_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else than a demo; choose another --out"):
        demo.demo(tmp_path)
    with pytest.raises(UserError, match=r"thesis\.txt is a file; choose another --out"):
        demo.demo(tmp_path / "thesis.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_demo_goes_on_as_it_was_asked_for(tmp_path: Path) -> None:
    demo._keep(tmp_path / "demo", {"seed": 0, "minutes": 14.0})
    demo._keep(tmp_path / "demo", {"seed": 0, "minutes": 14.0})
    with pytest.raises(MismatchError, match=r"holds a demo of --seed 0, now it is 1; go on with the same"):
        demo.demo(tmp_path / "demo", seed=1)
    with pytest.raises(MismatchError, match=r"--minutes 14.0, now it is 5"):
        demo.demo(tmp_path / "demo", minutes=5)
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "stages.json").write_text("{}")
    demo._keep(tmp_path / "earlier", {"seed": 3, "minutes": 14.0})
    assert json.loads((tmp_path / "earlier" / "demo.json").read_text()) == {"seed": 3, "minutes": 14.0}


def test_demonstrations_never_start_where_policies_are_judged() -> None:
    last = demo.FIRST_SEED // 10_000 - 1
    scale = demo.Scale()
    assert 10_000 * last + 1000 * len(scale.source_tasks) + scale.demos + scale.judges <= demo.FIRST_SEED
    assert scale.episodes <= 1000


def test_at_least_half_of_the_source_data_is_not_clean() -> None:
    from robot_pt.recipes.collect import QUALITY

    styles = pytest.importorskip("robot_pt_sim.styles")
    assert styles.mixture(QUALITY["mixed"])["clean"] <= 0.5
