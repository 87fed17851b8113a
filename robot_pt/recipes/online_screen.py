"""What a person sees while a robot learns on the job: who lives, how old, with which version, what came of it, and alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from robot_pt.observers import JsonLines, Observer
from robot_pt.online.alarms import Alarm, DipAlarm, QAlarms, Values
from robot_pt.online.arrivals import Arrival
from robot_pt.online.hearts import HeartMonitor, Pulse, problems
from robot_pt.online.learner import OnlineLearner
from robot_pt.online.monitors import probe
from robot_pt.recipes import runs
from robot_pt.recipes.online_setup import Wanted
from robot_pt.recipes.progress import is_spokesman, stderr, warn
from robot_pt.replay import to_device


class Watch:
    """A watcher of `OnlineLearner`: probes the critic, raises alarms, shows hearts on stderr.

    Attributes:
        alarms: all that were raised, in order.
    """

    def __init__(self, out: Path, settings: runs.RunSettings, wanted: Wanted, *, start_version: str):
        self.alarms: list[Alarm] = []
        self.observers: list[Observer] = [JsonLines(out / "metrics.jsonl")]
        low, high = return_range(settings)
        self._q = QAlarms(lowest=low, highest=high)
        self._dip = DipAlarm(start_version=start_version)
        self._wanted, self._seed = wanted, settings.seed
        self._hearts = HeartMonitor(out)
        self._said: set[str] = set()
        self._live: Live | None = None

    def arrived(self, arrival: Arrival, update: int) -> None:
        if arrival.by_policy is not None:
            self._raise(self._dip.add(update, arrival.by_policy, arrival.version))

    def probe(self, learner: OnlineLearner) -> Mapping[str, float]:
        if not learner.replay.ready:
            return {}
        batch = learner.replay.batch((1 << 41) + learner.updates, learner.replay.episodes)
        found = probe(learner.agent, to_device(batch, learner.device), seed=self._seed)
        if found is None:
            return {}
        self._raise(self._q.add(learner.updates, Values(found.data, found.policy, found.spread)))
        return found.metrics()

    def tick(self, learner: OnlineLearner, news: Sequence[str]) -> None:
        for sentence in news:
            warn(sentence)
        pulses = self._hearts.look()
        troubles = [*problems(pulses), *learner.facts()["troubles"]]
        for sentence in troubles:
            self._once(sentence)
        if not is_spokesman():
            return
        if self._live is None and stderr.is_terminal:
            self._live = Live(console=stderr, auto_refresh=False, transient=True)
            self._live.start()
        if self._live is not None:
            self._live.update(screen(pulses, learner.progress(), self._wanted, troubles), refresh=True)
        for name, reason in learner.intake.set_aside.items():
            self._once(f"set aside {name}: {reason}")

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _raise(self, alarms: Sequence[Alarm]) -> None:
        for alarm in alarms:
            self.alarms.append(alarm)
            warn(f"{alarm.kind}: {alarm.sentence}")

    def _once(self, sentence: str) -> None:
        kind = "".join(c for c in sentence if not c.isdigit())  # the same trouble a second later is no news
        if kind not in self._said:
            self._said.add(kind)
            warn(sentence)


def screen(
    pulses: Sequence[Pulse], progress: Mapping[str, float], wanted: Wanted, troubles: Sequence[str]
) -> RenderableType:
    """The table of hearts with counts above and troubles below."""
    table = Table(box=None, pad_edge=False)
    for name in ("who", "does", "version", "episodes", "steps", "updates", "owed", "age"):
        table.add_column(name, justify="left" if name in ("who", "does") else "right")
    for pulse in pulses:
        facts = {k: str(pulse.facts.get(k, "")) for k in ("number", "episodes", "env_steps", "updates", "owed")}
        age = Text(f"{pulse.age_s:.0f} s", style="bold yellow" if pulse.age_s > 30 and not pulse.ended else "")
        table.add_row(pulse.name, pulse.state, *facts.values(), age)
    rate = progress.get("online/success_of_last_20")
    of = f" of {wanted.episodes}" if wanted.actors else ""
    head = f"{progress['online/episodes']:.0f}{of} episodes" + (
        f", {rate:.0%} of the last 20 succeeded" if rate is not None else ""
    )
    return Group(Text(head, style="bold"), table, *(Text(t, style="yellow") for t in troubles))


def return_range(settings: runs.RunSettings) -> tuple[float, float]:
    """Returns that the run's reward label allows: for a success label exactly [shift / (1 - gamma), scale + shift]."""
    label, future = settings.reward, 1.0 / (1.0 - settings.gamma)
    low, high = label.shift, label.scale + label.shift
    ends = label.source == "success" and label.terminal != "stored"
    return min(low * future, low), (high if ends and high > 0 else max(high * future, high))
