"""What own steps before a takeover are worth, against numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from robot_pt.online.replay import OnlineReplay
from robot_pt.online.takeovers import OwnRun, before_takeovers
from robot_pt.rewards import RewardLabel
from robot_pt.store import DemoStore
from tests.online.toys import STATE, make_episode

GAMMA = 0.9
WORST = -10.0  # -1 / (1 - 0.9): a step of -1 for ever


def columns_of(tasks, drivers: str, *, label=None, rewards=None, success=True, **more) -> dict:
    """The columns of an episode whose steps p and i say who drove: the policy, or a person."""
    names = {"p": "policy", "i": "intervention"}
    episode = make_episode(0, steps=len(drivers), success=success, operator=[names[d] for d in drivers])
    if rewards is not None:
        episode = replace(episode, rewards=np.array(rewards, np.float32))
    with OnlineReplay(
        {}, online=1.0, spec=STATE, cameras=(), image_size=(0, 0), batch_size=4, reward=label or RewardLabel(final_steps=1), gamma=GAMMA,
        task_table=tasks, seed=0, **more,
    ) as replay:  # fmt: skip
        return replay.columns(episode)


def test_own_steps_before_a_takeover_are_a_failure_and_the_persons_are_a_success(tasks) -> None:
    found = columns_of(tasks, "pppiii")
    assert found["return_to_go"] == pytest.approx([WORST] * 3 + [-1 + 0.9 * 8, 8, 10])  # 8 = -1 + 0.9 * 10
    assert found["reward"] == pytest.approx([-1] * 5 + [10])
    assert found["discount"] == pytest.approx([0.9] * 5 + [0])
    assert found["next_row"].tolist() == [1, 2, 3, 4, 5, 5]  # the critic bootstraps across the takeover


def test_with_credit_they_are_worth_what_the_person_reached(tasks) -> None:
    found = columns_of(tasks, "pppiii", credit_help=True)
    assert found["return_to_go"] == pytest.approx([1.8098, 3.122, 4.58, 6.2, 8, 10])


def test_no_reward_of_the_success_reaches_back_over_a_late_takeover(tasks) -> None:
    """PTR rewards the last three steps and ends the return there; the first of them is the policy's here."""
    label = RewardLabel(final_steps=3)
    found, credited = (columns_of(tasks, "ppppii", label=label, credit_help=credit) for credit in (False, True))
    assert credited["reward"] == pytest.approx([-1, -1, -1, 10, 10, 10])
    assert found["reward"] == pytest.approx([-1, -1, -1, -1, 10, 10])
    assert found["discount"] == pytest.approx([0.9] * 4 + [0, 0])
    assert found["return_to_go"] == pytest.approx([WORST] * 4 + [10, 10])


def test_sums_over_several_steps_end_at_the_takeover(tasks) -> None:
    found = columns_of(tasks, "pppiii", n_step=3)
    assert found["reward"][:3] == pytest.approx([-1 - 0.9 - 0.81, -1 - 0.9, -1])
    assert found["discount"][:3] == pytest.approx([0.729, 0.81, 0.9])
    assert found["next_row"][:3].tolist() == [3, 3, 3]
    assert found["reward"][3] == pytest.approx(-1 - 0.9 + 0.81 * 10)


def test_every_takeover_counts_and_own_steps_that_nobody_interrupts_keep_their_return(tasks) -> None:
    found = columns_of(tasks, "ppiippip")
    last = [-1 + 0.9 * 10, 10]
    assert found["return_to_go"][[0, 1, 4, 5]] == pytest.approx([WORST] * 4)
    assert found["return_to_go"][6:] == pytest.approx(last)
    assert found["return_to_go"][3] == pytest.approx(-1 - 0.9 - 0.81 + 0.729 * 8)  # what followed the person's steps


@pytest.mark.parametrize(
    ("drivers", "runs"),
    [("pppp", []), ("iiii", []), ("iipp", []), ("ppii", [(0, 2)]), ("ippi", [(1, 3)]), ("pipi", [(0, 1), (2, 3)])],
)
def test_runs_that_a_takeover_ends(drivers: str, runs: list[tuple[int, int]]) -> None:
    assert before_takeovers(np.array([d == "i" for d in drivers])) == [OwnRun(*run) for run in runs]


@pytest.mark.parametrize("drivers", ["pppp", "iiii", "iipp"])
@pytest.mark.parametrize("success", [True, False, None])
def test_without_a_takeover_of_own_steps_nothing_changes(tasks, drivers: str, success: bool | None) -> None:
    found, credited = (columns_of(tasks, drivers, success=success, credit_help=credit) for credit in (False, True))
    for name, values in credited.items():
        assert np.array_equal(found[name], values), name


@pytest.mark.parametrize(("beyond", "returns"), [("repeat_last", [9, 10, 10]), ("worst", [1.71, 1.9, 1])])
def test_stored_rewards_count_up_to_the_takeover(tasks, beyond, returns: list[float]) -> None:
    """Kitchen's count of what is done stays for ever, others' unseen future is the worst there can be, here 0."""
    label = RewardLabel(source="stored", scale=1.0, shift=0.0, terminal="stored", beyond=beyond)
    found = columns_of(tasks, "pppii", label=label, rewards=[0, 1, 1, 4, 4])
    assert found["return_to_go"][:3] == pytest.approx(returns)
    assert found["reward"] == pytest.approx([0, 1, 1, 4, 4])


def test_an_unknown_end_that_is_taken_for_success_does_not_credit_them_either(tasks) -> None:
    label = RewardLabel(final_steps=1, assume_success=True)
    found = columns_of(tasks, "ppii", label=label, success=None)
    assert found["return_to_go"] == pytest.approx([WORST, WORST, 8, 10])


def test_batches_hold_it_and_neither_source_the_others(tmp_path, tasks) -> None:
    """Own steps before a takeover lie below any `least_return` above a failure's; the person's steps lie above."""
    store = DemoStore.create(tmp_path / "s", STATE)
    name = store.append(make_episode(0, steps=6, operator=["policy"] * 3 + ["intervention"] * 3))
    with OnlineReplay(
        {}, online=0.5, interventions=0.5, spec=STATE, cameras=(), image_size=(0, 0), batch_size=32, reward=RewardLabel(final_steps=1),
        gamma=GAMMA, task_table=tasks, seed=0,
    ) as replay:  # fmt: skip
        replay.append(store.read(name), store.path / name)
        batch = next(replay)
    own = batch.proprio[:, 1] < 3
    assert 0 < own.sum() < 32
    assert batch.return_to_go[own] == pytest.approx(np.full(own.sum(), WORST))
    assert (batch.return_to_go[~own] > WORST + 10).all()
