"""A service to be called, as plain code asks for it."""

from __future__ import annotations

from typing import NamedTuple


class Call(NamedTuple):
    """One service to ask."""

    service: str
    data: bool | None = None
    """Of a SetBool; None: it is a Trigger."""
    optional: bool = False
    """Left out where nobody serves it."""
    may_refuse: bool = False
    """A refusal ends nothing."""
    patience_s: float = 0.0
    """Asked again for so long while it is refused."""
