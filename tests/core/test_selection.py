import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robot_pt import checkpoint
from robot_pt.agents.bc import BC
from robot_pt.agents.ptr import PTR
from robot_pt.errors import DataError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.policy_record import PolicyRecord
from robot_pt.replay import episode_batches, to_device
from robot_pt.rewards import RewardLabel
from robot_pt.schema import FAILURE, SUCCESS, UNKNOWN
from robot_pt.selection import Score, SelectionRule, Selector, choose, held_out_demos, read_scores, rise, score
from robot_pt.tasks import TaskTable

TASKS = TaskTable.of(["lift"])


@given(arrays(np.float64, st.integers(2, 40), elements=st.integers(-5, 5).map(float)))
def test_rise_is_spearmans_correlation_with_time(values):
    if (values == values[0]).all():
        assert rise(values) == 0
    else:
        assert rise(values) == pytest.approx(scipy.stats.spearmanr(np.arange(len(values)), values).statistic, abs=1e-9)


def test_rise_at_its_ends():
    assert rise(np.array([-3.0, -2.9, 5.0])) == pytest.approx(1)
    assert rise(np.array([2.0, 1.0, 0.0])) == pytest.approx(-1)
    assert rise(np.array([7.0])) == 0
    assert rise(np.array([1.0, np.nan, 3.0])) == -1


def judged(rises, errors=None):
    return [
        Score(step, [] if r is None else [[0.0]], [] if r is None else [r], errors[i] if errors else 1.0, 0.0)
        for i, (step, r) in enumerate(rises.items())
    ]


def test_on_the_plateau_of_values_the_policy_closest_to_the_demos_wins():
    rises = {400: 0.90, 100: 0.3, 200: 0.6, 300: 0.885, 500: 0.9, 600: 0.7}
    choice = choose(judged(rises, errors=[0.2, 0.01, 0.01, 0.3, 0.1, 0.01]), SelectionRule())
    assert (choice.step, choice.rule) == (500, "values")
    assert "of the 3 checkpoints within 0.02 of the best (0.900; 5 are at or above 0.5)" in choice.reason
    assert "action error 0.1)" in choice.reason


def test_among_equals_the_earliest_wins():
    assert choose(judged({400: 0.90, 300: 0.885, 500: 0.9}), SelectionRule()).step == 300


def test_tolerance_and_threshold_are_used():
    scores = judged({1: 0.4, 2: 0.6, 3: 0.9})
    assert choose(scores, SelectionRule(tolerance=0)).step == 3
    assert choose(scores, SelectionRule(tolerance=0.35)).step == 2
    assert choose(scores, SelectionRule(tolerance=1)).step == 2
    assert choose(scores, SelectionRule(tolerance=1, threshold=0.3)).step == 1


def test_flat_or_falling_values_leave_the_choice_to_imitation():
    choice = choose(judged({1: 0.1, 2: -0.8, 3: 0.4}, errors=[0.3, 0.1, 0.2]), SelectionRule())
    assert (choice.step, choice.rule) == (2, "imitation")
    assert "best 0.400, needed 0.5" in choice.reason
    assert "0.1)" in choice.reason


def test_without_values_the_lowest_error_wins_and_ties_go_to_the_earlier():
    choice = choose(judged({3: None, 1: None, 2: None}, errors=[0.1, 0.2, 0.1]), SelectionRule())
    assert (choice.step, choice.rule) == (2, "imitation")
    assert "no values on demos known to succeed" in choice.reason


@pytest.mark.parametrize("values", [{"threshold": 2}, {"tolerance": -0.1}])
def test_a_senseless_rule_is_refused(values):
    with pytest.raises(UserError, match="rank correlations"):
        SelectionRule(**values)


def test_only_successes_are_judged_and_unknown_ones_only_on_request(memory_source):
    source = memory_source([5, 5, 5, 2], success=[SUCCESS, FAILURE, UNKNOWN, SUCCESS])
    demos, known = held_out_demos(source, RewardLabel())
    assert (demos.episodes.start.tolist(), known) == ([0], True)
    demos, known = held_out_demos(source, RewardLabel(assume_success=True))
    assert (demos.episodes.start.tolist(), known) == ([0, 10], True)
    demos, known = held_out_demos(memory_source([5, 5]), RewardLabel())
    assert (len(demos.episodes), known) == (2, False)


def demos_of(source):
    return list(
        episode_batches(
            source, cameras=["primary"], image_size=(16, 16), reward=RewardLabel(), gamma=0.96, task_table=TASKS
        )
    )


def agent_of(kind, source, norm="group"):
    return kind.build(
        source.spec, cameras=["primary"], image_size=(16, 16), task_slots=TASKS.slots,
        encoder=EncoderConfig(name="small", latent=16, norm=norm), seed=0,
    )  # fmt: skip


def save(run, step, agent, source):
    record = PolicyRecord.of(agent="toy", network=agent.actor.config, spec=source.spec, tasks=TASKS)
    checkpoint.save(run, step, agent, record, {})


def test_scores_of_a_real_critic_are_its_values_along_each_demo(memory_source):
    source = memory_source([7, 5])
    agent, demos = agent_of(PTR, source), demos_of(source)
    found = score(3, agent, demos, successful=True)
    assert [len(v) for v in found.values] == [7, 5]
    want = agent.values(to_device(demos[1], "cpu")).tolist()
    np.testing.assert_allclose(found.values[1], want, atol=1e-5)
    assert found.spearman[1] == pytest.approx(rise(np.array(found.values[1])), abs=1e-6)
    assert found.rise == pytest.approx(np.mean(found.spearman))
    assert agent.actor.training
    mode = agent.actor.mode(
        *(to_device(demos[0], "cpu")._asdict()[n] for n in ("images", "proprio", "task", "language"))
    )
    gap = agent.actor.normalizer.encode(mode) - agent.actor.normalizer.encode(torch.from_numpy(demos[0].action))
    first = score(3, agent, demos[:1], successful=True)
    assert first.action_error == pytest.approx(float(gap.square().mean()), rel=1e-2)
    assert score(3, agent, demos, successful=False).values == []


@pytest.mark.parametrize("kind", [PTR, BC])
def test_judging_changes_nothing_of_an_agent_with_batch_norm(memory_source, kind):
    source = memory_source([7, 5])
    agent, demos = agent_of(kind, source, norm="batch"), demos_of(source)
    agent.update(to_device(demos[0], "cpu"), 0)  # statistics and moments that are not the first ones
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    assert any("running_mean" in name and value.abs().max() > 0 for name, value in before.items())
    found = score(3, agent, demos, successful=True)
    torch.testing.assert_close(agent.state_dict(), before, rtol=0, atol=0)
    assert agent.actor.training
    if kind is PTR:
        assert agent.critic.training
        one = to_device(demos[0], "cpu")
        short = one._replace(
            images={c: v[:2] for c, v in one.images.items()},
            **{n: getattr(one, n)[:2] for n in ("proprio", "task", "language", "action")},
        )
        np.testing.assert_allclose(
            agent.values(short).tolist(), found.values[0][:2], atol=1e-4
        )  # whatever the others are
    agent.update(to_device(demos[0], "cpu"), 1)
    assert any(not torch.equal(v, before[n]) for n, v in agent.state_dict().items() if "running_mean" in n)


def test_a_run_is_selected_as_it_is_written_and_every_score_is_logged(tmp_path, memory_source):
    source = memory_source([7, 5])
    agent = agent_of(PTR, source)
    rises = iter([[0.0] * 7, [0.0] * 5, range(7), range(5), range(7), range(5)])
    agent.values = lambda batch: torch.tensor([float(v) for v in next(rises)])
    selector = Selector(tmp_path, demos_of(source), successful=True)
    chosen = []
    for step in (10, 20, 30):
        save(tmp_path, step, agent, source)
        chosen.append(selector.after(step, agent).step)
    assert chosen == [10, 20, 20]
    assert checkpoint.resolve(tmp_path).name == "step_00000020"
    document = json.loads((tmp_path / "selection.json").read_text())
    assert (document["selected"], document["by"]) == (20, "values")
    assert [s["mean_spearman"] for s in document["scores"]] == [0, 1, 1]
    assert document["scores"][2]["values"] == [list(range(7)), list(range(5))]
    assert document["demos"] == [{"task": 0, "steps": 7}, {"task": 0, "steps": 5}]
    assert [s.step for s in read_scores(tmp_path)] == [10, 20, 30]
    resumed = Selector(tmp_path, demos_of(source), successful=True, start=20)
    assert [s.step for s in resumed.scores] == [10, 20]
    assert Selector(tmp_path, demos_of(source), successful=True).scores == []


def test_an_agent_without_critic_is_selected_by_imitation(tmp_path, memory_source):
    source = memory_source([7, 5])
    agent = agent_of(BC, source)
    selector = Selector(tmp_path, demos_of(source), successful=True)
    save(tmp_path, 1, agent, source)
    choice = selector.after(1, agent)
    assert choice.rule == "imitation"
    (entry,) = read_scores(tmp_path)
    assert entry.values == []
    assert entry.action_error > 0
    assert np.isfinite(entry.log_likelihood)


def test_pruned_checkpoints_are_not_chosen(tmp_path, memory_source):
    source = memory_source([7])
    agent = agent_of(BC, source)
    selector = Selector(tmp_path, demos_of(source), successful=False)
    save(tmp_path, 1, agent, source)
    selector.after(1, agent)
    selector.scores = [selector.scores[0]._replace(step=0, action_error=-1.0)]
    save(tmp_path, 2, agent, source)
    assert selector.after(2, agent).step == 2


def test_missing_demos_and_a_damaged_file_are_sentences(tmp_path, memory_source):
    with pytest.raises(UserError, match="at least one held-out"):
        Selector(tmp_path, [], successful=True)
    for damage in ("{", '{"scores": [{}]}', '{"scores": 3}', "{}"):
        (tmp_path / "selection.json").write_text(damage)
        with pytest.raises(DataError, match="damaged"):
            read_scores(tmp_path)


def test_a_full_disk_is_a_sentence(tmp_path, memory_source, monkeypatch):
    source = memory_source([7])
    agent = agent_of(BC, source)
    save(tmp_path, 1, agent, source)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robot_pt.selection.replace_json", refuse)
    with pytest.raises(DataError, match="No space left"):
        Selector(tmp_path, demos_of(source), successful=False).after(1, agent)
    assert not Path(tmp_path / "selected").exists()
