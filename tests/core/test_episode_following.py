"""What the recorder makes of the episode manager's states: begins, ends, overtaken states, nonsense."""

import json
import time

import pytest

from robot_pt.disk import DiskLimits
from robot_pt.episode_following import LINGER_S, Following, Simulation
from robot_pt.episode_recorder import EpisodeRecorder
from robot_pt.errors import DataError, UserError
from robot_pt.recorder import Recorder
from robot_pt.recording import Limits
from robot_pt.robots import load
from robot_pt.schema import Spec

ARM = load("panda")


@pytest.fixture
def recorder(tmp_path):
    def make(newest, recorder):
        spec = Spec(cameras={"primary": (8, 8)}, embodiment="panda")
        return recorder or Recorder(
            tmp_path / "demos", spec, cameras={"primary": "primary"}, joint_names=ARM.joint_names, robot="panda",
            namespace="/", dataset="d", teleop="teleop", limits=Limits(DiskLimits(1000, 1000), 10**6, 60.0),
        )  # fmt: skip

    made = EpisodeRecorder(make, lambda: None)
    yield made
    made.close()


@pytest.fixture
def blind():
    def make(newest, recorder):
        raise UserError("no camera is heard; start one.")

    made = EpisodeRecorder(make, lambda: None)
    yield made
    made.close()


@pytest.fixture
def following(recorder):
    made = Following(recorder)
    made.active = True
    return made


def settled(recorder, name):
    """Its work is done in another thread."""
    until = time.monotonic() + 30
    while recorder.running != name and time.monotonic() < until:
        time.sleep(0.01)
    assert recorder.running == name


def state(name, phase, **more):
    return json.dumps({"id": name, "phase": phase, **more})


def test_an_episode_begins_once_and_only_while_active(recorder, following):
    following.active = False
    following.told(state("a", "recording"), 1)
    assert recorder.running == ""
    following.active = True
    following.told(state("b", "recording", begin_ns=5, metadata={"seed": 1}), 1)
    assert recorder.running == "b"
    assert not following.asked("start", "lift", 1).result(30).ok
    following.deactivate()
    settled(recorder, "")
    following.active = True
    following.told(state("b", "recording"), 1)
    assert recorder.running == "", "what was ended does not begin again"


def test_an_episode_is_closed_when_nothing_more_comes_and_not_before(recorder, following):
    following.told(state("a", "recording"), 1)
    following.told(state("a", "ended", outcome="success", end_ns=9), 1)
    following.look()
    assert recorder.running == "a"
    until = time.monotonic() + 30
    while recorder.running and time.monotonic() < until:
        time.sleep(LINGER_S / 3)
        following.look()
    assert recorder.running == ""


@pytest.mark.parametrize(
    ("phase", "end"), [("ended", "deactivate"), ("ended", "put_away"), ("recording", "deactivate")]
)
def test_who_leaves_right_after_an_end_puts_the_episode_away_as_it_ended(recorder, following, monkeypatch, phase, end):
    """Ctrl-C within the time in which late messages are waited for is no reason to lose a demonstration."""
    ended = []
    stop = recorder.stop
    monkeypatch.setattr(recorder, "stop", lambda *words: (ended.append(words), stop(*words))[1])
    following.told(state("a", "recording"), 1)
    if phase == "ended":
        following.told(state("a", "ended", outcome="success", end_ns=9), 1)
    getattr(following, end)()
    following.put_away()
    following.deactivate()
    assert [words[0] for words in ended[:1]] == ["success" if phase == "ended" else "aborted"]
    settled(recorder, "")


@pytest.mark.parametrize("told", [True, False])
def test_who_leaves_waits_a_while_for_the_word_on_how_the_episode_ended(recorder, following, monkeypatch, told):
    """Ctrl-C reaches all processes at once, what the manager said just before it a moment later."""
    ended = []
    stop = recorder.stop
    monkeypatch.setattr("robot_pt.episode_following.LAST_WORD_S", 60.0 if told else 0.0)
    monkeypatch.setattr(recorder, "stop", lambda *words: (ended.append(words[0]), stop(*words))[1])
    following.told(state("a", "recording"), 1)
    following.leave()
    if told:
        assert not following.has_left()
        following.told(state("b", "recording"), 1)
        assert recorder.running == "a", "nothing begins any more"
        following.told(state("a", "ended", outcome="success", end_ns=9), 1)
    until = time.monotonic() + 30
    while not following.has_left() and time.monotonic() < until:
        time.sleep(0.01)
    assert following.has_left()
    assert ended == (["success"] if told else [])
    assert recorder.running == ""
    assert recorder.discard_last().result(30) == (False, "the recorder is closed.")


def test_one_that_waits_for_its_label_stays_open(recorder, following):
    following.told(state("a", "recording"), 1)
    following.told(state("a", "awaiting label"), 1)
    time.sleep(2 * LINGER_S)
    following.look()
    assert recorder.running == "a"


def test_a_state_that_was_overtaken_is_told_by_the_next(recorder, following):
    following.told(state("a", "recording"), 1)
    following.told(state("b", "recording", previous={"id": "a", "outcome": "failure"}), 1)
    assert recorder.running == "b"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "{}", '{"id": "a"}', state("a", "recording", begin_ns="soon"), state("a", "x", metadata=[1])],
)
def test_nonsense_begins_nothing(recorder, following, text):
    with pytest.raises(DataError, match="nothing was done"):
        following.told(text, 1)
    assert recorder.running == ""


def test_by_hand_it_says_why_it_cannot(blind):
    following = Following(blind)
    following.active = True
    answer = following.asked("start", "lift", 1).result(30)
    assert (answer.ok, "no camera is heard" in answer.sentence) == (False, True)
    following.active = False
    assert "activate it" in following.asked("start", "lift", 1).result(30).sentence
    assert not following.asked("discard_last", "", 1).result(30).ok


@pytest.fixture
def wishes(recorder, monkeypatch):
    found, start = [], recorder.start
    monkeypatch.setattr(recorder, "start", lambda wish, now_ns: (found.append(wish), start(wish, now_ns))[1])
    return found


ABOUT = {"task": "lift", "instruction": "lift it", "metadata": {"simulator": {"name": "s", "version": "1"}, "seed": 0}}


def test_in_simulation_an_episode_waits_for_the_simulator_and_keeps_what_it_says(recorder, wishes):
    simulation = Simulation()
    following = Following(recorder, simulation)
    following.active = True
    for nonsense in ("", "[]", "{}", "3", json.dumps({**ABOUT, "metadata": 1}), json.dumps({"task": "lift"})):
        with pytest.raises(DataError, match="ignored"):
            simulation.told(nonsense)
        assert not following.ready
        following.told(state("a", "recording"), 1)
        assert "has not said yet" in following.asked("start", "lift", 1).result(30).sentence
    assert not wishes
    simulation.told(json.dumps(ABOUT))
    assert following.ready
    following.told(state("b", "recording", task="lift@3", metadata={"seed": 7}), 1)
    following.told(state("c", "recording", instruction="raise it", previous={"id": "b", "outcome": "failure"}), 1)
    following.told(state("c", "ended", outcome="discarded"), 1)
    following.put_away()
    settled(recorder, "")
    assert following.asked("start", "lift@2", 1, "heave it").result(30).ok
    assert [(wish.task, wish.instruction) for wish in wishes] == [
        ("lift", "lift it"), ("lift", "raise it"), ("lift", "heave it"),
    ]  # fmt: skip
    assert [wish.metadata["simulator"]["version"] for wish in wishes] == ["1"] * 3
    assert [wish.metadata["seed"] for wish in wishes] == [7, 0, 0]


def test_an_operator_hears_once_that_there_are_no_words(recorder, wishes):
    said = []
    following = Following(recorder, warn=said.append)
    following.active = True
    following.told(state("a", "recording", instruction="lift it"), 1)
    assert not said
    following.told(state("b", "recording", previous={"id": "a", "outcome": "failure"}), 1)
    following.told(state("c", "recording", previous={"id": "b", "outcome": "failure"}), 1)
    assert [(words[:46], "prompt:=" in words) for words in said] == [
        ("b is recorded without an instruction, from whi", True)
    ]
    assert [wish.instruction for wish in wishes] == ["lift it", "", ""]
    assert all(wish.metadata == {} for wish in wishes)


def test_by_hand_it_says_what_to_do_first(recorder, following):
    following.told(state("a", "recording"), 1)
    assert following.asked("start", "lift", 1).result(30).sentence == "a is being recorded; end it, then start another."
