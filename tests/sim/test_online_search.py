"""benchmarks/online_search.py: a density of boxes against counts and against its own shares, and CQL and Cal-QL whose policy it is."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from online_cell import Schedule, Task, begun, learn_offline, load_data, robot_of, run_cell
from online_learners import Rates, make
from online_search import Boxes, centres
from online_task import Problem

sys.path.pop(0)
PROBLEM = Problem(maze="maze-pits", grip=0.5, episodes=4, evaluation_episodes=4, anywhere=False)
TASK = Task(
    problem=PROBLEM,
    schedule=Schedule(offline_updates=3, online_steps=60, evaluate_every=20, explore=0.3),
    rates=Rates(batch_size=16, critic="table", search_boxes=4),
)


@pytest.mark.parametrize("shape", [(5,), (3, 3), (2, 2, 2)])
def test_boxes_are_drawn_as_often_as_their_shares_say_evenly_inside_and_with_their_own_density(shape):
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(2, *shape, generator=generator).square()
    share[1].flatten()[0] = 0  # never drawn
    share /= share.flatten(1).sum(1).view(-1, *[1] * len(shape))
    count, boxes, size = 40_000, shape[0], len(shape)
    action, log = Boxes(share).sample(torch.randn(2, count, size, generator=generator))
    assert action.abs().max() <= 1
    place = ((action + 1) / 2 * boxes).clamp(max=boxes - 1e-4)
    for row in range(2):
        hit = np.ravel_multi_index(place[row].floor().long().T.numpy(), shape)
        seen = np.bincount(hit, minlength=boxes**size) / count
        np.testing.assert_allclose(seen, share[row].flatten(), atol=0.012)
        expected = share[row].flatten()[torch.from_numpy(hit)].log() - size * math.log(2 / boxes)
        torch.testing.assert_close(log[row], expected)
    inside = place - place.floor()
    assert inside.mean().item() == pytest.approx(0.5, abs=0.01)
    assert inside.std().item() == pytest.approx(1 / math.sqrt(12), abs=0.01)


def test_its_central_action_is_the_middle_of_the_likeliest_box():
    share = torch.zeros(1, 4, 4)
    share[0, 3, 1] = 1
    torch.testing.assert_close(Boxes(share).mode(), torch.tensor([[0.75, -0.25]]))
    assert centres(4, 2).shape == (16, 2)


def test_whatever_is_rated_highest_is_done_however_far_it_is_from_what_was_done_before():
    """In a table of random numbers: the likeliest box is the best of all asked one by one, and shares are the softmax of those."""
    learner = make("cql", TASK.rates, robot_of(TASK, load_data(PROBLEM)), 0, PROBLEM.gamma)
    proprio = np.float32([[2.5, 3.5, 0, 0]])
    asked = learner.agent.actor.normalizer.decode(centres(4, 3)).numpy()
    with torch.no_grad():
        learner.agent.critic.q.weight.normal_(generator=torch.Generator().manual_seed(3))
    q = learner.values(np.repeat(proprio, len(asked), 0), asked)
    np.testing.assert_allclose(learner.act(proprio)[0], asked[q.argmax()], atol=1e-6)
    shares = learner.agent.acting({}, torch.from_numpy(proprio), torch.zeros(1).long(), torch.zeros(1, 0)).share
    odds = np.exp((q - q.max()) / TASK.rates.search_temperature)
    np.testing.assert_allclose(shares.flatten(), odds / odds.sum(), atol=1e-5)


@pytest.mark.parametrize("name", ["cql", "cal_ql"])
def test_nothing_but_the_critic_is_learned(name):
    learner = make(name, TASK.rates, robot_of(TASK, load_data(PROBLEM)), 0, PROBLEM.gamma)
    before = learner.agent.state_dict()
    cell = run_cell(name, 0, TASK)
    assert {"lets_go", "let_go"} <= cell["values"][0].keys()
    assert np.isfinite(list(cell["values"][-1].values())).all()
    gaussian = run_cell(name, 0, replace(TASK, rates=replace(TASK.rates, search_boxes=0)))
    assert gaussian["values"][0] != cell["values"][0]
    learn_offline(learner, load_data(PROBLEM), TASK, 0)
    moved = {
        key.split(".")[0]
        for key, value in learner.agent.state_dict().items()
        if key in before and (value != before[key]).any()
    }
    assert moved == {"critic", "target"}


def test_what_nothing_is_known_of_is_worth_what_is_said():
    learner = make(
        "cal_ql",
        replace(TASK.rates, table_start=-7.0),
        robot_of(replace(TASK, rates=replace(TASK.rates, table_start=-7.0)), load_data(PROBLEM)),
        0,
        0.97,
    )
    assert learner.values(np.float32([[2.5, 3.5, 0, 0]]), np.zeros((1, 3), np.float32)).item() == pytest.approx(-7)
    assert (learner.agent.target.q.weight == -7).all()


def test_where_a_held_action_was_first_taken():
    """Rows 1 to 3 hold one action; row 4 holds it too, but in the next episode."""
    action = np.float32([[0], [1], [1], [1], [1], [2]])
    proprio = np.float32([[0], [1], [2], [3], [9], [8]])
    following = np.float32([[1], [2], [3], [4], [8], [7]])
    columns = {"action": action, "proprio": proprio, "next_proprio": following}
    assert begun(columns, np.array([0, 3, 4, 5])).tolist() == [0, 1, 4, 5]
