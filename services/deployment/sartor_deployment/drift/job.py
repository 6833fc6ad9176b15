"""The job's child: compares a window with its reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sartor_platform.worker import Report

from sartor_deployment.drift.detect import Comparison
from sartor_deployment.drift.samples import read_samples


def look(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """The findings of one window."""
    report(0.1, stage="comparing")
    compared = Comparison(
        read_samples(Path(task["reference"])),
        read_samples(Path(task["window"])),
        scores=(task["scores_before"], task["scores_now"]),
        false_alarm_rate=task["false_alarm_rate"],
    )
    findings = [each.to_json() for each in compared.findings()]
    return {"findings": findings, "embedding": compared.embedding}
