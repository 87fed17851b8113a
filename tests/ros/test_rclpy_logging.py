"""Loggers: levels, filters, the console line and /rosout."""

from __future__ import annotations

import logging as python_logging
import os

import pytest
from rcl_interfaces.msg import Log
from rclpy import _logging_state
from rclpy.clock import Clock, ROSClock
from rclpy.clock_type import ClockType
from rclpy.logging import (
    LoggingSeverity,
    clear_config,
    get_logger,
    get_logger_effective_level,
    get_logger_level,
    get_logging_directory,
    get_logging_severity_from_string,
    set_logger_level,
)
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time

DOMAIN = 46


@pytest.fixture(autouse=True)
def _fresh_levels():
    clear_config()
    yield
    clear_config()
    _logging_state.configure({}, to_console=True, environment={})


def test_levels_are_inherited_by_dots() -> None:
    logger = get_logger("a.b.c")
    assert logger.get_effective_level() == LoggingSeverity.INFO
    set_logger_level("a", LoggingSeverity.ERROR)
    assert get_logger_effective_level("a.b.c") == LoggingSeverity.ERROR
    logger.set_level(10)
    assert logger.is_enabled_for(LoggingSeverity.DEBUG)
    assert not get_logger("ab").is_enabled_for(LoggingSeverity.DEBUG)
    assert get_logger_level("a.b") == LoggingSeverity.UNSET
    assert logger.get_child("d").name == "a.b.c.d"
    assert get_logging_severity_from_string("warn") == LoggingSeverity.WARN
    with pytest.raises(RuntimeError, match="loud"):
        get_logging_severity_from_string("loud")
    with pytest.raises(ValueError, match="empty"):
        get_logger("")
    with pytest.raises(ValueError, match="empty"):
        logger.get_child("")


def test_lines_are_written_where_the_level_allows(capsys: pytest.CaptureFixture[str]) -> None:
    logger = get_logger("lines")
    assert not logger.debug("unheard")
    for level in ("info", "warning", "warn", "error", "fatal"):
        assert getattr(logger, level)(f"said {level}")
    err = capsys.readouterr().err.splitlines()
    assert [line.split("]")[0] for line in err] == ["[INFO", "[WARN", "[WARN", "[ERROR", "[FATAL"]
    assert err[0].endswith("[lines]: said info")


def test_the_console_line_follows_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    environment = {
        "RCUTILS_CONSOLE_OUTPUT_FORMAT": "{name}|{severity}|{message}|{function_name}|{file_name}|{nonsense}",
        "RCUTILS_LOGGING_USE_STDOUT": "1",
        "RCUTILS_COLORIZED_OUTPUT": "1",
    }
    _logging_state.configure({"quiet": 50}, to_console=True, environment=environment)
    get_logger("loud").error("{name} stays")
    get_logger("quiet").error("not this")
    out = capsys.readouterr().out
    function = "test_the_console_line_follows_the_environment"
    assert out == f"\033[31mloud|ERROR|{{name}} stays|{function}|{__file__}|{{nonsense}}\033[0m\n"
    _logging_state.configure({}, to_console=False, environment={})
    get_logger("loud").error("silent")
    assert capsys.readouterr() == ("", "")


def test_filters_count_per_place() -> None:
    logger = get_logger("filters")
    once = [logger.info("a", once=True) for _ in range(3)]
    skipped = [logger.info("b", skip_first=True) for _ in range(3)]
    both = [logger.info("c", skip_first=True, once=True) for _ in range(4)]
    assert (once, skipped) == ([True, False, False], [False, True, True])
    assert both == [False, True, False, False]


def test_throttling_follows_its_clock_also_backwards() -> None:
    logger, clock = get_logger("throttled"), ROSClock()
    clock._set_ros_time_is_active(True)
    said = []
    for now_s in (10.0, 10.5, 10.99, 11.0, 11.5, 3.0, 3.5, 4.0):
        clock.set_ros_time_override(Time(seconds=now_s, clock_type=ClockType.ROS_TIME))
        said.append(logger.info("x", throttle_duration_sec=1.0, throttle_time_source_type=clock))
    assert said == [True, False, False, True, False, True, False, True]


def test_filters_that_mean_nothing_are_refused() -> None:
    logger = get_logger("refusing")
    with pytest.raises(TypeError, match="not one of the recognized"):
        logger.info("x", twice=True)
    with pytest.raises(TypeError, match="throttle_duration_sec"):
        logger.info("x", throttle_time_source_type=Clock())
    with pytest.raises(ValueError, match="clock instance"):
        logger.info("x", throttle_duration_sec=1.0, throttle_time_source_type="steady")

    def say(severity: int, name: str, **options) -> bool:
        return logger.log("x", severity, name=name, **options)

    assert say(20, "a", once=True)
    for changed, match in (
        ((30, "a", {"once": True}), "severity"),
        ((20, "b", {"once": True}), "name"),
        ((20, "a", {"skip_first": True}), "filters"),
        ((20, "a", {"once": 2}), "parameters"),
    ):
        with pytest.raises(ValueError, match=match):
            say(changed[0], changed[1], **changed[2])


def test_logs_reach_rosout(graph) -> None:
    node, other, logs = graph.node("speaker", namespace="/ns"), graph.node("silent", enable_rosout=False), []
    latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(Log, "/rosout", logs.append, latched)
    node.get_logger().warning("careful")
    node.get_logger().get_child("part").error("broken")
    other.get_logger().error("unheard")
    assert graph.spin_until(lambda: len(logs) == 2)
    assert [(log.name, log.level, log.msg) for log in logs] == [
        ("ns.speaker", 30, "careful"),
        ("ns.speaker.part", 40, "broken"),
    ]
    assert os.path.basename(logs[0].file) == os.path.basename(__file__)
    assert logs[0].line > 0
    node.destroy_node()
    get_logger("ns.speaker").error("after the end")
    python_logging.getLogger("unrelated").warning("not ROS")


def test_a_node_that_is_gone_is_not_kept_by_its_logger(graph) -> None:
    node = graph.node("leaver")
    assert "leaver" in _logging_state._sinks
    node.destroy_node()
    assert "leaver" not in _logging_state._sinks
    get_logger("leaver").error("nobody publishes this")


def test_of_two_nodes_of_one_name_the_later_goes_on_saying(graph) -> None:
    first, logs = graph.node("twin"), []
    second = graph.node("twin")
    latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    graph.node("listener").create_subscription(Log, "/rosout", logs.append, latched)
    first.destroy_node()
    assert "twin" in _logging_state._sinks
    second.get_logger().warning("still here")
    assert graph.spin_until(lambda: [log.msg for log in logs if log.name == "twin"] == ["still here"])
    second.destroy_node()
    assert "twin" not in _logging_state._sinks


def test_what_is_ignored_on_the_command_line_is_said(graph, capsys: pytest.CaptureFixture[str]) -> None:
    graph.start(("--ros-args", "--enclave", "/cell", "--log-file-name", "x"))
    said = capsys.readouterr().err
    assert "'--enclave /cell' is ignored" in said
    assert "'--log-file-name x' is ignored" in said


def test_where_log_files_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_LOG_DIR", "/logs")
    assert str(get_logging_directory()) == "/logs"
    monkeypatch.delenv("ROS_LOG_DIR")
    monkeypatch.setenv("ROS_HOME", "/home/ros")
    assert str(get_logging_directory()) == "/home/ros/log"
