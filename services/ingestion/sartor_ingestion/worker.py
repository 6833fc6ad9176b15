"""The jobs of ingestion: reading a file, sealing a snapshot. Staging is here, the work in a child process."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sartor_datasets.manifests import ObjectReference, Segment, SnapshotManifest
from sartor_platform.errors import FailedPrecondition
from sartor_platform.names import new_id
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction
from sartor_platform.worker import JobContext, JobKind

from sartor_ingestion import staging
from sartor_ingestion.contract import BreachCount, Breaches
from sartor_ingestion.rejection import Reason, Rejection
from sartor_ingestion.resources import Import
from sartor_ingestion.store import arrivals, imports, resolution, snapshots, sources
from sartor_ingestion.store.resolution import Changes, KeptSegment
from sartor_ingestion.store.snapshots import Cut
from sartor_ingestion.usecases import imports as import_cases
from sartor_ingestion.usecases import snapshots as snapshot_cases
from sartor_ingestion.usecases.imports import ReadFile
from sartor_ingestion.usecases.snapshots import NewSegment

Accept = Callable[[Transaction], None]
SHOWN_REJECTIONS = 20


def job_kinds(_runtime: Runtime) -> Sequence[JobKind]:
    """What a worker of ingestion does."""
    return [
        JobKind(
            name=import_cases.IMPORT_JOB,
            entry="sartor_ingestion.file_import:read_file",
            stage_in=stage_import,
            stage_out=finish_import,
            failed=import_cases.import_failed,
        ),
        JobKind(
            name=snapshot_cases.SEAL,
            entry="sartor_ingestion.segments:seal",
            stage_in=stage_seal,
            stage_out=finish_seal,
            failed=snapshot_cases.sealing_failed,
        ),
    ]


def stage_import(context: JobContext) -> dict[str, Any]:
    """Fetch the file; it is refused where it is not there or its digest is another."""
    name = str(context.job.payload["import"])
    with context.runtime.database.read() as connection:
        found = _import(imports.find(connection, name))
        source = sources.source_at(connection, found.source, found.source_revision)
        quota = source.spec.quota_records
        room = sources.rooms_left(connection, source.id, quota) if quota else None
    return {
        **staging.staged(context, found, source.id),
        "stated": found.format,
        "file_name": found.file_name,
        "default": source.spec.format,
        "import": name,
        "source": source.name,
        "source_id": source.id,
        "mapping": dataclasses.asdict(source.spec.mapping),
        "contract": dataclasses.asdict(source.spec.contract),
        "validate_only": found.validate_only,
        # Not a credential: the child must make pseudonyms, and what it reads is what they stand for.
        "subject_secret": source.subject_secret.hex(),
        "event_time": found.create_time.astimezone(UTC).isoformat(),
        "batch_id": import_cases.batch_ids(context.job)[-1],
        "quota": quota,
        "room": room,
    }


def finish_import(context: JobContext, result: dict[str, Any]) -> Accept:
    """Upload the segments, stage the rows of the key index, and accept the import."""
    name = str(context.job.payload["import"])
    *abandoned, batch_id = import_cases.batch_ids(context.job)
    if result["preview"] is not None:
        return _preview(context, name, result)
    segments = []
    for index, segment in enumerate(result["segments"]):
        reference = context.put(Path(segment["path"]), f"segments/{index}.parquet")
        segments.append((new_id(), reference, int(segment["records"])))
    database = context.runtime.database
    with database.read() as connection:
        found = _import(imports.find(connection, name))
        _, dataset_id = imports.target_of(connection, name)
    reference, objects = staging.fetched(context, found)
    arrivals.load_staged(database, batch_id, Path(result["arrivals"]))
    with database.read() as connection:
        unchanged = arrivals.unchanged(connection, dataset_id, batch_id)
    rejections = _rejections(found.source, Path(result["rejections"]))
    rows_of = staging.rows_of(found, objects)
    read = ReadFile(
        batch_id=batch_id,
        abandoned_batch_ids=abandoned,
        reference=reference,
        format=result["format"],
        segments=segments,
        accepted=result["accepted"],
        rejected=result["rejected"],
        unchanged=unchanged,
        rejections=rejections,
        breaches=_breaches(result["breaches"]),
        objects={} if context.job.payload.get("objects") else objects,
        rows_of=rows_of,
        broken=staging.broken(rows_of, result["rejected"], rejections),
    )
    return lambda tx: import_cases.accept_import(tx, name, read)


def _preview(context: JobContext, name: str, result: dict[str, Any]) -> Accept:
    """Keep what was seen, and nothing else."""
    with context.runtime.database.read() as connection:
        found = _import(imports.find(connection, name))
    reference, _ = staging.fetched(context, found)
    shown = {**result["preview"], "rejected_by_reason": result["reasons"], "breaches": result["breaches"]}
    rejections = _rejections(found.source, Path(result["rejections"]))[:SHOWN_REJECTIONS]
    read = ReadFile(
        batch_id="",
        abandoned_batch_ids=(),
        reference=reference,
        format=result["format"],
        segments=(),
        accepted=result["accepted"],
        rejected=result["rejected"],
        unchanged=0,
        rejections=(),
        breaches=Breaches(),
        objects={},
        preview={**shown, "rejected": [dataclasses.asdict(each) for each in rejections]},
    )
    return lambda tx: import_cases.accept_import(tx, name, read)


def _breaches(found: dict[str, Any]) -> Breaches:
    return Breaches(found["rows"], {rule: BreachCount(*count) for rule, count in found["by_rule"].items()})


def _rejections(source: str, path: Path) -> list[Rejection]:
    with path.open(encoding="ascii") as file:
        lines = [json.loads(line) for line in file]
    return [Rejection(source, r["position"], Reason(r["reason"]), r["message"], r["excerpt"]) for r in lines]


def _import(found: Import | None) -> Import:
    if found is None:
        raise FailedPrecondition("the import of this job does not exist any more", reason="IMPORT_NOT_FOUND")
    return found


def stage_seal(context: JobContext) -> dict[str, Any]:
    """Decide what the pending records change, and write down what the child needs of it."""
    folder = context.folder
    rows = exclusions = ""
    with context.runtime.database.transaction() as tx:
        cut = _cut(snapshots.cut(tx.connection, int(context.job.payload["snapshot_id"])))
        changes = resolution.resolve(tx, cut.dataset_id, cut.through)
        segments = resolution.kept_segments(tx, cut.dataset_id, cut.through)
        if changes.inline:
            rows = str(folder / "rows.csv")
            resolution.export_inline(tx, Path(rows))
        if any(segment.excluded for segment in segments):
            exclusions = str(folder / "exclusions.csv")
            resolution.export_exclusions(tx, cut.dataset_id, cut.through, Path(exclusions))
    plan = {"changes": dataclasses.asdict(changes), "segments": [dataclasses.asdict(s) for s in segments]}
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    return {"rows": rows, "exclusions": exclusions, "records": changes.inline}


def finish_seal(context: JobContext, result: dict[str, Any]) -> Accept:
    """Upload the segment, the exclusions and the manifest, and accept the snapshot."""
    plan = json.loads((context.folder / "plan.json").read_text(encoding="utf-8"))
    changes = Changes(**plan["changes"])
    kept = [KeptSegment(**segment) for segment in plan["segments"]]
    snapshot_id = int(context.job.payload["snapshot_id"])
    with context.runtime.database.read() as connection:
        cut = _cut(snapshots.cut(connection, snapshot_id))
    if result["excluded"] != sum(segment.excluded for segment in kept):
        raise RuntimeError(f"{result['excluded']} rows are excluded, but the segments count {kept}")
    own = None
    if result["segment"]:
        reference = context.put(Path(result["segment"]), "segment.parquet")
        own = NewSegment(new_id(), reference, result["records"])
    excluded = context.put(Path(result["exclusions"]), "exclusions.parquet") if result["exclusions"] else None
    manifest = _manifest(cut, kept, own, excluded)
    reference = context.put_bytes(manifest.to_json(), "manifest.json")
    return lambda tx: snapshot_cases.accept_snapshot(
        tx, snapshot_id, changes, reference, own, manifest.record_count
    )


def _manifest(
    cut: Cut, kept: Sequence[KeptSegment], own: NewSegment | None, exclusions: ObjectReference | None
) -> SnapshotManifest:
    segments = [Segment(s.name, ObjectReference(s.uri, s.sha256, s.size_bytes), s.records) for s in kept]
    if own is not None:
        segments.append(Segment(own.name, own.reference, own.records))
    return SnapshotManifest(
        name=cut.name,
        dataset=cut.dataset,
        sequence=cut.sequence,
        parent=cut.parent,
        run=cut.run,
        generation=cut.generation,
        segments=tuple(segments),
        exclusions=exclusions,
        record_count=sum(s.records for s in segments) - sum(s.excluded for s in kept),
        create_time=datetime.now(UTC),
    )


def _cut(cut: Cut | None) -> Cut:
    if cut is None:
        raise FailedPrecondition("the snapshot of this job was dropped", reason="SNAPSHOT_DROPPED")
    return cut
