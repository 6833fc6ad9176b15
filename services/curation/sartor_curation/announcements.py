"""The events curation publishes, from its own values."""

from __future__ import annotations

from sartor.common.v1 import object_reference_pb2
from sartor.curation.v1 import curation_events_pb2
from sartor_datasets.manifests import ObjectReference

from sartor_curation.resources import Curation, Result


def curation_succeeded(curation: Curation, result: Result) -> curation_events_pb2.CurationSucceeded:
    """A curation ended well: what training waits for."""
    return curation_events_pb2.CurationSucceeded(
        curation=curation.name,
        policy=curation.policy,
        standing_order=curation.standing_order,
        snapshot=curation.snapshot,
        manifest=reference_message(result.manifest),
        report=reference_message(result.report),
        kept_by_split=result.kept_by_split,
        training_tokens=result.training_tokens,
    )


def curation_failed(curation: str, reason: str, message: str) -> curation_events_pb2.CurationFailed:
    """A curation came to nothing."""
    return curation_events_pb2.CurationFailed(curation=curation, reason=reason, message=message)


def reference_message(reference: ObjectReference) -> object_reference_pb2.ObjectReference:
    """The reference as protos carry it."""
    return object_reference_pb2.ObjectReference(
        uri=reference.uri, sha256=reference.sha256, size_bytes=reference.size_bytes
    )
