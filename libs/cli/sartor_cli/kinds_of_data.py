"""The kinds of resources of ingestion and curation."""

from __future__ import annotations

from sartor.curation.v1 import curation_service_pb2 as curation
from sartor.ingestion.v1 import ingestion_service_pb2 as ingestion
from sartor.ingestion.v1.source_pb2 import Source

from sartor_cli.ingest import REJECTED_COLUMNS
from sartor_cli.kind import AGE, NAME, ORDER, PROGRESS, RUN, STATE, C, ResourceKind, short
from sartor_cli.output import last


def _breaches(source: Source) -> str:
    """Rows that broke the contract, and whether that stops snapshots."""
    count = f"{source.breach_count:,}"
    return f"[red]{count}, stops[/]" if source.stopped else count


KINDS = (
    ResourceKind(
        "projects",
        lambda s: s.ingestion.ListProjects,
        ingestion.ListProjectsRequest,
        (NAME, C("DISPLAY NAME", lambda each: each.display_name), *ORDER),
        lambda s: s.ingestion.GetProject,
        ingestion.GetProjectRequest,
        "",
    ),
    ResourceKind(
        "sources",
        lambda s: s.ingestion.ListSources,
        ingestion.ListSourcesRequest,
        (
            NAME,
            C("DATASET", lambda each: last(each.dataset)),
            C("TOPIC", lambda each: each.topic),
            C("RECORDS", lambda each: f"{each.live_count:,}", right=True),
            C("PENDING", lambda each: f"{each.pending_count:,}", right=True),
            C("BREACHES", _breaches, right=True),
            *ORDER,
        ),
        lambda s: s.ingestion.GetSource,
        ingestion.GetSourceRequest,
        "sources/{}",
    ),
    ResourceKind(
        "datasets",
        lambda s: s.ingestion.ListDatasets,
        ingestion.ListDatasetsRequest,
        (
            NAME,
            C("RECORDS", lambda each: f"{each.record_count:,}", right=True),
            C("PENDING", lambda each: f"{each.pending_count:,}", right=True),
            C("REJECTED", lambda each: f"{each.rejected_count:,}", right=True),
            C("SNAPSHOT", lambda each: last(each.latest_snapshot)),
            C("STOPPED BY", lambda each: ", ".join(last(name) for name in each.stopped_by)),
            AGE,
        ),
        lambda s: s.ingestion.GetDataset,
        ingestion.GetDatasetRequest,
        "datasets/{}",
    ),
    ResourceKind(
        "snapshots",
        lambda s: s.ingestion.ListSnapshots,
        ingestion.ListSnapshotsRequest,
        (
            C("NAME", lambda each: short(each.name), whole=True),
            C("RECORDS", lambda each: f"{each.record_count:,}", right=True),
            C("ADDED", lambda each: f"{each.added_count:,}", right=True),
            C("SUPERSEDED", lambda each: f"{each.superseded_count:,}", right=True),
            C("WITHDRAWN", lambda each: f"{each.withdrawn_count:,}", right=True),
            C("REJECTED", lambda each: f"{each.rejected_count:,}", right=True),
            C("CAUSE", lambda each: each.cause),
            RUN,
            AGE,
        ),
        lambda s: s.ingestion.GetSnapshot,
        ingestion.GetSnapshotRequest,
        "datasets/{}/snapshots/{}",
        "datasets/{}",
        filters=True,
    ),
    ResourceKind(
        "imports",
        lambda s: s.ingestion.ListImports,
        ingestion.ListImportsRequest,
        (
            NAME,
            C("FILE", lambda each: each.file_name),
            C("SOURCE", lambda each: last(each.source)),
            STATE,
            C("ACCEPTED", lambda each: f"{each.accepted_count:,}", right=True),
            C("REJECTED", lambda each: f"{each.rejected_count:,}", right=True),
            AGE,
        ),
        lambda s: s.ingestion.GetImport,
        ingestion.GetImportRequest,
        "imports/{}",
    ),
    ResourceKind(
        "policies",
        lambda s: s.curation.ListCurationPolicies,
        curation.ListCurationPoliciesRequest,
        (
            NAME,
            C("DATASET", lambda each: last(each.dataset)),
            C("BASE MODEL", lambda each: last(each.base_model)),
            *ORDER,
        ),
        lambda s: s.curation.GetCurationPolicy,
        curation.GetCurationPolicyRequest,
        "curationPolicies/{}",
    ),
    ResourceKind(
        "curations",
        lambda s: s.curation.ListCurations,
        curation.ListCurationsRequest,
        (
            NAME,
            STATE,
            PROGRESS,
            C("READ", lambda each: f"{each.input_count:,}", right=True),
            C("KEPT", lambda each: f"{each.kept_count:,}", right=True),
            C("DROPPED", lambda each: f"{each.dropped_count:,}", right=True),
            C("TRAINING TOKENS", lambda each: f"{each.training_tokens:,}", right=True),
            RUN,
            AGE,
        ),
        lambda s: s.curation.GetCuration,
        curation.GetCurationRequest,
        "curations/{}",
        filters=True,
    ),
    ResourceKind(
        "dropped",
        lambda s: s.curation.ListDroppedRecords,
        curation.ListDroppedRecordsRequest,
        (
            C("POSITION", lambda each: last(each.position)),
            C("STEP", lambda each: each.step),
            C("REASON", lambda each: each.reason),
            C("DETAIL", lambda each: each.detail),
            C("TEXT", lambda each: each.excerpt[:60]),
        ),
        parent="curations/{}",
    ),
    ResourceKind(
        "rejected",
        lambda s: s.ingestion.ListRejectedRecords,
        ingestion.ListRejectedRecordsRequest,
        REJECTED_COLUMNS,
        parent="datasets/{}",
    ),
)
