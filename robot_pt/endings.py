"""How a process ended, in words. Imports the standard library only."""

from __future__ import annotations

import signal


def ended(code: int | None) -> str:
    """The end of a sentence about a process with this exit code, as `Popen.returncode` or `Process.exitcode` tell it."""
    if code is None or code >= 0:
        return f"ended with code {code}"
    known = -code in set(signal.Signals)
    return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
