"""benchmarks/online.py: its batches, returns, measures and that cells are resumed; learning itself is read from its results."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import online
import online_ends
from online_cell import TASKS, Schedule, Task, changed, exploring, run_cell, summary, watched
from online_critic import Shape
from online_learners import ALGORITHMS, Rates, Robot, make, standardising
from online_task import Problem, Steps, batches, let_go, offline_data, play_episode, success_rate, towards_pits

sys.path.pop(0)
PROBLEM = Problem(maze="maze-u", style="play", successes_only=False, episodes=12, evaluation_episodes=8)
SHORT = Task(
    problem=PROBLEM,
    schedule=Schedule(offline_updates=4, online_steps=50, evaluate_every=20),
    rates=Rates(batch_size=16),
)


@pytest.fixture(scope="module")
def data():
    return offline_data(PROBLEM)


def test_the_data_is_the_same_again_and_its_returns_are_true(data):
    again = offline_data(PROBLEM).columns
    assert data.episodes == 12
    for name, column in data.columns.items():
        np.testing.assert_array_equal(column, again[name])
    columns, worst = data.columns, -5 / (1 - PROBLEM.gamma)
    follows = (columns["next_proprio"][:-1] == columns["proprio"][1:]).all(1)
    recursion = columns["reward"][:-1] + columns["discount"][:-1] * columns["return_to_go"][1:]
    np.testing.assert_allclose(columns["return_to_go"][:-1][follows], recursion[follows], rtol=1e-5)
    assert columns["return_to_go"].min() == pytest.approx(worst)
    ends = columns["discount"] == 0
    assert ends.sum() == data.successes
    assert (columns["reward"][ends] == 5).all()
    assert (columns["reward"][~ends] == -5).all()


def test_batches_keep_the_ratio_exactly(data):
    online_steps = Steps(PROBLEM)
    feed = batches(data, online_steps, 0.3, 50, seed=1)
    assert (next(feed).source == 0).all()  # nothing else is there yet
    online_steps.append(_episode(steps=9), np.zeros((9, 2), np.float32))
    for _ in range(5):
        batch = next(feed)
        assert np.bincount(batch.source).tolist() == [15, 35]
        assert (batch.proprio[batch.source == 1] == 7).all()
        assert (batch.proprio[batch.source == 0] != 7).any(1).all()
    keys = [next(feed).sample_key for _ in range(3)]
    assert len(np.unique(keys)) == 150
    whole = batches(data, online_steps, 0.0, 50, seed=1)
    next(whole)
    assert (next(whole).source == 1).all()


def _episode(steps):
    from robot_pt.schema import Episode
    from robot_pt_sim.point_maze import maze_spec

    return Episode(
        spec=maze_spec(), images={}, proprio=np.full((steps, 4), 7, np.float32), actions=np.zeros((steps, 2), np.float32),
        rewards=np.zeros(steps, np.float32), terminated=np.zeros(steps, bool), truncated=np.arange(steps) == steps - 1,
        success=False, task="maze-u",
    )  # fmt: skip


def _robot(problem):
    return Robot(problem.spec, problem.bounds, (np.zeros(4, np.float32), np.ones(4, np.float32)))


def test_a_policy_of_copies_sends_their_mean_and_its_own_actions_are_kept(data):
    """The maze does what it did with one copy; demonstrated copies scatter by a tenth of the longest step about what was sent."""
    from robot_pt_sim.point_maze import MAX_STEP_M, PointMaze, find_maze

    problem = replace(PROBLEM, copies=4)
    assert len(problem.spec.action_names) == len(set(problem.spec.action_names)) == len(problem.bounds.low) == 8
    copied = offline_data(problem).columns
    for name in ("proprio", "reward", "return_to_go"):
        np.testing.assert_array_equal(copied[name], data.columns[name])
    sent = data.columns["action"]
    inner = (np.abs(copied["action"]) < MAX_STEP_M).all(1)  # no copy was cut off at a bound
    assert inner.mean() > 0.2
    np.testing.assert_allclose(problem.sent(copied["action"])[0][inner], sent[inner], atol=1e-6)
    scatter = copied["action"].reshape(-1, 4, 2)[inner] - sent[inner][:, None]
    assert scatter.std() == pytest.approx(0.1 * MAX_STEP_M * np.sqrt(3 / 4), rel=0.15)
    given = np.float32([[0.1, -0.1, 0.3, 0.1, 0.1, -0.1, 0.3, 0.1]])  # on average 0.2 and 0
    episode, kept = play_episode(PointMaze(find_maze("maze-u")), lambda _: given, 5, problem)
    np.testing.assert_allclose(episode.actions, np.tile([[0.2, 0.0]], (len(episode), 1)), atol=1e-6)
    steps = Steps(problem)
    steps.append(episode, kept)
    np.testing.assert_array_equal(steps.columns["action"], np.repeat(given, len(steps), 0))


def test_a_fall_is_worth_what_the_problem_says():
    """Returns by the recursion over rewards, whatever ends the episode; and a step towards the nearest pit ends there."""
    fallen = replace(
        PROBLEM, maze="maze-ledges", strength=5.0, style="detour", episodes=20, reward_scale=0.3, reward_shift=-0.3
    )
    without, told = offline_data(fallen), offline_data(replace(fallen, fall_reward=-5.0))
    assert without.falls == told.falls > 5
    columns = told.columns
    ends = columns["discount"] == 0
    assert np.unique(columns["reward"][ends].round(4)).tolist() == pytest.approx(
        [-5.3, 0.0] if told.successes else [-5.3]
    )
    follows = (columns["next_proprio"][:-1] == columns["proprio"][1:]).all(1)
    recursion = columns["reward"][:-1] + columns["discount"][:-1] * columns["return_to_go"][1:]
    np.testing.assert_allclose(columns["return_to_go"][:-1][follows], recursion[follows], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(columns["return_to_go"][ends], columns["reward"][ends])
    proprio = np.float32(
        [[2.9, 3.5, 0, 0], [2.5, 2.1, 0, 0]]
    )  # in the left corridor: at its right edge, at its lower end
    steps = towards_pits(replace(fallen, copies=2), proprio)
    np.testing.assert_allclose(steps, [[0.4, 0.0, 0.4, 0.0], [0.0, -0.4, 0.0, -0.4]])
    still = lambda proprio: towards_pits(fallen, proprio)  # noqa: E731
    assert success_rate(still, fallen) == 0


def test_who_lets_go_has_fallen():
    """With the demonstrated grip the maze is as without one; a copy alone below 0 drops nothing, their mean does."""
    from robot_pt_sim.point_maze import MAX_STEP_M, PointMaze, find_maze

    problem = replace(PROBLEM, grip=0.8, copies=2, fall_reward=3.0, reward_shift=0.0)
    held, free = offline_data(problem).columns, offline_data(replace(PROBLEM, reward_shift=0.0)).columns
    np.testing.assert_array_equal(held["return_to_go"], free["return_to_go"])
    assert held["action"].shape[1] == len(problem.spec.action_names) == 6
    assert held["action"][:, [2, 5]].mean() == pytest.approx(0.8 * MAX_STEP_M, abs=0.02 * MAX_STEP_M)
    assert not problem.sent(held["action"])[1].any()
    assert problem.sent(let_go(problem, held["action"]))[1].all()
    given = np.float32([[0.1, 0.1, -0.1, 0.1, 0.1, 0.2]])
    simulator = PointMaze(find_maze("maze-u"))
    assert len(play_episode(simulator, lambda _: given, 5, problem)[0]) > 1
    given[0, 2] = -0.3
    episode, kept = play_episode(simulator, lambda _: given, 5, problem)
    steps = Steps(problem)
    steps.append(episode, kept)
    assert (len(steps), steps.falls, steps.successes) == (1, 1, 0)
    assert (steps.columns["reward"][0], steps.columns["discount"][0], steps.columns["return_to_go"][0]) == (
        3.0,
        0.0,
        3.0,
    )
    assert success_rate(lambda proprio: np.tile(given, (len(proprio), 1)), problem) == 0


def test_ends_of_episodes_are_told_apart():
    """Who lets go at once ends by that, with the grip given; who stands still and holds runs out of time."""
    from robot_pt_sim.point_maze import MAX_STEP_M

    problem = replace(PROBLEM, grip=0.5)
    learner = make("cql", Rates(), _robot(problem), 0, problem.gamma)
    for grip, end in ((-0.5, "let_go"), (0.5, "out_of_time")):
        action = np.float32([[0, 0, grip * MAX_STEP_M]])
        found = online_ends.ends(learner, lambda p, a=action: np.tile(a, (len(p), 1)), problem)
        assert {k: found[k] for k in ("let_go", "pit", "goal", "out_of_time")} == {
            "let_go": 0, "pit": 0, "goal": 0, "out_of_time": 0, end: problem.evaluation_episodes
        }  # fmt: skip
        assert found["grip"] == pytest.approx(grip)


def test_where_it_lets_go_is_told_beside_what_a_fall_is_worth():
    """A critic that is a table filled by hand: -4 for grips that let go, -6 for those that hold, so all are above -5 or none of -3."""
    from robot_pt_sim.point_maze import MAX_STEP_M, find_maze

    problem = replace(PROBLEM, grip=0.5, fall_reward=-4.9, reward_shift=-0.1)
    offline = offline_data(problem)
    robot = _robot(problem)._replace(table=Shape(*find_maze("maze-u").free.shape, 2, 3, 2))
    learner = make("cql", Rates(critic="table", search_boxes=6), robot, 0, problem.gamma)
    with torch.no_grad():
        learner.agent.critic.q.weight.view(-1, 2, 2)[:] = torch.tensor([-4.0, -6.0])[:, None]
    state = offline.columns["proprio"][:7] + np.float32([0.0, 0.0, 0.3, 0.0])
    at = np.concatenate([state, np.tile(np.float32([0, 0, -MAX_STEP_M]), (7, 1))], axis=1)
    found = online_ends.where_it_lets_go(learner, problem, offline, at)
    assert found == {
        "q_there": -4.0, "more_than_a_fall_is_worth": 1.0, "q_of_holding_there": pytest.approx(-5.17, abs=0.01), "from_the_data": 0.0
    }  # fmt: skip
    assert (
        online_ends.where_it_lets_go(learner, replace(problem, fall_reward=-2.9), offline, at)[
            "more_than_a_fall_is_worth"
        ]
        == 0
    )


def test_a_dip_is_held_against_that_of_the_same_seed_in_the_control():
    """By hand: 0.2 less 0.1 and 0.3 less 0; seed 3 has no pair."""

    def cell(seed, dip):
        return {"seed": seed, "central": {"before": 1, "wobble": 0.1, "lowest": 0.9 - dip, "after": 1, "regret": 0}}

    found = {"cql": [cell(1, 0.2), cell(2, 0.3), cell(3, 0.9)], "iql": [cell(1, 0.5)]}
    told = online.beyond(found, {"cql": [cell(2, 0.0), cell(1, 0.1)]})
    assert told == "CQL: dip beyond the control's, mean of 2 pairs: 20 (10 to 30)"


def test_fields_of_a_task_are_set_by_name():
    task = changed(SHORT, ["copies=4", "conservative_weight=0.5", "online_steps=30", "backup=plain"])
    assert (task.problem.copies, task.rates.conservative_weight, task.schedule.online_steps) == (4, 0.5, 30)
    assert replace(task, problem=PROBLEM).rates.backup == "plain"
    assert changed(SHORT, []) == SHORT
    with pytest.raises(UserError, match="no field 'weight'"):
        changed(SHORT, ["weight=1"])


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("table_apart=perhaps", "table_apart is 'perhaps'; give a value like False."),
        ("copies=many", "copies is 'many'; give a value like "),
        ("gamma=True", "gamma is 'True'; give a value like "),
        ("backup=3", "backup is '3'; give a value like "),
    ],
)
def test_a_field_of_a_task_takes_values_of_its_own_kind(word, sentence):
    with pytest.raises(UserError, match=sentence):
        changed(SHORT, [word])


def test_a_control_without_cells_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["online.py", "--table", "--control", str(tmp_path)])
    with pytest.raises(SystemExit, match="holds no cell; run the control"):
        online.main()


@pytest.mark.parametrize("name", ["cql", "cal_ql"])
def test_the_conservative_weight_may_be_another_on_the_job(name):
    learner = make(name, Rates(online_weight=0.0), _robot(PROBLEM), 0, 0.97)
    assert learner.agent.config.weight == Rates().conservative_weight
    assert learner.go_online() is learner
    assert learner.agent.config.weight == 0


def test_only_successes_are_kept_where_that_is_asked(data):
    kept = offline_data(replace(PROBLEM, successes_only=True))
    assert kept.episodes == kept.successes == data.successes
    assert kept.columns["return_to_go"].min() > -5 / (1 - PROBLEM.gamma)


def test_measures_of_a_curve():
    offline = [[0, 0.0], *([n, 0.5] for n in range(1, 6)), [6, 0.3], [7, 0.5], [8, 0.7], [9, 0.6]]
    found = summary(offline, [[500, 0.2], [1000, 0.8], [1500, 1.0], [2000, 0.9]], settled=8)
    expected = {"before": 0.6, "wobble": 0.3, "lowest": 0.2, "after": 0.9, "regret": 0.275}
    assert found == pytest.approx(expected)
    assert online.measures_of(found)["dip"] == pytest.approx(0.1)  # 0.3 was the lowest without any switch
    assert online.measures_of({**found, "lowest": 0.35})["dip"] == 0
    assert summary([[0, 0.25]], [[9, 1.0]], settled=8)["wobble"] == 0
    assert summary(offline, [[9, 1.0]], settled=3)["wobble"] == pytest.approx(0.1)


def test_the_scale_of_q_is_that_of_the_last_quarter():
    rows = [{"critic/q_data": float(n), "critic/bound_rate": 0.5, "actor/loss": 1.0} for n in range(8)]
    assert watched(rows) == {"q_data": 6.5, "bound_rate": 0.5}
    assert watched([]) == watched([{"actor/loss": 1.0}]) == {}


def test_who_does_nothing_fails_and_who_knows_the_way_does_not():
    from robot_pt_sim.maze_play import Walker
    from robot_pt_sim.point_maze import find_maze

    assert success_rate(lambda proprio: np.zeros((len(proprio), 2), np.float32), PROBLEM) == 0
    maze, walkers = find_maze(PROBLEM.maze), []

    def walk(proprio):
        if not walkers:
            walkers.extend(Walker(maze, "clean", np.random.default_rng(0), p) for p in proprio[:, :2])
        return np.stack([w(p) for w, p in zip(walkers, proprio[:, :2].astype(float), strict=True)])

    assert success_rate(walk, PROBLEM) == 1


def test_who_falls_into_a_pit_has_not_reached_the_goal() -> None:
    """Straight from the lower left to the right and back up: over the pits of the third column where the way leads there."""
    problem = replace(TASKS["pits"].problem, evaluation_episodes=200)
    right = success_rate(lambda proprio: np.tile(np.float32([0.4, 0.0]), (len(proprio), 1)), problem)
    down_right = success_rate(lambda proprio: np.tile(np.float32([0.4, -0.4]), (len(proprio), 1)), problem)
    assert 0 < right < down_right < 1
    data = offline_data(replace(problem, episodes=40, successes_only=False, strength=3.0)).columns
    ends = data["discount"] == 0
    assert {*data["reward"][ends].tolist()} == {0.0, 10.0}  # fallen, and there
    assert (data["return_to_go"][ends & (data["reward"] == 0)] == 0).all()
    assert (data["reward"][~ends] == 0).all()


@pytest.mark.parametrize("name", TASKS)
def test_both_conservative_ones_are_told_the_same_by_every_task(name) -> None:
    from dataclasses import asdict

    task = TASKS[name]
    robot = _robot(task.problem)
    ours, theirs = (make(a, task.rates, robot, 0, task.problem.gamma) for a in ("cal_ql", "cql"))
    assert asdict(ours.agent.config) == asdict(theirs.agent.config)
    assert ours.agent.config.backup == task.rates.backup
    assert ours.agent.config.scaled_log_std == task.rates.scaled_log_std
    assert json.loads(json.dumps(task.settings())) == task.settings()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_goes_offline_and_online(name):
    result = run_cell(name, 0, SHORT)
    assert json.loads(json.dumps(result)) == result
    assert result["offline_curve"][-1][0] == (0 if name == "rlpd" else 4)
    assert result["online_curve"][0][0] > 0
    assert result["online_episodes"] >= 2
    assert result["settings"] == SHORT.settings()
    rows = result["offline_curve"] + result["online_curve"]
    assert all(len(row) == 3 and 0 <= row[1] <= 1 and 0 <= row[2] <= 1 for row in rows)
    assert result["central"]["after"] == pytest.approx(np.mean([row[2] for row in result["online_curve"][-3:]]))
    assert result["after"] == pytest.approx(np.mean([row[1] for row in result["online_curve"][-3:]]))
    assert len(result["values"]) == 1 + len(result["online_curve"])
    before, after = result["values"][0], result["values"][-1]
    assert (
        before.keys() == after.keys() == (set() if name in ("bc", "rlpd_bc") else {"data", "policy", "pit"})
        or name == "rlpd_bc"
    )


def test_exploring_scatters_about_what_is_done(data):
    robot = _robot(PROBLEM)._replace(proprio=standardising(data.columns["proprio"], 1.0))
    learner = make("cal_ql", Rates(), robot, 0, PROBLEM.gamma)
    proprio = data.columns["proprio"][:64]
    greedy, drawn = learner.act(proprio), learner.explore(proprio)
    assert greedy.shape == drawn.shape == (64, 2)
    assert (np.abs(drawn) <= robot.bounds.high[0]).all()
    assert (greedy != drawn).any(1).all()
    np.testing.assert_array_equal(greedy, learner.act(proprio))


def test_of_explored_steps_the_share_asked_for_is_drawn_evenly():
    """The others are the policy's own; with 0 it acts as it is."""
    bounds, probability = PROBLEM.bounds, 0.3
    high = bounds.high[0]
    own = lambda proprio_NP: np.full((len(proprio_NP), 2), 0.25 * high, np.float32)  # noqa: E731
    assert exploring(own, bounds, 0.0, np.random.default_rng(0)) is own
    given = exploring(own, bounds, probability, np.random.default_rng(0))(np.zeros((20_000, 4), np.float32))
    assert given.dtype == np.float32
    drawn = (given != np.float32(0.25 * high)).any(1)
    assert drawn.mean() == pytest.approx(probability, abs=0.015)
    np.testing.assert_allclose(given[drawn].mean(0), 0, atol=0.03 * high)
    np.testing.assert_allclose(given[drawn].std(0), high / np.sqrt(3), rtol=0.03)
    assert (np.abs(given) <= high).all()


def test_an_explored_action_is_held_for_the_steps_asked_for():
    bounds, steps = PROBLEM.bounds, 4
    own = lambda proprio_NP: np.zeros((len(proprio_NP), 2), np.float32)  # noqa: E731
    act = exploring(own, bounds, 0.1, np.random.default_rng(1), steps=steps)
    given = np.array([act(np.zeros((1, 4), np.float32))[0] for _ in range(4_000)])
    edges = np.flatnonzero((given[1:] != given[:-1]).any(1)) + 1
    runs = [run for run in np.split(given, edges) if run.any()]
    assert {len(run) for run in runs[:-1]} == {steps}
    assert (given != 0).any(1).mean() == pytest.approx(0.1 * steps / (0.9 + 0.1 * steps), abs=0.03)


def test_steps_are_explored_on_the_job_only(monkeypatch):
    """Who is explored is who plays; the curves are of the policy itself."""
    import online_cell

    asked = []
    monkeypatch.setattr(
        online_cell, "exploring", lambda act, *rest, **held: asked.append(rest[1]) or (lambda p: 0 * act(p))
    )
    judged = []
    real = online_cell.success_rate
    monkeypatch.setattr(online_cell, "success_rate", lambda act, problem: judged.append(act) or real(act, problem))
    result = run_cell("bc", 0, replace(SHORT, schedule=replace(SHORT.schedule, explore=0.5)))
    assert asked == [0.5]
    assert result["online_successes"] == 0  # who stands still
    assert {act.__name__ for act in judged} == {"explore", "act"}


@pytest.mark.parametrize("name", ["cql", "iql"])
def test_steps_may_be_played_before_the_first_update(name):
    assert make(name, Rates(played_first=70), _robot(PROBLEM), 0, 0.97).plan.warm_up_steps == 70
    assert make(name, Rates(), _robot(PROBLEM), 0, 0.97).plan.warm_up_steps == 0


def test_cells_are_resumed_and_never_mixed(tmp_path, capsys):
    online.run(["bc"], 2, SHORT, tmp_path)
    stamps = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.json")}
    assert set(stamps) == {"bc-0.json", "bc-1.json"}
    (tmp_path / "bc-1.json").unlink()
    online.run(["bc"], 2, SHORT, tmp_path)
    assert (tmp_path / "bc-0.json").stat().st_mtime_ns == stamps["bc-0.json"]
    assert (tmp_path / "bc-1.json").exists()
    with pytest.raises(UserError, match="evaluate_every"):
        online.run(["bc"], 1, replace(SHORT, schedule=replace(SHORT.schedule, evaluate_every=25)), tmp_path)
    assert capsys.readouterr().out.count("bc seed") == 3


@pytest.mark.parametrize("task", TASKS)
def test_what_a_user_types_may_be_typed_again(task, tmp_path, monkeypatch, capsys) -> None:
    """The page lies beside the cells, and is none."""
    monkeypatch.setitem(online.TASKS, task, SHORT)
    for seeds in ("1", "2"):
        words = ["--task", task, "--algorithms", "bc", "--seeds", seeds, "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["online.py", *words])
        online.main()
        shown = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (shown["task"], list(shown["cells"])) == (task, ["bc"])
    page = "online" if task == "detours" else "online_" + task.replace("-", "_")
    assert {p.name for p in tmp_path.glob("*.json")} == {"bc-0.json", "bc-1.json", f"{page}.json"}


def test_the_table_says_what_the_cells_hold(tmp_path):
    for seed, before in enumerate([0.4, 0.5, 0.6]):
        values = {"before": before, "wobble": 0.05, "lowest": 0.25, "after": 1.0, "regret": 0.1}
        scale = {"q_data": -80.0 - seed, "return": -40.0, "bound_rate": 0.25}
        cell = {"algorithm": "cql", "seed": seed, "settings": {}, "scale_offline": scale, **values}
        cell |= {"central": {**values, "lowest": 0.35, "after": 0.9}}
        (tmp_path / f"cql-{seed}.json").write_text(json.dumps(cell))
    found = online.load(tmp_path)
    row = online.table(found).splitlines()[-1]
    assert row.startswith(
        "| CQL | 3 | 50 (40 to 60) | 35 (35 to 35) | 10 (0 to 20) | 90 (90 to 90) | 10 (10 to 10) | 50, 25 | 20 (10 to 30) | 100 (100 to 100) | 10 (10 to 10) | -81 / -40 | 25 |"
    )
    (tmp_path / "bc-0.json").write_text(json.dumps({**cell, "algorithm": "bc", "central": [0.5, 0.5]}))
    assert online.table(online.load(tmp_path)).splitlines()[-1].startswith("| BC | 1 |  |  |  |  |  | 60, 25 |")
    (tmp_path / "iql-0.json").write_text(json.dumps({**cell, "algorithm": "iql", "settings": {"maze": "other"}}))
    with pytest.raises(UserError, match="different settings"):
        online.load(tmp_path)


def test_the_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    curve = {"offline_curve": [[0, 0.0, 0.1], [4, 0.4, 0.5]], "online_curve": [[0, 0.4, 0.5], [30, 0.9, 1.0]]}
    online.plot({"cql": [curve, curve], "rlpd": [{**curve, "offline_curve": [[0, 0.0, 0.0]]}]}, tmp_path / "curves.svg")
    drawn = (tmp_path / "curves.svg").read_text()
    assert drawn.count("<path") > 10
    assert "RLPD" in drawn


def test_the_page_keeps_one_line_per_cell(tmp_path):
    online.run(["bc", "iql"], 2, SHORT, tmp_path)
    text = online.digest(online.load(tmp_path))
    kept = json.loads(text)
    assert [(row["algorithm"], row["seed"]) for row in kept["cells"]] == [("iql", 0), ("iql", 1), ("bc", 0), ("bc", 1)]
    assert len(text.splitlines()) == 1 + 4 + 1
    assert kept["settings"] == SHORT.settings()
    assert kept["cells"][0]["scale_offline"].keys() == {"q_data", "return"}
    assert kept["data"]["episodes"] == 12


def test_a_table_is_printed_and_files_are_written_where_that_is_told(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    page = Path(online.__file__).parent
    before = {path: path.read_bytes() for path in page.glob("online*") if path.suffix in (".json", ".svg")}
    assert before, "the page's own files"
    cells, chosen = tmp_path / "cells", tmp_path / "page.svg"
    online.run(["bc"], 1, SHORT, cells)
    monkeypatch.setattr("sys.argv", ["online.py", "--table", "--out", str(cells)])
    online.main()
    assert "| BC | 1 |" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in cells.iterdir()] == ["bc-0.json"]
    monkeypatch.setattr("sys.argv", ["online.py", "--table", "--out", str(cells), "--plot", str(chosen)])
    online.main()
    assert json.loads((tmp_path / "page.json").read_text())["cells"][0]["algorithm"] == "bc"
    assert "<path" in chosen.read_text()
    assert {path: path.read_bytes() for path in before} == before
    monkeypatch.setattr("sys.argv", ["online.py", "--table", "--plot", str(chosen.with_suffix(".json"))])
    with pytest.raises(SystemExit, match=r"page.json is no .svg"):
        online.main()


@pytest.mark.parametrize(("scaled", "expected"), [(True, -1.0), (False, 0.0)])
def test_the_deviation_at_the_start_is_the_one_that_is_said(scaled, expected) -> None:
    """What the offline success of d3rlpy's CQL and Cal-QL lay above ours by."""
    import torch

    actor = make("cal_ql", Rates(scaled_log_std=scaled), _robot(PROBLEM), 0, 0.97).agent.actor
    count = 16
    law = actor({}, torch.randn(count, 4), torch.zeros(count, dtype=torch.int64), torch.zeros(count, 0))
    assert (law.log_std_BA - expected).abs().max() < 0.1
