"""What a robot tells about learning on the job: rows for /diagnostics, from what was seen and decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from robot_pt.online.robot import RobotVersions
from robot_pt.online.robot_watch import RunSeen

Level = Literal["ok", "warn", "error", "stale"]


class Row(NamedTuple):
    """One line of /diagnostics."""

    name: str
    level: Level
    said: str
    values: Mapping[str, Any]


def troubles(versions: RobotVersions, seen: RunSeen, now_s: float, stale_s: float) -> list[str]:
    """What an operator should hear of, one sentence each; none of it stops the robot."""
    silent_s = now_s - seen.looked_s
    if silent_s > stale_s:
        return [f"the run's folder has not answered for {silent_s:.0f} s; is its disk mounted? The policy acts on."]
    out = list(seen.problems)
    out += [f"{p.name}: {trouble}" for p in seen.pulses for trouble in p.facts.get("troubles") or ()]
    out += [f"{p.name} on {p.host} has {p.state}; nothing is learned now." for p in seen.pulses if _gone(p)]
    serving = versions.serving
    if serving is not None and serving.version != versions.acting and not versions.waits_for_operator:
        refused = versions.rules.complaint(serving.check) or versions.refusals.get(serving.version)
        out += [versions.sentence()] if refused else []
    return out


def rows(versions: RobotVersions, seen: RunSeen, now_s: float, stale_s: float) -> list[Row]:
    """The version that acts, each heart of the run, and the store."""
    said = troubles(versions, seen, now_s, stale_s)
    lost = now_s - seen.looked_s > stale_s
    values = {**versions.values(), "looked_s_ago": round(now_s - seen.looked_s, 1), "troubles": len(said)}
    out = [Row("online", "error" if lost else "warn" if said else "ok", " ".join([versions.sentence(), *said]), values)]
    for pulse in seen.pulses:
        age_s = pulse.age_s + max(0.0, now_s - seen.looked_s)
        level: Level = "stale" if age_s > stale_s and not pulse.ended else "warn" if _gone(pulse) else "ok"
        facts = {k: v for k, v in pulse.facts.items() if isinstance(v, str | int | float | bool)}
        skew = {} if pulse.skew_s is None else {"clock_skew_s": round(pulse.skew_s, 2)}
        out.append(
            Row(
                f"online/{pulse.name}", level, pulse.state,
                {"age_s": round(age_s, 1), "host": pulse.host, "pid": pulse.pid, **skew, **facts},
            )
        )  # fmt: skip
    newest = None if seen.newest_episode_s is None else round(seen.newest_episode_s, 1)
    words = "no episode yet" if newest is None else f"{seen.episodes} episodes, the last {newest:g} s ago"
    out.append(Row("online/store", "ok", words, {"episodes": seen.episodes, "newest_episode_s": newest}))
    return out


def _gone(pulse: Any) -> bool:
    return bool(pulse.role == "learner" and pulse.ended)
