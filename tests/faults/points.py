"""The harness's side of `sartor_platform.fault_points`: orders laid out and taken back, confirmations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A process was at the point when it met its fault."""

    order: str
    point: str
    process: str
    pid: int
    action: str


class Points:
    """One folder shared with all processes of a world."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for room in ("orders", "taken", "confirmed", "off"):
            (folder / room).mkdir(parents=True)
        self._orders = 0

    def order(self, point: str, process: str, action: str, *, attempt_below: int = 0) -> str:
        """Lay out a one-shot order; returns its id."""
        self._orders += 1
        name = f"{self._orders:06d}"
        order: dict[str, object] = {"action": action}
        if attempt_below:
            order["attempt_below"] = attempt_below
        draft = self.folder / f"{name}.draft"
        draft.write_text(json.dumps(order))
        draft.rename(self.folder / "orders" / f"{point}~{process}~{name}.json")
        return name

    def confirmation(self, order: str) -> Confirmation | None:
        """What the process wrote down, or None if the point was not reached yet."""
        try:
            raw = json.loads((self.folder / "confirmed" / f"{order}.json").read_text())
        except FileNotFoundError:
            return None
        return Confirmation(order, raw["point"], raw["process"], raw["pid"], raw["action"])

    def switch_off(self, guard: str) -> None:
        """Take a guard of the system away."""
        (self.folder / "off" / guard).touch()

    def switch_on(self, guard: str) -> None:
        """Give it back."""
        (self.folder / "off" / guard).unlink(missing_ok=True)

    def withdraw(self, order: str) -> None:
        """Take an order back that nobody has reached."""
        for path in (self.folder / "orders").glob(f"*~{order}.json"):
            path.unlink(missing_ok=True)
