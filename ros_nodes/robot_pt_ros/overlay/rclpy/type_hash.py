"""Type hashes (REP-2011)."""

from __future__ import annotations


class TypeHash:
    """Version and 32 bytes; ``str()`` is the usual ``RIHS01_...``."""

    _TYPE_HASH_SIZE = 32

    def __init__(self, version: int = -1, value: bytes = bytes(32)) -> None:
        self.version = version
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeHash) and (self.version, self.value) == (other.version, other.value)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        if self.version <= 0 or len(self.value) != self._TYPE_HASH_SIZE:
            return "INVALID"
        return f"RIHS{self.version:02d}_{self.value.hex()}"

    def __repr__(self) -> str:
        return f"TypeHash(version={self.version}, value={self.value!r})"
