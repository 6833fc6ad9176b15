"""The job of curation: staging happens here; the work is in curation_job.py, in a child process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sartor_datasets.manifests import (
    BaseModelManifest,
    CuratedFile,
    CuratedManifest,
    ObjectReference,
    SnapshotManifest,
)
from sartor_datasets.strict_json import ManifestInvalid
from sartor_platform import log, orders
from sartor_platform.errors import DataLoss, FailedPrecondition, NotReady, ObjectNotFound
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction
from sartor_platform.worker import JobContext, JobKind

from sartor_curation import finished_shards, resources, store, usecases
from sartor_curation.policy import Policy
from sartor_curation.resources import CURATE, BaseModel, Curation, DroppedRecord, Result, Snapshot

Accept = Callable[[Transaction], None]

_ASK_AGAIN_SECONDS = 2.0


def job_kinds(_runtime: Runtime) -> Sequence[JobKind]:
    """What a worker of curation does."""
    return [
        JobKind(
            name=CURATE,
            entry="sartor_curation.curation_job:curate_snapshot",
            stage_in=stage_curation,
            stage_out=finish_curation,
            failed=usecases.curation_failed,
            on_message=keep_shard,
        )
    ]


def stage_curation(context: JobContext) -> dict[str, Any]:
    """Fetch the snapshot and the base model's tokenizer, and write out the splits decided before.

    Raises:
        NotReady: the base model is still being prepared.
    """
    with context.runtime.database.read() as connection:
        curation = usecases.get_curation(connection, context.job.resource)
        policy = Policy.from_spec(orders.get(connection, curation.policy, curation.policy_revision).spec)
        model = store.find_base_model(connection, policy.base_model)
        if model is None:
            raise NotReady(_ASK_AGAIN_SECONDS, f"waits for {policy.base_model}, which is not ready yet")
        snapshot = store.find_snapshot(connection, curation.snapshot)
        if snapshot is None:
            raise resources.snapshot_not_found(curation.snapshot, policy.dataset)
        suites = store.suites_of(connection, resources.project_of(curation.name))
        _write_remembered(context.folder, store.read_splits(connection, policy.dataset))
        shards = store.finished_shards(connection, curation.name)
    manifest = _stage_snapshot(context, snapshot)
    finished_shards.stage_in(context, shards)
    pinned = {"base_model_digest": model.digest, "policy": policy.to_spec()}
    (context.folder / "pinned.json").write_text(json.dumps(pinned), encoding="utf-8")
    return {
        "policy": policy.to_spec(),
        "snapshot_manifest": str(manifest),
        "tokenizer": str(_stage_tokenizer(context, model)),
        "about": _about(curation, policy),
        "shard_bytes": context.runtime.settings.shard_bytes,
        "processes": context.runtime.settings.compute_processes,
        "suites": _stage_suites(context, suites),
        "ray_address": context.runtime.settings.ray_address,
    }


def keep_shard(context: JobContext, message: dict[str, Any]) -> None:
    """Upload a shard that is done, while the work goes on: another attempt need not do it again."""
    number = message.get("number")
    if message.get("type") != "shard" or not isinstance(number, int):
        raise FailedPrecondition(
            "the child sent a message that is not understood", reason="BAD_CHILD_MESSAGE"
        )
    finished_shards.keep(context, number)


def finish_curation(context: JobContext, result: dict[str, Any]) -> Accept:
    """Upload the results, and accept them."""
    folder = context.folder
    with context.runtime.database.read() as connection:
        curation = usecases.get_curation(connection, context.job.resource)
    pinned = json.loads((folder / "pinned.json").read_text(encoding="utf-8"))
    policy = Policy.from_spec(pinned["policy"])
    files = tuple(
        CuratedFile(
            split=file["split"],
            object=context.put(Path(file["path"]), f"{file['split']}.parquet"),
            records=file["records"],
            tokens=file["tokens"],
        )
        for file in result.pop("files")
    )
    manifest = CuratedManifest(
        name=curation.name,
        snapshot=curation.snapshot,
        dataset=policy.dataset,
        files=files,
        policy_revision=curation.policy_revision,
        base_model=policy.base_model,
        base_model_digest=pinned["base_model_digest"],
        create_time=datetime.now(UTC),
    )
    shown = Result(
        manifest=context.put_bytes(manifest.to_json(), "manifest.json"),
        report=context.put(folder / "report.json", "report.json"),
        report_page=context.put(folder / "report.html", "report.html"),
        dropped=context.put(folder / "dropped.parquet", "dropped.parquet"),
        card=context.put(folder / "card.md", "card.md"),
        **result,
    )

    def accept(tx: Transaction) -> None:
        usecases.accept_result(
            tx,
            curation,
            policy.dataset,
            shown,
            dropped=_dropped(folder / "dropped.jsonl"),
            splits=_splits(folder / "splits.jsonl"),
        )

    return accept


def _stage_snapshot(context: JobContext, snapshot: Snapshot) -> Path:
    """The file of the manifest, with every object it names fetched beside it."""
    path = context.fetch(snapshot.manifest)
    manifest = _read_manifest(SnapshotManifest, path)
    for number, segment in enumerate(manifest.segments, 1):
        context.fetch(segment.object)
        share = 0.05 * number / len(manifest.segments)
        context.report(share, stage="fetch", message=f"segment {number} of {len(manifest.segments)}")
    if manifest.exclusions is not None:
        context.fetch(manifest.exclusions)
    return path


def _stage_suites(
    context: JobContext, suites: Mapping[str, Sequence[ObjectReference]]
) -> dict[str, list[str]]:
    """The files of each suite of the project; one whose object is gone is left out."""
    staged: dict[str, list[str]] = {}
    for name, objects in suites.items():
        try:
            staged[name] = [str(context.fetch(reference)) for reference in objects]
        except ObjectNotFound as error:
            log.get().warning("suite.object_gone", suite=name, error=str(error))
    return staged


def _stage_tokenizer(context: JobContext, model: BaseModel) -> Path:
    manifest = _read_manifest(BaseModelManifest, context.fetch(model.manifest))
    for file in manifest.files:
        if file.path == "tokenizer.json":
            return context.fetch(file.object)
    raise FailedPrecondition(
        f"{model.name} has no tokenizer.json, so its tokens cannot be counted; use a base model that has one",
        reason="TOKENIZER_MISSING",
        metadata={"base_model": model.name},
    )


def _read_manifest(kind: Any, path: Path) -> Any:
    try:
        return kind.from_json(path.read_bytes())
    except ManifestInvalid as error:
        raise DataLoss(f"a {kind.__name__} cannot be read: {error}", reason="MANIFEST_INVALID") from error


def _about(curation: Curation, policy: Policy) -> dict[str, str]:
    return {
        "curation": curation.name,
        "policy": f"{curation.policy} (revision {curation.policy_revision})",
        "dataset": policy.dataset,
        "snapshot": curation.snapshot,
        "base_model": policy.base_model,
        "run": curation.run,
        "created": curation.create_time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _write_remembered(folder: Path, splits: Iterator[tuple[str, str, str]]) -> None:
    with (folder / "remembered.jsonl").open("w", encoding="utf-8") as lines:
        for key, cluster, split in splits:
            lines.write(json.dumps({"key": key, "cluster": cluster, "split": split}) + "\n")


def _dropped(path: Path) -> Iterator[DroppedRecord]:
    names = DroppedRecord.__dataclass_fields__
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield DroppedRecord(**{name: row[name] for name in names})


def _splits(path: Path) -> Iterator[tuple[str, str, str, str]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            key, cluster, split, before = json.loads(line)
            yield key, cluster, split, before
