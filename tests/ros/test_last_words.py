"""What nodes said last as an error, off /rosout."""

from typing import Any

from robot_pt_ros.last_words import LastWords

DOMAIN = 63


def test_the_last_line_of_the_last_error_of_each_node_is_kept_and_nothing_else(graph: Any) -> None:
    names = ("policy", "arm", "sim")
    words = LastWords(graph.node("manager", namespace="/wx250s/pt"), names)
    ours = {name: graph.node(name, namespace="/wx250s/pt").get_logger() for name in names}
    other = graph.node("policy", namespace="/sim").get_logger()
    ours["policy"].error("the first thing")
    ours["policy"].error("Traceback\n  in a file\nValueError: the last thing\n")
    ours["policy"].warning("a warning")
    ours["arm"].info("fine")
    ours["arm"].fatal("no driver")
    other.error("of another graph")
    assert graph.spin_until(lambda: words.of("policy").startswith("Value") and words.of("arm"))
    ours["sim"].error("\n")
    ours["policy"].error("the very last")
    assert graph.spin_until(lambda: words.of("policy") == "the very last")
    assert [words.of(name) for name in (*names, "nobody")] == ["the very last", "no driver", "", ""]
