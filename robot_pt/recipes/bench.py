"""`robot-pt bench`: runs a script of benchmarks/ in the checkout, where the peers and their commands are kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import robot_pt
from robot_pt.endings import ended
from robot_pt.errors import UserError
from robot_pt.recipes.progress import stderr


def bench(what: str, *, quick: bool = False, further: Sequence[str] = ()) -> dict[str, Any]:
    """Run benchmarks/<what>.py, `further` words on its command line, and return the JSON object on its last line.

    Raises UserError outside a checkout, or when the script fails (its own words are on stderr by then).
    """
    script = Path(robot_pt.__file__).parents[1] / "benchmarks" / f"{what}.py"
    if not script.is_file():
        raise UserError(
            f"benchmarks/{what}.py is not beside the installed package; run `robot-pt bench` from a git checkout "
            "installed with `pip install -e .`."
        )
    command = [sys.executable, str(script), *(["--quick"] if quick else []), *further]
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}, process_group=0
    ) as run:
        assert run.stdout is not None
        try:
            for line in run.stdout:
                lines.append(line.rstrip())
                if not line.startswith("{"):
                    stderr.print(line.rstrip(), highlight=False, markup=False, soft_wrap=True)
        except KeyboardInterrupt:  # the script is in a group of its own, so that it does not end in a traceback
            os.killpg(run.pid, signal.SIGTERM)
            raise
    if run.returncode != 0:
        why = "its message is above" if run.returncode > 0 else "it could not say why, the system's log (dmesg) may"
        raise UserError(f"{script.name} {ended(run.returncode)}; {why}.")
    result: dict[str, Any] = json.loads(lines[-1])
    return result
