"""Every `robot-pt` command of the README runs as printed, in one folder, the collecting ones first.

DATASET and DEMOS stand for the reader's own folders; here they are what the README's own commands wrote.
"""

import json
import re
import shlex
from pathlib import Path

import pytest

from robot_pt import cli

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.S)
COMMANDS = [
    line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.startswith("robot-pt ")
]


def first(line: str) -> int:
    """Collecting and exporting come before what reads them."""
    return 0 if " collect " in line else 1 if " export " in line else 2


def test_the_readme_shows_every_verb() -> None:
    shown = {line.split()[1] for line in COMMANDS} | ({"demo"} if "make demo" in README else set())
    assert set(cli.VERBS) - {"bench"} <= shown


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    targets = re.findall(r"^make (\S+)", "\n".join(BLOCKS), re.M)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.timeout(1200)
def test_the_commands_run_as_printed(tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip(
        "robosuite", reason="the README's commands collect in robosuite: pip install --no-deps robosuite==1.5.2"
    )
    monkeypatch.chdir(tmp_path)
    for line in sorted(COMMANDS, key=first):
        if " compare " in line:
            continue  # hours: tests/cli/test_compare.py compares a little
        words = [{"DATASET": "demos-rlds", "DEMOS": "demos"}.get(w, w) for w in shlex.split(line)[1:]]
        if words[0] == "launch" and "--show-args" not in words:
            words.append(
                "--print"
            )  # it would run until it is stopped: tests/sim/test_graph.py starts and stops such graphs
        assert cli.main([*words, "--json"]) == 0, f"{line}: {capsys.readouterr().err[-2000:]}"
        assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (tmp_path / "runs" / "f" / "selected").exists()
