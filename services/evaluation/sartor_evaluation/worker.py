"""The job of evaluation: the parent stages models and items in, results out; evaluate.py does the work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sartor_datasets.manifests import (
    BaseModelManifest,
    CuratedManifest,
    ManifestFile,
    ModelVersionManifest,
    ObjectReference,
)
from sartor_datasets.model_files import stage_base_model, stage_files
from sartor_platform import orders
from sartor_platform.transaction import Transaction
from sartor_platform.worker import JobContext, JobKind
from sqlalchemy import Connection

from sartor_evaluation import usecases
from sartor_evaluation.gates import rule_to_json
from sartor_evaluation.resources import JOB, Evaluation, GateSpec, PinnedModel

_FILES = {
    "report": "report.json",
    "report_page": "report.html",
    "results": "results.parquet",
    "reference_outputs": "reference_outputs.jsonl",
}


def job_kinds() -> list[JobKind]:
    """What a worker of evaluation does."""
    return [
        JobKind(
            name=JOB,
            entry="sartor_evaluation.evaluate:evaluate",
            stage_in=stage_in,
            stage_out=stage_out,
            failed=usecases.evaluation_failed,
        )
    ]


def stage_in(context: JobContext) -> dict[str, Any]:
    """Fetch models, curated splits and items; the task for `evaluate`."""
    with context.runtime.database.read() as connection:
        evaluation = usecases.get_evaluation(connection, context.job.resource)
        rules = _rules(connection, evaluation)
    spec = evaluation.spec
    keys = {name: f"model-{number}" for number, name in enumerate(evaluation.inputs.models)}
    return {
        "candidates": [{"id": c.id, "model": keys[c.model], "shots": c.shots} for c in spec.candidates],
        "models": {
            key: _stage_model(context, name, evaluation.inputs.models[name], context.folder / key)
            for name, key in keys.items()
        },
        "curated": _stage_curated(context, evaluation.inputs.curated),
        "items": _stage_items(context, evaluation),
        "general_suite": spec.general_suite,
        "max_items": spec.max_items,
        "few_shot": spec.few_shot.to_json(),
        "rules": rules,
        "reference_candidate": "tuned" if evaluation.gate else "",
        "about": _about(evaluation),
    }


def stage_out(context: JobContext, result: dict[str, Any]) -> Callable[[Transaction], None]:
    """Upload what was written; the use case that accepts it."""
    objects = {name: context.put(Path(result[name]), _FILES[name]) for name in _FILES if result[name]}
    limit = context.runtime.settings.listed_item_results
    rows = list(islice(_item_results(Path(result["item_results"])), limit))
    name = context.job.resource
    return lambda tx: usecases.evaluation_succeeded(tx, name, result["findings"], objects, rows)


def _rules(connection: Connection, evaluation: Evaluation) -> list[dict[str, Any]]:
    """The rules of the gate's revision that this evaluation runs under."""
    if not evaluation.gate:
        return []
    spec = GateSpec.from_json(orders.get(connection, evaluation.gate, evaluation.gate_revision).spec)
    return [rule_to_json(rule) for rule in spec.rules]


def _stage_model(context: JobContext, name: str, model: PinnedModel, folder: Path) -> dict[str, str]:
    """Folders of a model: its base in the shared cache, and its own files if it is a version."""
    cache = context.runtime.settings.data_dir / "models"
    base = stage_base_model(context.fetch, BaseModelManifest.from_json(_read(context, model.base)), cache)
    if model.version is None:
        return {"name": name, "base": str(base), "version": ""}
    manifest = ModelVersionManifest.from_json(_read(context, model.version))
    return {
        "name": name,
        "base": str(base),
        "version": str(stage_files(context.fetch, manifest.files, folder)),
    }


def _stage_curated(context: JobContext, curated: ObjectReference | None) -> str:
    """A folder with `{split}.parquet` of each split, or ""."""
    if curated is None:
        return ""
    manifest = CuratedManifest.from_json(_read(context, curated))
    files = [ManifestFile(f"{file.split}.parquet", file.object) for file in manifest.files]
    folder = context.folder / "curated"
    folder.mkdir()
    return str(stage_files(context.fetch, files, folder))


def _stage_items(context: JobContext, evaluation: Evaluation) -> str:
    """The client's own items as JSON lines, or ""."""
    source = evaluation.spec.items
    if source.object is not None:
        return str(context.fetch(source.object))
    if not source.inline:
        return ""
    path = context.folder / "items.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in source.inline), "utf-8")
    return str(path)


def _read(context: JobContext, reference: ObjectReference) -> bytes:
    return context.fetch(reference).read_bytes()


def _about(evaluation: Evaluation) -> dict[str, str]:
    """What the report names on top; `curation` only where its test split is asked."""
    return {
        "evaluation": evaluation.name,
        "gate": f"{evaluation.gate} (revision {evaluation.gate_revision})" if evaluation.gate else "",
        "curation": evaluation.spec.items.curation,
        "examples_from": evaluation.inputs.curation,
        "run": evaluation.run,
        "made": f"{evaluation.create_time:%Y-%m-%d %H:%M} UTC",
        "asked_by": evaluation.created_by,
    }


def _item_results(path: Path) -> Iterator[tuple[str, str, str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row["suite"], row["candidate"], row["item_id"], line
