"""The events ingestion publishes, from its own values."""

from __future__ import annotations

from sartor.common.v1 import object_reference_pb2
from sartor.ingestion.v1 import ingestion_events_pb2
from sartor_datasets.manifests import ObjectReference


def snapshot_unchanged(dataset: str, snapshot: str) -> ingestion_events_pb2.SnapshotUnchanged:
    """Nothing came in since this snapshot: who asked for a newer one need not wait."""
    return ingestion_events_pb2.SnapshotUnchanged(dataset=dataset, snapshot=snapshot)


def snapshot_created(
    *, snapshot: str, dataset: str, sequence: int, manifest: ObjectReference, record_count: int
) -> ingestion_events_pb2.SnapshotCreated:
    """A snapshot was sealed: what curation waits for."""
    return ingestion_events_pb2.SnapshotCreated(
        snapshot=snapshot,
        dataset=dataset,
        sequence=sequence,
        manifest=object_reference_pb2.ObjectReference(
            uri=manifest.uri, sha256=manifest.sha256, size_bytes=manifest.size_bytes
        ),
        record_count=record_count,
    )
