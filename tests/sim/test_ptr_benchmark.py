"""benchmarks/ptr.py: that cells are made as a user would make them, kept, and told with their gaps; learning is read from its results."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robot_pt.aggregate import improvement
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.intervals import wilson
from robot_pt.recipes.runs import read_settings
from robot_pt.schema import Observation
from robot_pt.sources import Concat, EpisodeView
from robot_pt_sim.kitchen.splits import Split

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ptr
import ptr_aim
import ptr_arrangements
import ptr_critic
import ptr_data
import ptr_kept
import ptr_look
import ptr_motion
import ptr_still
import ptr_table
from ptr_cell import ABLATIONS, METHODS, QUICK, Bench, Cell, Scale

CARROT, CROISSANT = "kitchen/put-carrot-on-plate@5", "kitchen/put-croissant-on-plate@6"
TINY = Scale(data=2, pretraining=4, finetuning=4, checkpoints=2, episodes=2, encoder_updates=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """Two pretraining tasks in one kitchen instead of thirty in four."""
    small = {"a": Split(("kitchen/put-carrot-on-plate@1", "kitchen/open-drawer@1"), (CARROT, CROISSANT))}
    patch = pytest.MonkeyPatch()
    patch.setattr(ptr_data, "SPLITS", small)
    patch.setattr(ptr_arrangements, "SPLITS", small)
    patch.setattr(ptr_arrangements, "EACH", 2)
    patch.setattr(ptr_data, "JUDGES", 2)
    yield tmp_path_factory.mktemp("ptr")
    patch.undo()


def found(method: str, task: str, seed: int, successes: int, episodes: int = 4) -> dict[str, object]:
    return {
        "method": method, "task": task, "seed": seed, "episodes": episodes,
        "successes": [i < successes for i in range(episodes)],
    }  # fmt: skip


def test_cells_are_made_kept_and_gone_on_with(folder, capsys) -> None:
    bench = Bench(folder, folder, "state", TINY, every_checkpoint=True)
    methods = ["ptr", "bc-joint", "awbc", "ptr-fast", "awbc-short"]

    def some(most: int) -> int:
        return ptr.run(bench, ptr.cells_of(methods, [CROISSANT], 1), most=most, minutes=60)

    assert some(2) == 2
    times = {path.name: path.stat().st_mtime_ns for path in (folder / "cells/state").iterdir()}
    assert sorted(times) == ["bc-joint--put-croissant-on-plate@6--0.json", "ptr--put-croissant-on-plate@6--0.json"]
    assert some(99) == 3
    assert all((folder / "cells/state" / name).stat().st_mtime_ns == time for name, time in times.items())
    assert ptr.run(bench, ptr.cells_of(methods, [CROISSANT], 1), most=9, minutes=0) == 0, "all there"
    cells = {c["method"]: c for c in ptr.read_cells(folder, "state")}
    for method in methods:
        cell = cells[method]
        assert len(cell["successes"]) == cell["episodes"] == 2
        assert (cell["version"], cell["seed"], cell["twin"]) == ("state", 0, ptr.TWIN_VERSION)
        assert cell["commit"]
        steps = [8, 12] if method == "awbc" else [6, 8] if METHODS[method].how == "finetune" else [4, 8]
        assert [c["step"] for c in cell["checkpoints"]] == steps
        assert all(c["successes"] is not None for c in cell["checkpoints"])
        assert cell["data"]["episodes"] == 4
    assert cells["ptr"]["settings"]["ptr"]["alpha"] == 1.0
    assert cells["ptr"]["settings"]["ptr"]["actor_loss"] == "max_q"
    assert cells["ptr"]["settings"]["ptr"]["bc_warm_start_steps"] == TINY.pretraining
    assert cells["ptr-fast"]["settings"]["ptr"]["actor_loss"] == "advantage_weighted"
    assert cells["ptr-fast"]["origin"] == cells["ptr"]["origin"]
    assert 0 <= cells["ptr"]["critic"]["at_grasp"] <= 1
    assert cells["bc-joint"]["critic"] is None
    assert cells["awbc"]["origin"]["run"] == cells["ptr"]["origin"]["run"], "PTR's own critic"
    assert read_settings(folder / "runs/state/awbc--put-croissant-on-plate@6--0")[0].options.critic == "ensemble"
    assert "ptr--put-croissant-on-plate@6--0: " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("version", ["state", "motion", "aimed", "features"])
def test_every_method_of_a_version_runs(folder, version) -> None:
    bench = Bench(folder / version, folder, version, TINY)
    methods = [name for name in ptr.methods_of(version) if not METHODS[name].failed]  # of these four episodes none did
    assert ptr.run(bench, ptr.cells_of(methods, [CARROT], 1), most=99, minutes=60) == len(methods)
    assert {c["method"] for c in ptr.read_cells(folder / version, version)} == set(methods)
    assert all(c["version"] == version for c in ptr.read_cells(folder / version, version))


def test_other_updates_do_not_come_into_one_folder(tmp_path) -> None:
    ptr.keep(tmp_path, TINY)
    ptr.keep(tmp_path, TINY)
    with pytest.raises(MismatchError, match="pretraining = 4, now it is 5"):
        ptr.keep(tmp_path, replace(TINY, pretraining=5))
    (tmp_path / "ptr.json").write_text(json.dumps({**json.loads((tmp_path / "ptr.json").read_text()), "twin": 1}))
    with pytest.raises(MismatchError, match="twin = 1"):
        ptr.keep(tmp_path, TINY)


def test_a_methods_options_reach_its_config(folder) -> None:
    bench = Bench(folder, folder, "state", TINY)
    bins = [bench._settings(METHODS[name], bench.robot_data, 0).options.bins for name in ("ar-bc", "ar-bc-100")]
    assert bins == [256, 100]


def test_kept_cells_are_not_run_again_and_new_ones_come_to_them(folder, tmp_path, monkeypatch, capsys) -> None:
    path, plot = tmp_path / "kept.json", tmp_path / "table.svg"
    ran = Bench(folder, folder, "state", TINY)(Cell("bc-joint", CROISSANT, 0))
    other = {**ran, "seed": 1, "successes": [True, True]}
    ptr_kept.write(path, ptr_kept.merged([], [other, {**other, "version": "motion", "seed": 0}]))
    command = [
        "--methods",
        "bc-joint",
        "--tasks",
        CROISSANT,
        "--seeds",
        "2",
        "--out",
        str(tmp_path),
        "--kept",
        str(path),
    ]
    monkeypatch.setattr(sys, "argv", ["ptr.py", *command, "--plot", str(plot)])
    monkeypatch.setattr(ptr, "Scale", lambda: TINY)
    monkeypatch.setattr(Bench, "__call__", lambda self, cell: {**ran, **cell._asdict(), "successes": [False, True]})
    drawn: list[Path] = []
    monkeypatch.setattr(ptr.ptr_table, "plot", lambda *given: drawn.append(given[-1]))  # matplotlib is for who draws
    monkeypatch.setattr(ptr.ptr_table, "can_draw", lambda: True)
    ptr.main()
    assert drawn == [plot]
    said = capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["ptr.py", *command, "--table"])
    ptr.main()
    assert drawn == [plot, tmp_path / "state.svg"], "a table is drawn where nobody says so"
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["picture"] == str(drawn[-1])
    assert "bc-joint--put-croissant-on-plate@6--0: 1 of 2" in said
    assert "--1: " not in said, "kept"
    assert "| BC joint | 75 (30 to 95), 2 seeds |" in said, "3 of 4; another version's is not counted"
    cells = ptr_kept.read(path, TINY)
    assert [(c["version"], c["seed"], c["successes"]) for c in cells] == [
        ("motion", 0, 2),
        ("state", 0, 1),
        ("state", 1, 2),
    ]
    assert ptr_kept.merged(cells, [{**cells[2], "successes": 0}]) == cells, "a kept cell stays"
    with pytest.raises(MismatchError, match="choose another --kept"):
        ptr_kept.read(path, QUICK)


def test_without_matplotlib_the_table_is_made_and_a_picture_asked_for_is_refused_first(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(ptr_table, "can_draw", lambda: False)
    here = ["ptr.py", "--quick", "--table", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", here)
    ptr.main()
    said = capsys.readouterr().out
    assert said.index("no picture will be drawn") < said.index("| BC finetune |")
    assert "0 of 24 cells are there; the same command without --table goes on." in said
    kept = str(Path(ptr.__file__).parent / "ptr_state.json")
    assert f"--quick --version state --table --kept {kept}\n" in said
    result = json.loads(said.splitlines()[-1])
    assert (result["picture"], result["cells"], result["cells_in_all"]) == (None, 0, 24)
    monkeypatch.setattr(sys, "argv", [*here, "--plot", str(tmp_path / "p.svg")])
    with pytest.raises(SystemExit, match="needs matplotlib"):
        ptr.main()


@pytest.mark.parametrize("name", ["ptr_state.json", "ptr_aimed.json", "ptr_features.json"])
def test_the_repositorys_cells_are_ones_to_go_on_with(name) -> None:
    path = Path(ptr.__file__).parent / name
    cells = ptr_kept.read(path, QUICK)
    assert cells == ptr_kept.merged([], cells), "sorted, and none twice"


def test_the_quick_form_is_four_methods_two_tasks_three_seeds() -> None:
    cells = list(ptr.cells_of(ptr.QUICK_METHODS, ptr.QUICK_TASKS, 3))
    assert len(cells) == len(set(cells)) == 24
    assert [sum(task in of for task in ptr.QUICK_TASKS) for of in ptr_data.TABLES.values()] == [1, 1]
    assert set(ptr.QUICK_METHODS) <= set(METHODS)
    assert QUICK.episodes >= 50
    assert "r3m" in ptr.methods_of("features")
    assert all("r3m" not in ptr.methods_of(version) for version in ("state", "motion", "aimed")), "features of nothing"


def test_every_start_is_a_row_and_cql_rows_share_their_critic() -> None:
    assert all(METHODS[m.start].how == "finetune" for m in METHODS.values() if m.start)
    held = METHODS["ptr"].changes
    assert all(METHODS[name].changes == held for name in ("cog", "cql-target", "awbc", "awbc-short"))
    critic = {"alpha", "conservative_floor", "likelihood_beta", "actor_learning_rate"}
    assert {k: v for k, v in METHODS["ptr-fast"].changes.items() if k in critic} == {k: held[k] for k in critic}
    assert not METHODS["ptr-published"].changes
    fast, level = METHODS["ptr-fast"].changes, METHODS["ptr-level"].changes
    assert {name for name in level if level[name] != fast[name]} == {"conservative_floor"}


def test_a_row_looks_through_its_own_encoders_of_its_own_cameras(folder, monkeypatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(ptr_look, "_trained", lambda objective, camera, *_: asked.append((objective, camera)))
    bench = Bench(folder, folder, "features", TINY)
    assert [len(bench.look(METHODS[name]).origins) for name in ("mae", "mae-primary")] == [2, 1]
    assert asked == [("mae", "primary"), ("mae", "wrist"), ("mae", "primary")]
    assert Bench(folder, folder, "aimed", TINY).look(METHODS["ptr"]) is None, "the state has no cameras"


def test_an_ablation_changes_one_thing_of_the_level_critic(folder) -> None:
    bench = Bench(folder, folder, "aimed", TINY)
    source = bench._robot_data(METHODS["ptr-level"], None)
    said = {
        name: bench._settings(METHODS[name], source, 0).to_json()
        | {"ratio": METHODS[name].ratio, "failed": METHODS[name].failed}
        for name in ("ptr-level", "bc-even", *ABLATIONS)
    }
    base, clone, other = (said.pop(name) for name in ("ptr-level", "bc-even", "even-failed-75"))
    assert {key for key in clone if clone[key] != other[key]} == {"failed"}, "and what that one is compared with"
    differ = {name: {key for key in base if base[key] != one[key]} for name, one in said.items()}
    assert differ == {
        "level-ratio-0": {"ratio"}, "level-ratio-50": {"ratio"}, "level-alpha-0": {"ptr"}, "level-alpha-10": {"ptr"},
        "level-rewards-0-1": {"ptr", "reward"}, "level-failed-75": {"failed"},
    }  # fmt: skip
    of = {name: {key for key, value in base["ptr"].items() if one["ptr"][key] != value} for name, one in said.items()}
    assert of["level-alpha-0"] == of["level-alpha-10"] == {"alpha"}
    assert of["level-rewards-0-1"] == {"advantage_temperature", "conservative_floor"}, "which are in units of Q"
    assert not {"level-ratio-0", "level-alpha-0"} & set(ptr.rows_of("aimed")), "where nobody names them"


def test_what_is_unknown_is_one_sentence() -> None:
    assert ptr.chosen("", ["a", "b"], ["b"], "method") == ["b"]
    assert ptr.chosen("b,a", ["a", "b"], [], "method") == ["b", "a"]
    with pytest.raises(UserError, match="there is no method 'c'; choose from a, b"):
        ptr.chosen("a,c", ["a", "b"], [], "method")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--seeds", "0"], "--seeds is 0; give 1 or more"),
        (["--episodes", "-3"], "--episodes is -3; give 0 or more"),
        (["--minutes", "-1"], "--minutes is -1; give more than 0"),
        (["--minutes", "nan"], "--minutes is nan; give more than 0"),
        (["--table", "--kept", "none.json"], "there are no kept cells in none.json"),
        (["--kept", "text.json"], "text.json holds no kept cells"),
    ],
)
def test_what_asks_for_nothing_is_one_sentence(tmp_path, monkeypatch, words, sentence) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.json").write_text("carrot")
    monkeypatch.setattr(sys, "argv", ["ptr.py", "--quick", *words])
    with pytest.raises(SystemExit, match=sentence):
        ptr.main()
    assert [path.name for path in tmp_path.iterdir()] == ["text.json"], "nothing was made"


def test_demonstrations_differ_by_seed_and_judges_are_none_of_them(folder) -> None:
    one, other = (ptr_data.target(folder, "state", CROISSANT, seed) for seed in (0, 1))
    for demos in (one, other):
        assert (len(demos.train.episodes), len(demos.judges.episodes)) == (10, 2)
        assert not set(demos.train.episodes.start) & set(demos.judges.episodes.start)
    assert set(one.train.episodes.start) != set(other.train.episodes.start)


def test_rows_pool_episodes_and_leave_gaps() -> None:
    cells = [found("bc", CARROT, seed, s) for seed, s in enumerate((0, 1, 2))]
    cells += [found("ptr", CARROT, seed, s) for seed, s in enumerate((2, 3, 1))] + [found("ptr", CROISSANT, 0, 4)]
    base, mine, none = ptr_table.rows(cells, ["bc", "ptr", "cog"], [CARROT, CROISSANT])
    assert base["tasks"][CARROT] == {"successes": 3, "episodes": 12, "seeds": 3, "interval": wilson(3, 12)}
    assert base["mean"] is None, "a mean over less than all targets is none"
    assert mine["mean"]["value"] == pytest.approx((0.5 + 1.0) / 2), "of the seed that both targets have"
    expected = float(improvement([[0.5, 0.75, 0.25]], [[0.0, 0.25, 0.5]]))
    assert mine["better"]["value"] == pytest.approx(expected), "over the targets that both have"
    assert mine["mean"]["interval"] is None, "one seed"
    assert mine["better"]["interval"].low < expected < mine["better"]["interval"].high
    assert base["better"] is None
    assert none["tasks"] == {}
    lines = ptr_table.table(cells, ["bc", "ptr", "cog"], [CARROT, CROISSANT]).splitlines()
    assert lines[0].startswith("| | put-carrot-on-plate@5 | put-croissant-on-plate@6 |")
    assert lines[2] == "| BC finetune | 25 (9 to 53), 3 seeds | – | – |  |  |"
    assert lines[4] == "| COG (joint CQL) | – | – | – |  |  |"


def test_rows_are_compared_with_the_clone_that_has_ptrs_head_too() -> None:
    cells = [
        found(m, CARROT, seed, s)
        for m, of in (("bc", (0, 1)), ("bc-even", (2, 3)), ("ptr", (3, 1)))
        for seed, s in enumerate(of)
    ]
    base, clone, mine = ptr_table.rows(cells, ["bc", "bc-even", "ptr"], [CARROT])
    assert clone["better_than_clone"] is None
    assert base["better_than_clone"]["value"] == 0.0
    assert mine["better"]["value"] == pytest.approx(3.5 / 4), "3 above 0 and 1, 1 above 0 and even with 1"
    assert mine["better_than_clone"]["value"] == pytest.approx(1.5 / 4), "3 above 2 and even with 3, 1 below both"


def test_ablations_are_compared_with_what_they_ablate_too() -> None:
    rates = {"ptr-level": (2, 3, 4), "level-ratio-0": (3, 1)}
    cells = [found(m, CARROT, seed, s) for m, of in rates.items() for seed, s in enumerate(of)]
    whole, ablated = ptr_table.rows(cells, list(rates), [CARROT])
    assert whole["better_than_ablated"] is None
    assert ablated["better_than_ablated"]["value"] == pytest.approx(1.5 / 4), "of the seeds of both"
    titles = "than the clone with PTR's head | than PTR, level critic, advantage-weighted |"
    assert ptr_table.table(cells, list(rates), [CARROT]).splitlines()[0].endswith(titles)
    assert "level critic" not in ptr_table.table(cells, ["bc", "ptr"], [CARROT]), "where no ablation is told of"


def test_more_targets_than_a_table_is_wide_are_a_b_and_both_together() -> None:
    targets = [task for of in ptr_data.TABLES.values() for task in of]
    cells = [found("bc", task, seed, 1 + seed) for task in targets for seed in (0, 1)]
    a, b, both = (part.splitlines() for part in ptr_table.tables(cells, ["bc"], targets).split("\n\n"))
    assert [line.count("|") for line in (*a, *b)] == [9] * 6, "a name, four targets, a mean and two comparisons"
    assert CARROT.split("/")[1] in a[0]
    assert CROISSANT.split("/")[1] in b[0]
    assert both[0].startswith("| | mean of 8 |")
    assert both[2].startswith("| BC finetune | 38 (")
    assert ptr_table.tables(cells, ["bc"], [CARROT, CROISSANT]) == ptr_table.table(cells, ["bc"], [CARROT, CROISSANT])
    assert ptr.spelt_out(f"B,{CARROT}").split(",") == [*ptr_data.TABLES["B"], CARROT]
    assert ptr.spelt_out("") == ""


def test_the_picture_has_every_target_and_method(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "new" / "table.svg"
    ptr_table.plot([found("bc", CARROT, 0, 1)], ["bc", "ptr"], [CARROT, CROISSANT], path)
    drawn = path.read_text()
    for word in ("put-carrot-on-plate@5", "put-croissant-on-plate@6", "BC finetune", "PTR"):
        assert word in drawn
    assert drawn.count(">not run<") == 3, "what is there is one of four"
    assert drawn.count(">a seed<") == 1, "one legend for all panels"
    ptr_table.plot([found("bc", CARROT, 0, 1)], ["bc", "ptr"], [CARROT, CROISSANT], path)
    assert path.read_text() == drawn, "the same picture is the same file"


def test_grasps_are_where_the_gripper_is_told_otherwise() -> None:
    gripper = np.array([1, 1, 1, 0, 0, 0, 0, 1, 1, 1], np.float32)
    assert ptr_critic.near_changes(gripper).tolist() == [2, 3, 4, 6, 7, 8]
    assert ptr_critic.near_changes(np.ones(5, np.float32)).tolist() == []
    assert ptr_critic.near_changes(np.array([1, 0], np.float32)).tolist() == [0, 1]


def test_what_a_lost_step_costs_is_told_of_the_steps_that_move_and_turn(folder) -> None:
    bench = Bench(folder, folder, "state", TINY)
    ptr.run(
        bench, ptr.cells_of(["ptr", "bc-joint"], [CROISSANT], 1), most=2, minutes=60
    )  # there already, where the first test ran
    demos = ptr_data.target(folder, "state", CROISSANT, 0).judges
    run = folder / "runs/state/ptr--put-croissant-on-plate@6--0"
    told = ptr_critic.costs(run, read_settings(run)[0], demos)
    moving = turns = 0
    for start, length in zip(demos.episodes.start, demos.episodes.length, strict=True):
        action = demos.actions[start : start + length]
        moving += int(
            (np.linalg.norm(action[:-3, :3], axis=1) > ptr_critic.MOVING_M).sum()
        )  # the last three end the return
        turns += int((np.diff(action[:, 6] > 0.5)).sum())
    assert told["standing"]["steps"] == told["half_step"]["steps"] == moving > 0
    assert told["no_grasp"]["steps"] == told["no_release"]["steps"] == turns / 2 == len(demos.episodes)
    assert all(0 <= told[name]["right"] <= 1 for name in ("standing", "half_step", "no_grasp", "no_release"))
    assert told["over_return_rms"] >= abs(told["over_return"]) > 0
    imitation = folder / "runs/state/bc-joint--put-croissant-on-plate@6--0"
    with pytest.raises(UserError):
        ptr_critic.costs(imitation, read_settings(imitation)[0], demos)


class Remembering:
    """Shows what a policy was shown."""

    version = "remembering"

    def __init__(self, window: int) -> None:
        self.window = window
        self.seen: list[np.ndarray] = []

    def reset(self, task: str | None) -> None:
        self.seen.clear()

    def act(self, history):
        self.seen.append(np.stack([seen.proprio for seen in history]))
        return np.zeros((1, 7), np.float32)


@pytest.mark.parametrize("window", [1, 3])
def test_a_policy_is_shown_the_motion_that_it_learned_from(folder, window) -> None:
    source = ptr_data.target(folder, "state", CROISSANT, 0).train
    moving = ptr_motion.MotionSource(source)
    start, length = int(source.episodes.start[1]), int(source.episodes.length[1])
    rows = source.proprio[start : start + length]
    inner = Remembering(window)
    policy = ptr_motion.MotionPolicy(inner)
    policy.reset(CROISSANT)
    history = [Observation({}, row) for row in rows]
    for now in range(length):
        policy.act(history[max(0, now + 1 - policy.window) : now + 1])
    for now, seen in enumerate(inner.seen):
        np.testing.assert_array_equal(seen, moving.proprio[start + max(0, now + 1 - window) : start + now + 1])
    np.testing.assert_array_equal(moving.proprio[:, : rows.shape[1]], source.proprio)
    path = rows[0, :3] + moving.proprio[start : start + length, rows.shape[1] :][:, :3].cumsum(0)
    np.testing.assert_allclose(path, rows[:, :3], atol=1e-5)
    assert len(moving.spec.proprio_names) == moving.proprio.shape[1] == rows.shape[1] + 7
    assert not moving.spec.cameras
    with pytest.raises(DataError, match="have no images; camera 'primary'"):
        moving.images(np.array([0]), "primary")


def test_motion_goes_the_shorter_way_round() -> None:
    before, now = np.zeros((2, 9), np.float32)
    before[[3, 5]], now[[3, 5]] = (-3.1, 3.1), (3.1, -3.1)
    np.testing.assert_allclose(ptr_motion.motion(before, now)[[3, 5]], [6.2 - 2 * np.pi, 2 * np.pi - 6.2], atol=1e-6)
    assert ptr_motion.motion(before, now).shape == (7,)


class Replaying:
    """Orders what it is given, one row after the other."""

    version = "replaying"

    def __init__(self, actions: np.ndarray) -> None:
        self.left = list(actions)

    def reset(self, task: str | None) -> None:
        pass

    def act(self, history):
        assert not history[-1].images
        return self.left.pop(0)[None]


def test_aimed_actions_lead_the_arm_as_the_recorded_ones_did(folder) -> None:
    source = ptr_data.target(folder, "state", CROISSANT, 0).train
    aiming = ptr_aim.AimedSource(source)
    unlimited = 0
    for start, length in zip(source.episodes.start, source.episodes.length, strict=True):
        rows = slice(start, start + length)
        policy = ptr_aim.AimedPolicy(Replaying(aiming.actions[rows]))
        policy.reset(CROISSANT)
        played = np.concatenate([policy.act([Observation({}, row)]) for row in source.proprio[rows]])
        within = (np.abs(aiming.actions[rows, :3]) < 0.0499).all(axis=1)
        recorded = source.actions[rows]
        np.testing.assert_array_equal(played[:, 3:], recorded[:, 3:])
        both = within & np.append(True, within[:-1])  # a step held back is made up for by the next
        np.testing.assert_allclose(played[both, :3], recorded[both, :3], atol=1e-5)
        if within[-1]:
            np.testing.assert_allclose(played[:, :3].sum(axis=0), recorded[:, :3].sum(axis=0), atol=1e-4)
        unlimited += int(both.sum())
    assert unlimited > 0.5 * source.episodes.length.sum()
    np.testing.assert_array_equal(aiming.proprio, source.proprio)
    with pytest.raises(DataError, match="has no camera 'primary'"):
        aiming.images(np.array([0]), "primary")


def test_orders_to_stand_are_counted_beside_the_experts(folder) -> None:
    demos = ptr_data.target(folder, "state", CROISSANT, 0).judges
    taught = np.concatenate(
        [demos.actions[s : s + n] for s, n in zip(demos.episodes.start, demos.episodes.length, strict=True)]
    )
    said = ptr_still.told(Replaying(taught), demos)
    assert said["still"] == said["still_shown"] > 0
    assert said["off_m"] == 0
    off = taught + np.array([0, 0, 0.01, 0, 0, 0, 0], np.float32)
    assert ptr_still.told(Replaying(off), demos)["off_m"] == pytest.approx(0.01, abs=1e-6)
    assert ptr_still.told(Replaying(0 * taught), demos)["still"] == 1


def test_a_policy_that_looks_back_and_aims_sees_as_far_back() -> None:
    inner = Remembering(3)
    policy = ptr_aim.AimedPolicy(inner)
    assert policy.window == 3
    policy.reset("any")
    policy.act([Observation({}, np.full(8, at, np.float32)) for at in (0.0, 0.01, 0.02)])
    np.testing.assert_allclose(inner.seen[0][:, 0], [0.0, 0.01, 0.02])


def test_an_arm_that_stopped_short_is_aimed_on() -> None:
    """The expert's target lies 6 cm ahead and the arm comes half of the way a step: zero orders, but never where the arm stands short."""
    proprio = np.zeros((4, 8), np.float32)
    proprio[:, 0] = [0.0, 0.03, 0.045, 0.06]
    action = np.zeros((4, 7), np.float32)
    action[0, 0], action[1, 0] = 0.04, 0.02
    np.testing.assert_allclose(ptr_aim.aimed(proprio, action)[:, 0], [0.04, 0.03, 0.015, 0.0], atol=1e-7)
    assert not ptr_aim.aimed(proprio, action)[:, 1:].any()
    far = np.zeros((3, 7), np.float32)
    far[:, 2] = 0.05
    np.testing.assert_allclose(ptr_aim.aimed(np.zeros((3, 8), np.float32), far)[:, 2], 0.05, err_msg="held back")


def test_a_target_that_the_arm_was_kept_from_is_forgotten() -> None:
    policy = ptr_aim.AimedPolicy(Replaying(np.full((3, 7), 0.02, np.float32)))
    policy.reset("any")
    here, elsewhere = np.zeros(8, np.float32), np.full(8, 1.0, np.float32)
    np.testing.assert_allclose(policy.act([Observation({}, here)])[0, :3], 0.02)
    np.testing.assert_allclose(
        policy.act([Observation({}, elsewhere)])[0, :3], 0.05, err_msg="from 8 cm off, by 10, limited"
    )
    policy.reset("any")
    np.testing.assert_allclose(
        policy.act([Observation({}, elsewhere)])[0, :3], 0.02, atol=1e-7, err_msg="at rest again"
    )


def test_actions_are_slowed_and_turned_in_copies() -> None:
    action = np.array([[0.04, 0.02, -0.02, 0.1, 0.0, 0.2, 1.0], [0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25]], np.float32)
    kept = action.copy()
    np.testing.assert_allclose(ptr_critic.slowed(action, 0.5)[0], [0.02, 0.01, -0.01, 0.05, 0.0, 0.1, 1.0], rtol=1e-6)
    np.testing.assert_allclose(ptr_critic.turned(action)[:, 6], [0.0, 0.75])
    np.testing.assert_array_equal(ptr_critic.turned(action)[:, :6], action[:, :6])
    np.testing.assert_array_equal(action, kept)


def test_a_clone_of_successes_sees_no_failed_episode(folder) -> None:
    bench = Bench(folder, folder, "state", TINY)
    every, some = (bench._robot_data(METHODS[name], None).episodes for name in ("bc-even", "bc-success"))
    assert len(every) == 4
    assert len(some) == sum(every.success == 1)
    assert (some.success == 1).all()


@pytest.mark.parametrize(("share", "others"), [(0.9, 1), (0.75, 2), (0.5, 6), (0.1, 34)])
def test_all_that_failed_and_as_many_others_as_make_the_share(folder, share: float, others: int) -> None:
    many = Concat([ptr_data.pretraining(folder, "state", 2)] * 10)
    table = many.episodes
    table.success[:] = [0] * 6 + [1] * 34
    some = ptr_data.with_failed(many, share).episodes
    assert list(some.start[some.success == 0]) == list(table.start[:6])
    assert len(some) - 6 == others, "34 is all there are, where more would be needed"
    assert len(set(some.start.tolist())) == len(some)
    np.testing.assert_array_equal(some.start, ptr_data.with_failed(many, share).episodes.start)


def test_where_none_failed_there_is_no_share(folder) -> None:
    source = ptr_data.pretraining(folder, "state", 2)
    good = source.episodes.select(source.episodes.success == 1)
    with pytest.raises(UserError, match=r"none of the \d+ episodes failed, so 75% of"):
        ptr_data.with_failed(EpisodeView(source, good), 0.75)


def test_share_of_failures(folder) -> None:
    source = ptr_data.pretraining(folder, "state", 2)
    said = ptr_data.share_of(source)
    assert (said["episodes"], said["tasks"]) == (4, 2)
    assert said["failed"] == pytest.approx(np.mean(source.episodes.success != 1))
    assert Cell("ptr", CARROT, 2).name == "ptr--put-carrot-on-plate@5--2"
