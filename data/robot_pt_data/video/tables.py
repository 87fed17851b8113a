"""JSON and CSV files of annotations, read with care: what is damaged becomes a sentence, not a traceback."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError

MAX_BYTES = 1 << 32
"""Larger annotation files are refused (4 GiB; Ego4D's narration.json has about 1)."""

csv.field_size_limit(1 << 24)


def load_json(path: Path) -> Any:
    """What a JSON file holds. Raises DataError when it is absent, too large or damaged."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"{path} has {path.stat().st_size:,} bytes, more than any file of annotations; it is something else."
            )
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); fetch it again.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: it is no JSON ({str(error)[:80]}); fetch it again.") from None


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV file (comma, semicolon or tab) by column name. Raises DataError when it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file, delimiter=_delimiter(path)):
                yield {
                    str(k).strip(): str(v or "").strip()
                    for k, v in row.items()
                    if k is not None and not isinstance(v, list)
                }
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); fetch it again.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8 (byte {error.start} of it); save it so, or fetch it again.") from None
    except csv.Error as error:
        raise DataError(f"{path} is damaged: it is no CSV ({error}); fetch it again.") from None


def columns(path: Path) -> list[str]:
    """Names in the first line of a CSV file, whatever its encoding, so that one in another than UTF-8 is told of; [] where it has none."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            return [name.strip() for name in next(csv.reader(file, delimiter=_delimiter(path)), [])]
    except (OSError, csv.Error):
        return []


def _delimiter(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline(1 << 16)
    return max(",;\t", key=first.count)


def number(value: Any) -> float:
    """A finite number, or NaN for anything else (also for true and false)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        found = float(value)
    except OverflowError:
        return math.nan
    return found if math.isfinite(found) else math.nan


def seconds(text: str) -> float:
    """ "12.5" or "HH:MM:SS.mmm" or "MM:SS" in seconds; NaN for anything else."""
    parts = text.split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        return math.nan
    if len(values) > 3 or not all(math.isfinite(v) and (v >= 0 or len(values) == 1) for v in values):
        return math.nan
    return sum(value * 60.0**power for power, value in enumerate(reversed(values)))
