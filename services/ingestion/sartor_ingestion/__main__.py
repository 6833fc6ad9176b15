"""`python -m sartor_ingestion server|worker|migrate`: the wiring."""

from __future__ import annotations

import sys

from sartor_platform.runtime import Runtime
from sartor_platform.service import ServiceDefinition, main
from sartor_platform.ticks import Tick

from sartor_ingestion import events, service, worker
from sartor_ingestion.settings import IngestionSettings
from sartor_ingestion.store import contracts, imports, uploads
from sartor_ingestion.usecases import snapshots


def _ticks(_runtime: Runtime) -> list[Tick]:
    return [
        Tick("cut_snapshots", 0.5, _cut_snapshots),
        Tick("forget_rejected", 3600.0, _forget_rejected),
        Tick("forget_previews", 600.0, _forget_previews),
        Tick("sweep_uploads", 600.0, sweep_uploads),
    ]


def _cut_snapshots(runtime: Runtime) -> None:
    with runtime.database.transaction() as tx:
        snapshots.cut_due(tx)


def _forget_rejected(runtime: Runtime) -> None:
    with runtime.database.transaction() as tx:
        imports.forget_rejected(tx, runtime.settings.rejected_retention_seconds)
        contracts.forget_cases(tx, runtime.settings.rejected_retention_seconds)


def _forget_previews(runtime: Runtime) -> None:
    """The uploads go last: where that fails, an object without an import stays behind, not the reverse."""
    with runtime.database.transaction() as tx:
        uploads = imports.forget_previews(tx, runtime.settings.preview_retention_seconds)
    for uri in uploads:
        runtime.objects.remove(uri)


def sweep_uploads(runtime: Runtime) -> None:
    """Remove what servers that were killed in the middle of an upload have left."""
    with runtime.database.transaction() as tx:
        left = uploads.abandon(tx, runtime.settings.upload_grace_seconds)
    for uri in left:
        runtime.objects.remove(uri)
        with runtime.database.transaction() as tx:
            uploads.forget(tx, uri)


DEFINITION = ServiceDefinition(
    name="ingestion",
    package="sartor_ingestion",
    settings=IngestionSettings,
    servicers=service.servicers,
    topics=events.topics,
    handlers=events.handlers,
    job_kinds=worker.job_kinds,
    ticks=_ticks,
)


if __name__ == "__main__":
    sys.exit(main(DEFINITION))
