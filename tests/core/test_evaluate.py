"""Evaluations continue where they stopped and refuse what cannot be compared."""

import json

import pytest

from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.evaluate import FIRST_SEED, EpisodeResult, episode_seeds, evaluate, load


class Rollouts:
    """Succeeds on even seeds; stops with `interrupt` before its `after`-th episode."""

    def __init__(self, after=None, interrupt=KeyboardInterrupt):
        self.played = []
        self.after, self.interrupt = after, interrupt

    def __call__(self, seeds):
        for seed in reversed(seeds):  # workers finish in any order
            if self.after is not None and len(self.played) >= self.after:
                raise self.interrupt
            self.played.append(seed)
            yield EpisodeResult(
                seed=seed, success=seed % 2 == 0, steps=seed % 7 + 1, initial_conditions={"x": seed / 3}
            )


def run(rollouts, log=None, **changes):
    return evaluate(rollouts, **{"task": "lift", "episodes": 6, "seed": 2, "name": "ptr", "log": log, **changes})


def test_results_come_back_sorted_with_their_rate(tmp_path):
    seen = []
    e = run(Rollouts(), tmp_path / "a" / "log.jsonl", observe=seen.append)
    assert e.seeds == episode_seeds(2, 6)
    assert (e.successes, e.n) == (3, 6)
    assert sorted(r.seed for r in seen) == e.seeds


def test_works_without_a_log():
    assert run(Rollouts()).rate == 0.5


@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, OSError])
def test_interrupted_evaluation_resumes_and_plays_nothing_twice(tmp_path, after, interrupt):
    log = tmp_path / "log.jsonl"
    first = Rollouts(after, interrupt)
    with pytest.raises(interrupt):
        run(first, log)
    second = Rollouts()
    resumed = run(second, log)
    assert sorted(first.played + second.played) == episode_seeds(2, 6)
    assert resumed == run(Rollouts())
    third = Rollouts()
    assert run(third, log) == resumed
    assert third.played == []


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_torn_by_a_crash_is_played_again(tmp_path, cut):
    log = tmp_path / "log.jsonl"
    whole = run(Rollouts(), log)
    raw = log.read_bytes()
    log.write_bytes(raw[:-cut])
    again = Rollouts()
    assert run(again, log) == whole
    assert len(again.played) == 1
    assert load(log) == whole


def test_a_crash_while_the_header_was_written_starts_afresh(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"kind": "robot-pt ev')
    assert run(Rollouts(), log).n == 6
    assert load(log).n == 6


def test_more_episodes_later_keep_the_first_ones(tmp_path):
    log = tmp_path / "log.jsonl"
    run(Rollouts(), log, episodes=4)
    more = Rollouts()
    assert run(more, log, episodes=9).n == 9
    assert len(more.played) == 5
    assert run(Rollouts(), log, episodes=2).seeds == episode_seeds(2, 2)


def test_a_log_of_something_else_is_never_mixed_in(tmp_path):
    log = tmp_path / "log.jsonl"
    run(Rollouts(), log, settings={"checkpoint": "abc"})
    for change in ({"task": "door"}, {"seed": 3}, {"name": "bc"}, {"settings": {"checkpoint": "xyz"}}):
        with pytest.raises(MismatchError, match="holds another evaluation"):
            run(Rollouts(), log, **{"settings": {"checkpoint": "abc"}, **change})


def test_rollouts_that_come_back_short_say_how_to_go_on():
    with pytest.raises(UserError, match=r"5 of 6 episodes of 'ptr' did not finish.*run the same command again"):
        run(lambda seeds: [EpisodeResult(seed=seeds[0], success=True, steps=1)])


@pytest.mark.parametrize("bad", [lambda seeds: [99], lambda seeds: [seeds[0], seeds[0]]])
def test_rollouts_of_other_seeds_are_our_mistake(bad):
    with pytest.raises(AssertionError):
        run(lambda seeds: [EpisodeResult(seed=s, success=True, steps=1) for s in bad(seeds)])


def test_rollouts_are_closed_when_an_observer_fails(tmp_path):
    closed = []

    def rollouts(seeds):
        try:
            for seed in seeds:
                yield EpisodeResult(seed=seed, success=True, steps=1)
        finally:
            closed.append(True)

    def full_disk(result):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space") as kept:
        run(rollouts, tmp_path / "log.jsonl", observe=full_disk)
    assert closed == [True]
    assert kept.value is not None
    assert load(tmp_path / "log.jsonl").n == 1


@pytest.mark.parametrize("episodes", [0, -1, 10_001])
def test_number_of_episodes_is_checked_before_anything_runs(tmp_path, episodes):
    rollouts = Rollouts()
    with pytest.raises(UserError, match=f"--episodes is {episodes}"):
        run(rollouts, tmp_path / "log.jsonl", episodes=episodes)
    assert not rollouts.played
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize("seed", [-1, 100_000])
def test_seed_is_checked(seed):
    with pytest.raises(UserError, match=f"--seed is {seed}"):
        episode_seeds(seed, 1)


def test_seeds_of_different_runs_never_overlap_and_fit_32_bits():
    assert episode_seeds(0, 3) == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]
    assert not set(episode_seeds(4, 10_000)) & set(episode_seeds(5, 10_000))
    assert episode_seeds(99_999, 10_000)[-1] < 2**32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not an evaluation log"),
        ("[1]\n", "not an evaluation log"),
        ('{"kind": "something"}\n', "not an evaluation log"),
        ("not json\n", "line 1 is not JSON"),
    ],
)
def test_files_that_are_no_logs(tmp_path, content, message):
    log = tmp_path / "log.jsonl"
    log.write_text(content)
    with pytest.raises(DataError, match=message):
        load(log)


def test_damage_in_the_middle_is_named_with_its_line(tmp_path):
    log = tmp_path / "log.jsonl"
    run(Rollouts(), log)
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:3], lines[3][:20], *lines[4:]]) + "\n")
    with pytest.raises(DataError, match="line 4 is not JSON"):
        load(log)
    log.write_text("\n".join([*lines[:3], "[]", *lines[4:]]) + "\n")
    with pytest.raises(DataError, match="an episode result has the fields"):
        load(log)


def test_missing_and_empty_logs(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(Rollouts(0), tmp_path / "log.jsonl")
    with pytest.raises(DataError, match="no finished episode"):
        load(tmp_path / "log.jsonl")


def test_every_line_is_json_on_its_own(tmp_path):
    log = tmp_path / "log.jsonl"
    run(Rollouts(), log)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows[0]["kind"] == "robot-pt evaluation"
    assert {r["seed"] for r in rows[1:]} == set(episode_seeds(2, 6))
