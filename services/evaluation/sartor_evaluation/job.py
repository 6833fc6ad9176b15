"""The entry of an evaluation's child process: what must be said before torch is loaded, then evaluate.py."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sartor_platform.worker import Report


def evaluate(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """As evaluate.evaluate."""
    # Read when torch is loaded: threads that wait must sleep, or on shared cores two of them take ten times
    # as long as one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sartor_evaluation.evaluate import evaluate as work

    return work(task, folder, report)
