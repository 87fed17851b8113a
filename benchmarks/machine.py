"""Print the machine and versions that a benchmark was read on: ``python benchmarks/machine.py [--json]``."""

from __future__ import annotations

import json
import sys

from robot_pt.machine import describe, versions


def main() -> None:
    """One line to paste into benchmarks/README.md, or one JSON object."""
    machine, packages = describe(), versions()
    if "--json" in sys.argv[1:]:
        print(json.dumps({"machine": machine, "versions": packages}))
        return
    hardware = "; ".join(f"{k} {v}" for k, v in machine.items())
    print(f"{hardware}; {', '.join(f'{k} {v}' for k, v in packages.items())}")


if __name__ == "__main__":
    main()
