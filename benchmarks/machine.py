"""Print the machine and versions that a benchmark was read on: ``python benchmarks/machine.py [--json]``."""

from __future__ import annotations

import argparse
import json

from robot_pt.machine import describe, versions


def main() -> None:
    """One line to paste into benchmarks/README.md, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the line")
    as_json, machine, packages = parser.parse_args().json, describe(), versions()
    if as_json:
        print(json.dumps({"machine": machine, "versions": packages}))
        return
    hardware = "; ".join(f"{k} {v}" for k, v in machine.items())
    print(f"{hardware}; {', '.join(f'{k} {v}' for k, v in packages.items())}")


if __name__ == "__main__":
    main()
