"""Frames of one file among several decoders: what has a start of its own can be decoded beside the rest."""

from __future__ import annotations

from collections.abc import Sequence

from robot_pt_data.video.index import VideoIndex

_START_COST = 16
"""What a start takes to decode, in packets of which most are left out (3.7 ms beside 0.23, H.264 at 640x480)."""
_DENSE = 2
"""Frames that lie closer than this on average are read on from one to the next."""


def parts(index: VideoIndex, numbers: Sequence[int], workers: int) -> list[list[int]]:
    """Ascending `numbers` in at most `workers` parts, each ascending, that take about as long and share no start.

    One part where all hang on one start, or where the frames follow closely: reading on needs the decoder of the call before.
    """
    if workers < 2 or not numbers or numbers[-1] - numbers[0] < _DENSE * len(numbers):
        return [list(numbers)]
    groups: dict[int, list[int]] = {}
    for number in numbers:
        groups.setdefault(index.keyframe(number), []).append(number)
    costs = {start: _cost(index, start, group) for start, group in groups.items()}
    out: list[list[int]] = [[] for _ in range(min(workers, len(groups)))]
    load = [0] * len(out)
    for start in sorted(groups, key=lambda s: (-costs[s], s)):
        place = load.index(min(load))
        out[place] += groups[start]
        load[place] += costs[start]
    return [sorted(part) for part in out]


def _cost(index: VideoIndex, start: int, group: Sequence[int]) -> int:
    return _START_COST + max(0, max(int(index.rank[n]) for n in group) - int(index.key_rank[start]))
