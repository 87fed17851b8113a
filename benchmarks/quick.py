"""The command line of a benchmark whose one choice is how long it measures."""

from __future__ import annotations

import argparse


def asked_quick(doc: str | None, what: str = "fewer rounds, wider noise") -> bool:
    """Whether `--quick` is there; `--help` shows `doc`, what is unknown is told with what there is. `what`: it does."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=what)
    return bool(parser.parse_args().quick)
