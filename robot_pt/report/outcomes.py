"""Sections on how the policies did: rates, checks against the controls, clips, every episode."""

from __future__ import annotations

import base64
import json
from typing import Any

from robot_pt.report import plots
from robot_pt.report.markup import Markup, join, tag
from robot_pt.report.model import Clip, Report
from robot_pt.report.tables import table
from robot_pt.results import Comparison, Evaluation

MAX_CLIP_BYTES = 12_000_000
"""Clips beyond this many bytes in all are named instead of embedded, so that a page stays quick to open and to send."""


def rates(report: Report) -> Markup | None:
    main = report.main
    if main is None:
        return None
    ordered = [main, *(e for e in report.evaluations if e is not main)]
    checks = [_control(main, e) for e in ordered if e.name in report.controls] + [
        _compared(c) for c in report.comparisons
    ]
    intro = (
        f"Task {main.task}; every policy meets the same starts. Bars are success rates, whiskers Wilson 95 % intervals: "
        "where two whiskers overlap widely, more episodes are needed to tell the two apart."
    )
    return join([
        tag("p", intro, class_="muted"),
        plots.rate_bars(ordered, [report.notes.get(e.name, "") for e in ordered]),
        tag("ul", *checks, class_="checks") if checks else None,
        tag("h3", "Episode by episode"),
        plots.outcome_strips(ordered),
    ])  # fmt: skip


def _control(main: Evaluation, control: Evaluation) -> Markup:
    """Is the control under half of the policy's rate?"""
    passed = main.successes > 0 and control.rate < main.rate / 2
    told = f"{control.name}: {plots.percent(control.rate)}, {'' if passed else 'not '}under half of the policy's {plots.percent(main.rate)}"
    meant = (
        "so success here takes looking and reacting."
        if passed
        else "so this task does not show that the policy looks and reacts."
    )
    return tag("li", f"{told}, {meant}", class_="good" if passed else "bad")


def _compared(c: Comparison) -> Markup:
    low, high = (100 * end for end in c.interval)
    decided = c.interval.low > 0 or c.interval.high < 0
    text = (
        f"{c.a} minus {c.b}: {100 * c.difference:+.0f} points (95 % interval {low:+.0f} to {high:+.0f}); they differ on "
        f"{c.counts.only_a + c.counts.only_b} of {c.counts.n} episodes, {c.counts.only_a} won by {c.a} and {c.counts.only_b} by {c.b}. "
        f"Exact McNemar p = {c.p_value:.2g}; probability that {c.a} is the better one {c.probability_of_improvement:.2f}."
    )
    return tag("li", text, class_="good" if decided and c.difference > 0 else "bad" if decided else "plain")


def rollouts(report: Report) -> Markup | None:
    groups: list[Markup] = []
    left = MAX_CLIP_BYTES
    main = report.main
    names = sorted(report.clips, key=lambda n: main is not None and n != main.name)
    for name in names:
        shown, dropped = [], 0
        for clip in report.clips[name]:
            if len(clip.video) > left:
                dropped += 1
                continue
            left -= len(clip.video)
            shown.append(_clip(clip))
        more = tag("p", f"{dropped} more clips would make this page too large; they lie beside it.", class_="muted")
        body = tag("div", *shown, class_="clips") + (more if dropped else Markup(""))
        first = not groups
        groups.append(tag("div", tag("h3", name), body) if first else tag("details", tag("summary", name), body))
    if not groups:
        return None
    intro = "The first episodes by seed, none picked. Solid border: solved; dashed: not."
    return tag("p", intro, class_="muted") + join(groups)


def _clip(clip: Clip) -> Markup:
    kind = "success" if clip.success else "failure"
    source = f"data:video/mp4;base64,{base64.b64encode(clip.video).decode()}"
    video = tag(
        "video",
        src=source,
        autoplay=True,
        loop=True,
        muted=True,
        playsinline=True,
        aria_label=f"rollout of seed {clip.seed}",
    )
    word = tag("b", "solved" if clip.success else "not solved")
    caption = tag("figcaption", word, tag("span", f"{clip.steps} steps, seed {clip.seed}", class_="muted"))
    return tag("figure", video, caption, class_=f"clip {kind}")


def numbers(report: Report) -> Markup | None:
    if not report.evaluations:
        return None
    rows = [
        {
            "policy": e.name,
            "task": e.task,
            "solved": e.successes,
            "episodes": e.n,
            "rate": f"{100 * e.rate:.1f} %",
            "95 % interval": f"{100 * e.interval.low:.1f} to {100 * e.interval.high:.1f} %",
            "median steps": e.summary()["median_steps_to_success"] or "",
            "first seed": str(e.seeds[0]),
            "weights": ", ".join(v[:16] for v in e.policy_versions),
        }
        for e in report.evaluations
    ]
    compared = [
        {
            "a": c.a,
            "b": c.b,
            "both": c.counts.both,
            "only a": c.counts.only_a,
            "only b": c.counts.only_b,
            "neither": c.counts.neither,
            "a - b": f"{100 * c.difference:+.1f} points",
            "95 % interval": f"{100 * c.interval.low:+.1f} to {100 * c.interval.high:+.1f}",
            "p": f"{c.p_value:.3g}",
            "P(a better)": f"{c.probability_of_improvement:.3f}",
        }
        for c in report.comparisons
    ]
    return join([
        table(rows),
        tag("h3", "Paired comparisons") + table(compared) if compared else None,
        *(_episodes(e) for e in report.evaluations),
    ])  # fmt: skip


def _episodes(e: Evaluation) -> Markup:
    rows = [
        {
            "seed": str(r.seed),
            "outcome": "solved" if r.success else "not solved",
            "steps": r.steps,
            "reward": round(r.total_reward, 3),
            "start": json.dumps(_rounded(r.to_json()["initial_conditions"])),
        }
        for r in e.results
    ]
    return tag("details", tag("summary", f"{e.name}: every episode and its start"), table(rows))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value
