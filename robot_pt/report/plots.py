"""Charts as SVG and HTML that follow the page's light or dark colours: rates with intervals, curves, outcome strips.

Drawn here rather than by a plotting library so that a report needs no extra, follows the theme and stays at a few kilobytes.
Colours come from the style sheet: classes ``s0`` to ``s5``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

import numpy as np
from numpy.typing import NDArray

from robot_pt.report.markup import Markup, join, tag
from robot_pt.results import Evaluation

SERIES_COLOURS = 6
POINTS = 240
"""Curves are averaged to at most this many points, about one per pixel."""
STRIP = 200
"""Episodes shown as cells."""
_SMALL, _WIDE = (360.0, 220.0), (620.0, 280.0)  # width, height in SVG units, about CSS pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 10.0, 8.0, 36.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart. Not-finite values leave a gap."""

    x: Sequence[float]
    y: Sequence[float]
    label: str = ""
    colour: int = 0
    faint: bool = False


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    note: str = "",
    marked_x: float | None = None,
    wide: bool = False,
) -> Markup:
    """A figure with all lines on common axes; the y range leaves out the outermost percent of long noisy curves.

    `marked_x` draws a dashed vertical line; `note` stands to the right of the title.
    """
    drawn = [_Scaled(line) for line in lines if len(line.x)]
    finite = np.concatenate([d.y[np.isfinite(d.y) & np.isfinite(d.x)] for d in drawn]) if drawn else np.zeros(0)
    if not len(finite):
        return tag("figure", tag("figcaption", title), tag("p", "no finite value", class_="muted"), class_="chart")
    x_low, x_high = _widened(min(np.nanmin(d.x) for d in drawn), max(np.nanmax(d.x) for d in drawn), 0.0)
    y_low, y_high = _widened(*_robust_range(finite), 0.06)
    axes = _Axes((x_low, x_high), (y_low, y_high), *(_WIDE if wide else _SMALL))
    shapes = [
        tag("path", d=axes.path(d.x, d.y), class_=f"line s{d.colour}{' faint' if d.faint else ''}") for d in drawn
    ]
    if marked_x is not None:
        shapes.insert(0, axes.vertical(marked_x))
    return tag(
        "figure",
        tag("figcaption", title, tag("span", note, class_="muted note") if note else None),
        tag(
            "svg",
            axes.frame(x_label),
            *shapes,
            viewBox=f"0 0 {axes.width:g} {axes.height:g}",
            role="img",
            aria_label=f"{title}, {len(lines)} lines over {x_label}",
        ),
        class_="chart",
    )


def curve(x: Sequence[float], y: Sequence[float], label: str = "", colour: int = 0) -> list[Line]:
    """A metric logged over training: as it came (faint) and its running mean over a twentieth of the points."""
    x_few, y_few = bucketed(np.asarray(x, float), np.asarray(y, float), POINTS)
    if len(x_few) < 20:
        return [Line(x=list(x_few), y=list(y_few), label=label, colour=colour)]
    smooth = running_mean(y_few, max(3, len(y_few) // 20))
    return [
        Line(x=list(x_few), y=list(y_few), colour=colour, faint=True),
        Line(x=list(x_few), y=list(smooth), label=label, colour=colour),
    ]


def legend(labels: dict[str, int]) -> Markup:
    """A coloured swatch and a name per series."""
    items = [tag("span", tag("i", class_=f"swatch s{c % SERIES_COLOURS}"), name) for name, c in labels.items()]
    return tag("div", *items, class_="legend")


def rate_bars(evaluations: Sequence[Evaluation], notes: Sequence[str]) -> Markup:
    """A row per policy: bar to its rate, whisker over the 95 % interval, the counts in words."""
    rows = []
    for i, (e, note) in enumerate(zip(evaluations, notes, strict=True)):
        low, high = e.interval
        whisker = tag("div", class_="whisker", style=f"left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%")
        bar = tag("div", class_=f"bar {'s0' if i == 0 else 's5'}", style=f"width:{100 * e.rate:.2f}%")
        numbers = (
            tag("b", percent(e.rate)),
            tag("span", f"{e.successes} of {e.n}", class_="count"),
            tag("span", f"95 %: {100 * low:.0f} to {100 * high:.0f}", class_="muted"),
        )
        who = tag("div", tag("b", e.name), tag("span", note, class_="muted"), class_="who")
        track = tag("div", bar, whisker, class_="track", role="img", aria_label=f"{e.name}: {percent(e.rate)}")
        rows.append(tag("div", who, track, tag("div", *numbers, class_="numbers"), class_="rate"))
    scale = tag("div", *(tag("span", f"{p} %") for p in (0, 25, 50, 75, 100)), class_="scale")
    return tag("div", *rows, tag("div", tag("div"), scale, class_="rate"), class_="rates")


def outcome_strips(evaluations: Sequence[Evaluation]) -> Markup:
    """A cell per episode, one row per policy, the same start in the same column; the first `STRIP` of long evaluations."""
    all_seeds = sorted({s for e in evaluations for s in e.seeds})
    seeds = all_seeds[:STRIP]
    rows = []
    for e in evaluations:
        by_seed = {r.seed: r for r in e.results}
        cells = []
        for seed in seeds:
            r = by_seed.get(seed)
            kind = "none" if r is None else "success" if r.success else "failure"
            said = "not run" if r is None else f"{kind} after {r.steps} steps"
            cells.append(tag("i", class_=f"cell {kind}", title=f"{e.name}, seed {seed}: {said}"))
        rows.append(tag("div", tag("span", e.name, class_="who"), tag("span", *cells, class_="cells"), class_="strip"))
    words = [tag("span", tag("i", class_=f"cell {k}"), w) for k, w in (("success", "success"), ("failure", "failure"))]
    if len(seeds) < len(all_seeds):
        words.append(tag("span", f"the first {len(seeds)} of {len(all_seeds)} episodes"))
    return join([tag("div", *rows, class_="strips"), tag("div", *words, class_="legend")])


def share_bar(parts: Sequence[tuple[str, float]], unit: str = "s") -> Markup:
    """One bar cut in proportion, with a legend: where the time went."""
    total = sum(v for _, v in parts)
    cuts = [
        tag(
            "i", class_=f"s{i % SERIES_COLOURS}", style=f"width:{100 * v / total:.2f}%", title=f"{name}: {v:.0f} {unit}"
        )
        for i, (name, v) in enumerate(parts)
        if total > 0
    ]
    return tag("div", *cuts, class_="share") + legend({f"{n} {compact(v)} {unit}": i for i, (n, v) in enumerate(parts)})


def percent(share: float) -> str:
    """0.633 -> "63 %"."""
    return f"{100 * share:.0f} %"


def compact(value: float) -> str:
    """Three significant digits, thousands as k and M: 1234567 -> "1.23M"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) inside [low, high]."""
    assert isfinite(low), f"no ticks from {low}"
    assert low < high < float("inf"), f"no ticks from {low} to {high}"
    rough = (high - low) / count
    power = 10.0 ** floor(log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def bucketed(
    x: NDArray[np.float64], y: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of x and y over `count` runs of neighbours; unchanged where there are no more points than that."""
    if len(x) <= count:
        return x, y
    edges = np.linspace(0, len(x), count + 1).astype(int)[:-1]
    sizes = np.diff([*edges, len(x)])
    return np.add.reduceat(x, edges) / sizes, np.add.reduceat(y, edges) / sizes


def running_mean(y: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean over `window` neighbours, centred, fewer at the ends; not-finite values are left out."""
    good = np.isfinite(y)
    kernel = np.ones(window)
    total = np.convolve(np.where(good, y, 0.0), kernel, mode="full")
    seen = np.convolve(good.astype(float), kernel, mode="full")
    start = window // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: NDArray[np.float64] = (total / seen)[start : start + len(y)]
    return np.where(good, mean, np.nan)


class _Scaled:
    """A line with arrays."""

    def __init__(self, line: Line):
        self.x, self.y = np.asarray(line.x, float), np.asarray(line.y, float)
        self.colour, self.faint = line.colour % SERIES_COLOURS, line.faint


class _Axes:
    """Data to SVG coordinates, and what frames them."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], width: float, height: float):
        self._x, self._y = x, y
        self.width, self.height = width, height

    def at(self, x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = self._x, self._y
        across = _LEFT + (x - x0) / (x1 - x0) * (self.width - _LEFT - _RIGHT)
        down = self.height - _BOTTOM - (y - y0) / (y1 - y0) * (self.height - _TOP - _BOTTOM)
        return across, min(max(down, _TOP - 4), self.height - _BOTTOM + 4)  # outliers run along the edge

    def path(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
        out, pen_down = [], False
        for a, b in zip(x, y, strict=True):
            if not (isfinite(a) and isfinite(b)):
                pen_down = False
                continue
            across, down = self.at(a, b)
            out.append(f"{'L' if pen_down else 'M'}{across:.1f} {down:.1f}")
            pen_down = True
        return "".join(out)

    def frame(self, x_label: str) -> Markup:
        bottom, right = self.height - _BOTTOM, self.width - _RIGHT
        parts = []
        for value in nice_ticks(*self._y):
            down = self.at(self._x[0], value)[1]
            parts.append(tag("line", x1=_LEFT, x2=right, y1=down, y2=down, class_="rule"))
            parts.append(tag("text", compact(value), x=_LEFT - 6, y=down + 3.5, text_anchor="end"))
        for value in nice_ticks(*self._x):
            across = self.at(value, self._y[0])[0]
            parts.append(tag("text", compact(value), x=across, y=bottom + 14, text_anchor="middle"))
        parts.append(tag("text", x_label, x=(_LEFT + right) / 2, y=bottom + 30, text_anchor="middle"))
        return tag("g", *parts, class_="axes")

    def vertical(self, x: float) -> Markup:
        across = self.at(x, self._y[0])[0]
        return tag("line", x1=across, x2=across, y1=_TOP, y2=self.height - _BOTTOM, class_="marked")


def _robust_range(finite: NDArray[np.float64]) -> tuple[float, float]:
    if len(finite) < 60:
        return float(finite.min()), float(finite.max())
    low, high = np.quantile(finite, [0.005, 0.995])
    return float(low), float(high)


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-6):
        margin = max(abs(low) * 0.1, 1e-3)
        return low - margin, high + margin
    return low - share * (high - low), high + share * (high - low)
