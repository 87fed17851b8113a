import io
import mmap
from pathlib import Path

import pytest
from rich.console import Console

from robot_pt.errors import DataError, UserError
from robot_pt.observers import (
    DivergenceError,
    GradientAlarm,
    JsonLines,
    ProgressBar,
    TensorBoard,
    read_metrics,
    resident_bytes,
)

SPEED = {"speed/updates_per_s": 2.5, "speed/samples_per_s": 160.0, "speed/data_wait_percent": 12.0}


def write(path, start, steps):
    lines = JsonLines(path)
    lines.start(start, 100)
    for step in steps:
        lines.step(step)
        lines.metrics(step, {"loss": step / 3})
    lines.close()


def test_lines_are_on_disk_at_once_and_read_back_exactly(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    lines = JsonLines(path)
    lines.start(0, 10)
    lines.metrics(1, {"loss": 1 / 3})
    (read,) = read_metrics(path)
    lines.close()
    lines.close()
    assert read["step"] == 1
    assert read["loss"] == 1 / 3
    assert read["memory/rss_bytes"] > 1e6


def test_resume_cuts_what_came_after_and_a_torn_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, 0, range(1, 8))
    with path.open("a") as file:
        file.write('{"step": 8, "lo')
    assert [m["step"] for m in read_metrics(path)] == list(range(1, 8))
    write(path, 5, [6, 7])
    assert [m["step"] for m in read_metrics(path)] == list(range(1, 8))
    assert path.read_text().count("\n") == 7
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_new_run_in_an_old_folder_starts_empty(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, 0, [1, 2])
    path.write_text(path.read_text() + "no json\n[1]\n")
    write(path, 0, [])
    assert path.read_text() == ""


def test_a_path_that_cannot_be_written_or_read_is_a_sentence(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(DataError, match="could not be written"):
        JsonLines(tmp_path / "x" / "metrics.jsonl").start(0, 1)
    with pytest.raises(DataError, match="cannot be read"):
        read_metrics(tmp_path / "none")


def test_a_full_disk_is_a_sentence():
    lines = JsonLines(Path("/dev/full"))
    lines._file = lines._path.open("w")
    with pytest.raises(DataError, match="could not be written: No space left on device; free disk space"):
        lines.metrics(1, {"loss": 1.0})
    with pytest.raises(DataError, match="No space left"):
        lines.close()
    lines.close()


def test_the_bar_shows_rates_waiting_memory_and_a_metric():
    out = io.StringIO()
    bar = ProgressBar("pretrain", metric="loss", console=Console(file=out, force_terminal=True, width=200))
    bar.start(10, 100)
    bar.step(50)
    bar.metrics(50, {**SPEED, "loss": 0.1234567})
    bar.close()
    for text in ("pretrain", "50/100", "2.5 updates/s", "160 samples/s", "data wait 12%", "GB", "loss 0.1235"):
        assert text in out.getvalue()


@pytest.mark.parametrize(("waits", "told"), [([80, 80, 80, 90, 90, 90], 1), ([80, 80, 10, 80, 80], 0), ([49] * 9, 0)])
def test_the_bar_says_once_what_helps_where_the_data_is_long_in_coming(waits: list[float], told: int) -> None:
    out = io.StringIO()
    bar = ProgressBar("pretrain", console=Console(file=out, force_terminal=True, width=300))
    bar.start(0, 100)
    for step, wait in enumerate(waits):
        bar.metrics(step, {**SPEED, "speed/data_wait_percent": wait})
    bar.close()
    assert out.getvalue().count("robot-pt data cache") == told


def test_tensorboard_holds_the_scalars_and_hides_what_a_resume_repeats(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, steps in ((0, (1, 2, 3)), (1, (2,))):
        board = TensorBoard(tmp_path)
        board.start(start, 3)
        for step in steps:
            board.step(step)
            board.metrics(step, {"loss": start + step / 2})
        board.close()
        board.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 2.0)]


def alarm_after(values, **options):
    alarm = GradientAlarm(**options)
    alarm.start(0, 1)
    for step, value in enumerate(values):
        alarm.step(step)
        alarm.metrics(step, {"critic/grad_norm": value, "loss": 1e30})
    alarm.close()


def test_the_alarm_needs_several_windows_far_above_the_usual():
    usual = [1.0, 2.0, 3.0] * 5
    alarm_after([*usual, 500.0, 500.0, 2.0, 500.0, 500.0])
    alarm_after([*usual, 150.0, 150.0, 150.0])
    alarm_after([1e9] * 9)
    with pytest.raises(DivergenceError, match=r"critic/grad_norm is 500 at update 17, its median was 2"):
        alarm_after([*usual, 500.0, 500.0, 500.0])


def test_the_alarm_begins_anew_where_something_else_is_learned():
    values = [1.0] * 20 + [500.0] * 5

    def phase(step):
        return "warm_start" if step < 20 else "joint"

    alarm_after(values, phase=phase)
    with pytest.raises(DivergenceError, match="at update 22"):
        alarm_after(values, phase=lambda step: "joint")
    with pytest.raises(DivergenceError, match=r"critic/grad_norm is 9e\+04 at update 37, its median was 500"):
        alarm_after([*values, *[500.0] * 10, *[90000.0] * 5], phase=phase)


def test_the_alarm_refuses_senseless_settings():
    with pytest.raises(UserError, match="factor > 1"):
        GradientAlarm(factor=1)


def test_resident_memory_grows_with_what_is_held():
    before = resident_bytes()
    with mmap.mmap(-1, 50_000_000) as fresh:  # not from malloc, which may hand out memory that an earlier test freed
        fresh.write(b"x" * len(fresh))
        assert resident_bytes() - before > 25_000_000
