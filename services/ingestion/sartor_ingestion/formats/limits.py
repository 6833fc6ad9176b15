"""How much a packed file may become: what a decompression bomb runs into."""

from __future__ import annotations

from dataclasses import dataclass

from sartor_ingestion.formats.rows import FileUnreadable


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on unpacking."""

    total_bytes: int = 10_737_418_240
    ratio: int = 200
    """Unpacked bytes for each packed one, once more than `free_bytes` came out. Text rarely reaches 30."""
    free_bytes: int = 67_108_864
    members: int = 100_000
    depth: int = 3
    """Archives in archives."""


LIMITS = Limits()


class Budget:
    """Counts what comes out of one file, with all that is packed inside it."""

    def __init__(self, limits: Limits, packed_bytes: int) -> None:
        self.limits = limits
        self.unpacked = 0
        self.members = 0
        self._packed = max(packed_bytes, 1)

    def take(self, size: int) -> None:
        """Count bytes that came out.

        Raises:
            FileUnreadable: DECOMPRESSION_BOMB.
        """
        self.unpacked += size
        ratio = self.unpacked // self._packed
        if self.unpacked > self.limits.total_bytes:
            raise _bomb(f"it unpacks to more than {self.limits.total_bytes} bytes; send it in parts")
        if self.unpacked > self.limits.free_bytes and ratio > self.limits.ratio:
            raise _bomb(f"it unpacks to more than {self.limits.ratio} times its size; send it unpacked")

    def member(self) -> None:
        """Count a member; raises as `take`."""
        self.members += 1
        if self.members > self.limits.members:
            raise _bomb(f"it has more than {self.limits.members} members; send it in parts")


def _bomb(problem: str) -> FileUnreadable:
    return FileUnreadable("DECOMPRESSION_BOMB", f"the file was not unpacked to its end: {problem}")
