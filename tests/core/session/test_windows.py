"""A policy that looks further back than the session would keep, and is measured as it will be used."""

import itertools

from robot_pt.session import Session, SessionSettings
from robot_pt.session.readiness import measure


def test_the_history_is_as_long_as_the_policy_looks_back(rig) -> None:
    for window, expected in ((1, 4), (6, 6)):
        made = rig(warm=False)
        made.policy.window = window
        session = Session(
            made.policy,
            made.policy.spec,
            made.session._senses._fk.__self__,
            task="lift",
            settings=SessionSettings(history=4),
        )
        made.session = session
        session.warm_up(2)
        assert {len(h) for h in made.policy.histories} == {expected}
        made.policy.histories.clear()
        assert made.start().ok
        for _ in range(8):
            made.step()
        assert [len(h) for h in made.policy.histories] == [min(i + 1, expected) for i in range(8)]


def test_every_measured_inference_has_a_new_observation_to_look_at(rig) -> None:
    made, histories = rig(), []

    def act(history):
        histories.append(history)
        return made.policy.choose(history)

    measure(act, made.policy.spec, history=3, runs=4, clock_ns=iter(range(100)).__next__)
    assert all(len(history) == 3 for history in histories)
    newest = [id(history[-1]) for history in histories]
    assert len(set(newest)) == len(histories) == 7
    assert all(a[1:] == b[:-1] and a[-1] is b[-2] for a, b in itertools.pairwise(histories))
