"""The jobs' children: one takes a reference, one compares a window with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sartor_platform.worker import Report

from sartor_deployment.drift.detect import Comparison, OtherEmbedder
from sartor_deployment.drift.features import dump, extract, load
from sartor_deployment.drift.samples import read_samples


def take(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """The features of a reference, in a file."""
    report(0.1, stage="embedding")
    features = extract(read_samples(Path(task["samples"])))
    Path(task["features"]).write_bytes(dump(features))
    return {"made_by": features.made_by, "features": task["features"]}


def look(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """The findings of one window."""
    report(0.1, stage="comparing")
    try:
        compared = Comparison(
            load(Path(task["reference"]).read_bytes()),
            read_samples(Path(task["window"])),
            scores=(task["scores_before"], task["scores_now"]),
            false_alarm_rate=task["false_alarm_rate"],
        )
    except OtherEmbedder as error:
        return {"findings": [], "embedding": "", "other_embedder": str(error)}
    findings = [each.to_json() for each in compared.findings()]
    return {"findings": findings, "embedding": compared.embedding, "other_embedder": ""}
