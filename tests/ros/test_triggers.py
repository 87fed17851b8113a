"""Triggers are pulled in order, asked again while they are refused, and what fails ends the row."""

import pytest

from robot_pt_ros import triggers
from robot_pt_ros.triggers import Triggers

DOMAIN = 119


@pytest.fixture
def row(graph, monkeypatch):
    """(asked, answers, serve, pull): names as they were asked, answers to give, serve a name, pull until a condition holds."""
    from std_srvs.srv import Trigger

    monkeypatch.setattr(triggers, "PAUSE_S", 0.01)
    asked, answers = [], {}
    server, made = graph.node("server"), {}

    def serve(name):
        def answer(request, response):
            asked.append(name)
            response.success, response.message = (
                answers[name].pop(0) if len(answers[name]) > 1 else answers[name][0],
                name,
            )
            return response

        server.create_service(Trigger, name, answer)

    def pull(names, reached, timeout_s=15.0):
        made.setdefault("row", Triggers(graph.node("client"), names))

        def look():
            made["row"].pull()
            return reached()

        return graph.spin_until(look, timeout_s)

    return asked, answers, serve, pull


def test_one_after_the_other_and_a_refused_one_again(row):
    asked, answers, serve, pull = row
    answers |= {"arm": [False, False, True], "start": [True]}
    serve("arm")
    serve("start")
    assert pull(["arm", "start"], lambda: "start" in asked)
    assert asked == ["arm", "arm", "arm", "start"]


def test_one_that_goes_on_refusing_ends_the_row(row, monkeypatch, capfd):
    monkeypatch.setattr(triggers, "TRIES_S", 0.3)
    asked, answers, serve, pull = row
    answers |= {"arm": [False], "start": [True]}
    serve("arm")
    serve("start")
    assert not pull(["arm", "start"], lambda: "start" in asked, 1.5)
    many = len(asked)
    assert many > 2, "asked again for a while"
    assert not pull(["arm", "start"], lambda: len(asked) > many, 0.5), "and then never more"
    assert "arm: arm" in "".join(capfd.readouterr())


def test_one_that_nobody_serves_waits(row):
    asked, answers, serve, pull = row
    answers |= {"arm": [True], "start": [True]}
    serve("start")
    assert not pull(["arm", "start"], lambda: asked, 0.5)
    serve("arm")
    assert pull(["arm", "start"], lambda: len(asked) == 2)
    assert asked == ["arm", "start"]
