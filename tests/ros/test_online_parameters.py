"""The online node's parameters become rules and a watch over the run; what cannot be meant is one sentence."""

from pathlib import Path
from typing import Any

import pytest

from robot_pt.errors import UserError
from robot_pt_ros import online_parameters as p

DOMAIN = 148


@pytest.fixture
def node(graph: Any) -> Any:
    """A plain node with the online node's parameters, given by name."""
    from rclpy.parameter import Parameter

    def make(name: str = "online", namespace: str = "", **given: Any) -> Any:
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        made = graph.node(name, namespace=namespace, parameter_overrides=overrides)
        p.declare(made)
        return made

    return make


def test_a_run_must_be_named(node: Any) -> None:
    with pytest.raises(UserError, match="run is empty; give the --out folder"):
        node()


def test_rules_are_those_given(node: Any) -> None:
    usual, given = node(run="RUN"), node("other", run="RUN", confirm=False, max_bound_share=0.2, load_in_episodes=False)
    assert p.rules(usual).confirm
    assert p.rules(usual).beside
    assert p.rules(usual).max_bound_share == 0.5
    rules = p.rules(given)
    assert (rules.confirm, rules.max_bound_share, rules.beside) == (False, 0.2, False)


@pytest.mark.parametrize("given", [{"max_bound_share": 1.5}, {"max_change": 0.0}])
def test_rules_that_cannot_be_meant(node: Any, given: dict[str, float]) -> None:
    with pytest.raises(UserError, match="give 0 to 1, and above 0"):
        p.rules(node(run="RUN", **given))


def test_the_watch_is_over_the_runs_folder_and_its_heart_has_the_name_of_the_robot(node: Any, tmp_path: Path) -> None:
    made = node(namespace="/wx250s/pt", run=str(tmp_path / "run"), store=str(tmp_path / "demos"), stale_s=3.0)
    assert p.run_folder(made) == tmp_path / "run"
    watch = p.run_watch(made)
    watch.start()
    try:
        watch.tell("acting")
    finally:
        watch.stop()
    assert [path.stem for path in (tmp_path / "run").rglob("robot_wx250s_pt*")]
