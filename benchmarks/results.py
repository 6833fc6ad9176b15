"""How a benchmark states a figure: one RESULT line and one JSON file in benchmarks/results/."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent / "results"


def report(
    name: str, value: float, goal: float, better: Literal["higher", "lower"], **details: object
) -> bool:
    """Prints `RESULT name ratio=… goal=… better=…` and keeps the figure with its details.

    Args:
        name: the figure's name as the goals give it.
        value: what was measured, in the goal's unit.
        goal: the bound that `value` should reach ("higher") or stay under ("lower").
    Returns:
        Whether the goal was met.
    """
    met = value >= goal if better == "higher" else value <= goal
    print(f"RESULT {name} ratio={value:.4g} goal={goal:g} better={better}", flush=True)
    FOLDER.mkdir(exist_ok=True)
    record = {
        "name": name,
        "value": value,
        "goal": goal,
        "better": better,
        "met": met,
        "details": details,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    return met
