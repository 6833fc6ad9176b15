"""What a device remembers between updates: one small file, on the disk before what follows."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

_FAILED_KEPT = 20


@dataclass(slots=True)
class State:
    """`sequence`: the highest taken; `failed`: manifests and why; `damaged`: the revision the disk spoilt.

    Of rings: the highest `edition` followed, and the manifest `taken` last. `trying`, `tries`: the manifest
    whose engine is being tried, and how often that was begun without an end.
    """

    sequence: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    damaged: str = ""
    edition: int = 0
    taken: str = ""
    trying: str = ""
    tries: int = 0

    def write(self, home: Path) -> None:
        """Keep it in the device's folder."""
        home.mkdir(parents=True, exist_ok=True)
        self.failed = dict(list(self.failed.items())[-_FAILED_KEPT:])
        part = home / ".state.part"
        write_synced(part, json.dumps(asdict(self)).encode())
        os.replace(part, home / "state.json")


def read_state(home: Path) -> State:
    """As written; a fresh one where there is none. What a later updater wrote besides is left out."""
    known = {each.name for each in fields(State)}
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError, AttributeError):
        value = json.loads((home / "state.json").read_text(encoding="utf-8"))
        return State(**{name: each for name, each in value.items() if name in known})
    return State()


def write_synced(path: Path, data: bytes) -> None:
    """Write a file, and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Let what was made, renamed or linked in it be on the disk before what follows."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
