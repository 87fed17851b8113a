"""What belongs to an episode, whenever it comes, with a recorder that notes what it is asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from robot_pt.episode_recorder import STAMPED, EpisodeRecorder, Wish
from robot_pt.errors import UserError
from robot_pt.messages import Message, encode, header_stamp
from robot_pt.recorder import Report
from robot_pt.samples import Joints, Mode


class Tape:
    """Where messages go."""

    def __init__(self) -> None:
        self.fed: list[tuple[str, int]] = []
        self.asked: list[str] = []
        self.failed = ""

    def feed_message(self, message: Message, received_ns: int) -> None:
        self.fed.append((message.topic, header_stamp(message.cdr) if message.type in STAMPED else 0))

    def start(self, episode_id: str, **_: Any) -> str:
        if episode_id == "full":
            raise UserError("the disk is full.")
        self.asked.append(f"start {episode_id}")
        return episode_id

    def _report(self, outcome: str) -> Report:
        name = self.asked[0].split()[1]
        return Report(name, outcome, "000000", 3, {}, {}, [])

    def stop(self, outcome: str, end_ns: int | None = None) -> Report:
        self.asked.append(f"stop {outcome} {end_ns}")
        return self._report(outcome)

    def abort(self, reason: str) -> Report:
        self.asked.append(f"abort {reason}")
        return self._report("aborted")._replace(stored="", faults=[reason])

    def status(self) -> Any:
        return SimpleNamespace(failed=self.failed, _asdict=dict)

    def close(self) -> None:
        self.asked.append("close")


def joints(stamp_ns: int) -> Message:
    return encode(Joints(stamp_ns, np.zeros(6)))[0]


def test_what_is_stamped_from_begin_to_end_belongs_to_an_episode_whenever_it_comes() -> None:
    tape, changes = Tape(), []
    episodes = EpisodeRecorder(lambda newest, recorder: tape, lambda: changes.append(1))  # type: ignore[arg-type,return-value]
    mode = encode(Mode(1, "policy"))[0]
    for message in (joints(100), mode, joints(199), joints(200)):
        episodes.message(message, 0)
    assert episodes.start(Wish("a", begin_ns=200), 300).result(5).ok
    assert tape.fed == [("safety/state", 0), ("joint_states", 200)], "what was latched, and the newest if it is in time"
    tape.fed.clear()
    for message in (joints(150), joints(210), joints(400)):
        episodes.message(message, 0)
    episodes.ends_at(300)
    for message in (joints(290), joints(301), mode):
        episodes.message(message, 0)
    assert tape.fed == [("joint_states", 210), ("joint_states", 400), ("joint_states", 290), ("safety/state", 0)]
    assert episodes.stop("success").result(5).ok
    assert tape.asked == ["start a", "stop success 300"]
    assert (episodes.running, episodes.phase, len(changes)) == ("", "ready", 2)
    episodes.close()
    assert tape.asked[-1] == "close"


def test_the_next_episode_may_be_asked_for_before_the_last_is_put_away() -> None:
    tape = Tape()
    episodes = EpisodeRecorder(lambda newest, recorder: tape, lambda: None)  # type: ignore[arg-type,return-value]
    episodes.start(Wish("a", begin_ns=1), 1)
    episodes.ends_at(50)
    stopped, started = episodes.stop("failure"), episodes.start(Wish("b", begin_ns=60), 60)
    episodes.message(joints(70), 0)
    assert stopped.result(5).ok
    assert started.result(5).ok
    assert tape.asked == ["start a", "stop failure 50", "start b"]
    assert ("joint_states", 70) in tape.fed
    assert (episodes.running, episodes.state()["phase"]) == ("b", "recording")
    episodes.close()


def test_an_episode_that_ends_by_itself_or_cannot_begin_is_failed_with_its_reason() -> None:
    tape = Tape()
    episodes = EpisodeRecorder(lambda newest, recorder: tape, lambda: None)  # type: ignore[arg-type,return-value]
    assert episodes.start(Wish("full"), 1).result(5) == (False, "the disk is full.")
    assert (episodes.state()["phase"], episodes.state()["episode_id"], episodes.running) == ("failed", "full", "")
    episodes.start(Wish("a"), 1).result(5)
    episodes.look()
    tape.failed = "disk: no space left"
    episodes.look()
    episodes.look()
    episodes.close()
    assert tape.asked == ["start a", "abort disk: no space left", "close"]
    assert episodes.last["outcome"] == "aborted"
