"""What a device says of itself: what an update came to, and what is so now."""

from __future__ import annotations

from dataclasses import dataclass

from sartor_edge.channel import Head
from sartor_edge.engine import Check


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an update came to: UPDATED, CURRENT, REFUSED or WENT_BACK, and why.

    `reason` says the same to programs; `check` is what the known prompts showed, where they were asked.
    """

    word: str
    revision: str
    message: str
    reason: str = ""
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is so on a device now. `since`: when the current bundle began to be served, by its own clock.

    `asked`: the ring that its owner named, or "". `taken`, `failed`: manifests, and why they failed.
    """

    asked: str
    edition: int
    taken: str
    failed: dict[str, str]
    runs: Head | None
    since: float
