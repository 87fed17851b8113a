import logging

import pytest

from robot_pt.errors import MissingExtraError, UserError
from robot_pt_sim import installation
from robot_pt_sim.installation import check_versions, versions


@pytest.mark.parametrize("mujoco", ["3.3.0", "3.8.1", "3.9.0"])
def test_a_pair_that_works_passes(mujoco):
    check_versions(mujoco, "1.5.2")


@pytest.mark.parametrize(
    ("mujoco", "robosuite", "error", "words"),
    [
        (None, "1.5.2", MissingExtraError, "robot-pt[robosuite]"),
        ("3.10.0", "1.5.2", UserError, "mujoco 3.10.0"),
        ("4.0.0", "1.5.2", UserError, "pip install 'mujoco>=3.3,<3.9'"),
        ("3.8.1", None, UserError, "pip install --no-deps robosuite==1.5.2"),
        ("3.8.1", "1.4.1", UserError, "robosuite 1.4.1 is installed"),
    ],
)
def test_other_pairs_are_refused_with_what_to_do(mujoco, robosuite, error, words):
    with pytest.raises(error) as raised:
        check_versions(mujoco, robosuite)
    assert words in str(raised.value)


def test_a_missing_robosuite_stops_before_anything_is_imported(monkeypatch):
    monkeypatch.setattr(installation, "_installed", lambda name: "3.8.1" if name == "mujoco" else None)
    monkeypatch.setattr(installation.importlib, "import_module", lambda name: pytest.fail(f"imported {name}"))
    with pytest.raises(UserError, match="--no-deps"):
        installation.import_robosuite()


def test_versions_are_those_of_the_packages(robosuite):
    import mujoco

    assert versions() == {"robosuite": robosuite.__version__, "mujoco": mujoco.__version__}


def test_robosuites_chatter_is_silent_but_errors_are_not(robosuite):
    def passes(level):
        record = logging.LogRecord("robosuite_logs", level, "", 0, "text", None, None)
        return bool(logging.getLogger("robosuite_logs").filter(record))

    assert not passes(logging.WARNING)
    assert passes(logging.ERROR)
