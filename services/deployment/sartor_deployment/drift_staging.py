"""The jobs of drift: what their children read and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sartor_platform import orders
from sartor_platform.errors import FailedPrecondition
from sartor_platform.transaction import Transaction
from sartor_platform.worker import JobContext, JobKind

from sartor_deployment import store
from sartor_deployment.drift.findings import Finding
from sartor_deployment.drift.samples import Sample, question_text, write_samples
from sartor_deployment.resources import EndpointSpec
from sartor_deployment.store import SampledRow, drift_references
from sartor_deployment.usecases import drift, drift_reference


def drift_jobs() -> tuple[JobKind, ...]:
    """Take a reference; look at a window."""
    return (
        JobKind(
            name=drift_reference.TAKE,
            entry="sartor_deployment.drift.job:take",
            stage_in=_reference_inputs,
            stage_out=_reference_results,
            failed=drift_reference.failed,
        ),
        JobKind(
            name=drift.LOOK,
            entry="sartor_deployment.drift.job:look",
            stage_in=_window_inputs,
            stage_out=_window_results,
            failed=drift.failed,
        ),
    )


def _reference_inputs(context: JobContext) -> Mapping[str, Any]:
    name = context.job.resource
    with context.runtime.database.read() as connection:
        wanted = drift_references.reference(connection, name)
        if wanted is None:
            raise _forgotten(f"the reference of {name} is not wanted any more")
        revision = store.revision(connection, name)
        since = revision.live_time or revision.create_time
        rows = store.first_samples(connection, name, since, wanted.requests)
    end = (wanted.end_time, wanted.end_id)
    rows = [row for row in rows if (row.create_time, row.id) <= end]
    if len(rows) < wanted.requests:
        raise _forgotten("its requests were deleted meanwhile: retention is over")
    folder = context.folder.resolve()
    return {
        "samples": str(write_samples(folder / "reference.jsonl", map(_sample, rows))),
        "features": str(folder / "reference.npz"),
    }


def _reference_results(context: JobContext, result: dict[str, Any]) -> Callable[[Transaction], None]:
    features = Path(result["features"]).read_bytes()
    return lambda tx: drift_reference.taken(tx, context.job.resource, result["made_by"], features)


def _window_inputs(context: JobContext) -> Mapping[str, Any]:
    with context.runtime.database.read() as connection:
        window = store.drift_window(connection, context.job.resource)
        spec = EndpointSpec.from_json(orders.get(connection, window.endpoint).spec).watching.drift
        reference = drift_references.reference(connection, window.revision)
        rows = store.samples_after(
            connection, window.revision, window.after_time, window.after_id, window.window_requests
        )
        if reference is None or not reference.taken or not rows:
            raise _forgotten("its requests were deleted, or it is not live any more")
        features = drift_references.features(connection, window.revision)
        scores_before = drift_reference.scores_until(connection, reference, window.after_time)
        scores_now = store.scores(connection, window.revision, window.after_time, context.job.create_time)
    folder = context.folder.resolve()
    (folder / "reference.npz").write_bytes(features)
    return {
        "reference": str(folder / "reference.npz"),
        "window": str(write_samples(folder / "window.jsonl", map(_sample, rows))),
        "scores_before": scores_before,
        "scores_now": scores_now,
        "false_alarm_rate": spec.false_alarm_rate,
    }


def _window_results(context: JobContext, result: dict[str, Any]) -> Callable[[Transaction], None]:
    findings = [Finding.from_json(each) for each in result["findings"]]

    def accept(tx: Transaction) -> None:
        window = store.drift_window(tx.connection, context.job.resource)
        if result["other_embedder"]:
            drift_reference.of_another_embedder(tx, window, result["other_embedder"])
        else:
            drift.looked(tx, window, findings, result["embedding"])

    return accept


def _sample(row: SampledRow) -> Sample:
    return Sample(question_text(row.question), row.answer)


def _forgotten(text: str) -> FailedPrecondition:
    return FailedPrecondition(text, reason="REQUESTS_FORGOTTEN")
