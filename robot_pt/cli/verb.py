"""What every verb is: a dataclass whose fields are its flags, and `run`, which calls a recipe and returns the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Protocol

import tyro

PathArgument = Annotated[Path, tyro.conf.Positional]
PathArguments = Annotated[tuple[Path, ...], tyro.conf.Positional]


class Verb(Protocol):
    json: bool

    def run(self) -> dict[str, Any]: ...
