"""A verb's result for people: every value in a line of its own, whatever it is nested in."""

from robot_pt.recipes import show


def test_nested_values_stand_under_their_names() -> None:
    values = {
        "task": "lift",
        "evaluations": [{"name": "a", "rate": 0.123456}, {"name": "b", "interval": [0.0, 0.79346]}],
        "one": [{"n": 1}],
        "checks": {"dx": 1.0},
        "named": ["x", "y"],
        "many": list(range(30)),
        "nothing": [],
    }
    assert show._rows(values) == [
        ("task", "lift"),
        ("evaluations 1", ""), ("  name", "a"), ("  rate", "0.1235"),
        ("evaluations 2", ""), ("  name", "b"), ("  interval", "0, 0.7935"),
        ("one", ""), ("  n", "1"),
        ("checks", ""), ("  dx", "1"),
        ("named", "x"), ("", "y"),
        ("many", ", ".join(map(str, range(20))) + ", … (30 in all)"),
        ("nothing", ""),
    ]  # fmt: skip
