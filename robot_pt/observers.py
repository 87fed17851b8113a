"""What watches a training run: progress bar, metrics.jsonl, TensorBoard, alarms. The loop calls them, they never steer it,
except that an alarm may raise."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from robot_pt.errors import DataError, MissingExtraError, UserError


class DivergenceError(UserError):
    """A loss, gradient or weight became NaN, infinite or out of proportion."""


class Observer(Protocol):
    """Called from the training loop's thread, in this order."""

    def start(self, step: int, steps: int) -> None:
        """Updates done so far, and in the whole run."""
        ...

    def step(self, step: int) -> None:
        """After every update; must cost microseconds."""
        ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Means since the last call, finite; "speed/..." are rates of this machine."""
        ...

    def close(self) -> None:
        """Always called, also after an error."""
        ...


_LONG_WAIT, _IN_A_ROW = 50.0, 3
"""Share of time spent waiting for data [%] that is worth a word, once it has lasted for so many readings: the first one fills the queue."""


class ProgressBar:
    """A rich bar on stderr: updates, rates, share of time spent waiting for data, memory, one metric; one sentence where the wait is long."""

    def __init__(self, description: str, *, metric: str | None = None, console: Console | None = None):
        self._description, self._metric = description, metric
        columns = (
            TextColumn("[bold]{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = Progress(*columns, console=console or Console(stderr=True), refresh_per_second=4)
        self._task: Any = None
        self._waits = 0  # readings in a row

    def start(self, step: int, steps: int) -> None:
        self._task = self._bar.add_task(self._description, total=steps, completed=step, note="")
        self._bar.start()

    def step(self, step: int) -> None:
        self._bar.update(self._task, completed=step)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        notes = [
            f"{values['speed/updates_per_s']:.1f} updates/s",
            f"{values['speed/samples_per_s']:,.0f} samples/s",
            f"data wait {values['speed/data_wait_percent']:.0f}%",
            f"{resident_bytes() / 2**30:.1f} GB",
        ]
        if self._metric is not None and self._metric in values:
            notes.append(f"{self._metric} {values[self._metric]:.4g}")
        self._bar.update(self._task, note=" · ".join(notes))
        self._tell_of_a_long_wait(values["speed/data_wait_percent"])

    def _tell_of_a_long_wait(self, percent: float) -> None:
        self._waits = self._waits + 1 if percent > _LONG_WAIT else 0
        if self._waits == _IN_A_ROW:
            self._bar.console.print(
                f"Training waits for data {percent:.0f} % of its time; `robot-pt data cache` decodes frames once, at training size, and "
                "training from what it writes waits far less."
            )

    def close(self) -> None:
        self._bar.stop()


class JsonLines:
    """metrics.jsonl: one object per call, {"step": ..., metric: ...}, written through at once.

    On resume the lines after the resumed update, and one torn by a crash, are cut off; the file then continues as if the run
    had never stopped. Raises DataError when the disk refuses.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: Any = None

    def start(self, step: int, steps: int) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                self._cut(step)
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._failed(error) from None

    def _cut(self, step: int) -> None:
        kept = [line for line in self._path.read_bytes().splitlines(keepends=True) if _belongs(line, step)]
        part = self._path.with_name(f".{self._path.name}.part")
        with part.open("wb") as file:
            file.writelines(kept)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)

    def step(self, step: int) -> None:
        pass

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        try:
            self._file.write(json.dumps({"step": step, **values, "memory/rss_bytes": resident_bytes()}) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> DataError:
        return DataError(
            f"{self._path} could not be written: {error.strerror or error}; free disk space and resume the run."
        )


def _belongs(line: bytes, step: int) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        values = json.loads(line)
    except ValueError:
        return False
    return isinstance(values, dict) and isinstance(values.get("step"), int) and values["step"] <= step


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl; a torn last line is left out. Raises DataError when it cannot be read."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; give the folder of a run.") from None
    return [json.loads(line) for line in lines if _belongs(line, 1 << 62)]


class TensorBoard:
    """Scalars for TensorBoard in `folder`; on resume, events after the resumed update are hidden."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer: Any = None

    def start(self, step: int, steps: int) -> None:
        # tensorboard takes a whole TensorFlow (5 s, 680 MB) where one is installed, unless this marker of its own is there
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("tensorboard", "dev", "writing TensorBoard events") from None
        writer: Callable[..., Any] = SummaryWriter
        self._writer = writer(str(self._folder), purge_step=step + 1)

    def step(self, step: int) -> None:
        pass

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class GradientAlarm:
    """Raises when a gradient norm stays far above what it was: metrics whose name ends in `suffix`.

    A value above `factor` times the median of the last 50 windows, in `patience` windows in a row, raises DivergenceError; the first
    `warm_up` windows only fill the history. So do those after `phase`, what is learned at an update, changes: a policy that imitated and
    now climbs Q has other gradients.
    """

    def __init__(
        self, *, suffix: str = "grad_norm", factor: float = 100.0, patience: int = 3, warm_up: int = 10,
        phase: Callable[[int], str] | None = None,
    ):  # fmt: skip
        if factor <= 1 or patience < 1 or warm_up < 1:
            raise UserError(
                f"a gradient alarm needs factor > 1, patience and warm_up >= 1; given {factor}, {patience}, {warm_up}."
            )
        self._suffix, self._factor, self._patience, self._warm_up = suffix, factor, patience, warm_up
        self._phase_at, self._phase = phase, ""
        self._seen: dict[str, deque[float]] = {}
        self._in_a_row: dict[str, int] = {}

    def start(self, step: int, steps: int) -> None:
        pass

    def step(self, step: int) -> None:
        pass

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        phase = "" if self._phase_at is None else self._phase_at(step)
        if phase != self._phase:
            self._phase = phase
            self._seen.clear()
            self._in_a_row.clear()
        for name, value in values.items():
            if name.endswith(self._suffix):
                self._check(step, name, value)

    def _check(self, step: int, name: str, value: float) -> None:
        seen = self._seen.setdefault(name, deque(maxlen=50))
        usual = statistics.median(seen) if len(seen) >= self._warm_up else float("inf")
        if value <= self._factor * usual:
            self._in_a_row[name] = 0
            seen.append(value)
            return
        self._in_a_row[name] = self._in_a_row.get(name, 0) + 1
        if self._in_a_row[name] >= self._patience:
            raise DivergenceError(
                f"{name} is {value:.3g} at update {step}, its median was {usual:.3g}: training diverges; resume from the last "
                "checkpoint with a lower learning rate, or look for damaged episodes."
            )

    def close(self) -> None:
        pass


def resident_bytes() -> int:
    """Memory this process holds in RAM, mapped files included; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
