"""Staging: what an evaluation's child process needs, fetched into its folder. The child has no credentials
but
the keys of the services it is to ask.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from sartor_datasets.manifests import (
    BaseModelManifest,
    CuratedManifest,
    ManifestFile,
    ModelVersionManifest,
    ObjectReference,
)
from sartor_datasets.model_files import stage_base_model, stage_files
from sartor_platform import orders
from sartor_platform.errors import FailedPrecondition
from sartor_platform.runtime import Runtime
from sartor_platform.worker import JobContext
from sqlalchemy import Connection

from sartor_evaluation.checks import url_allowed
from sartor_evaluation.names import project_of
from sartor_evaluation.resources import Evaluation, PinnedModel, PinnedSuite
from sartor_evaluation.specs import Candidate, ItemSource, ModelService, SuiteSpec


class Stages(Protocol):
    """The part of a job's context that fetches."""

    @property
    def runtime(self) -> Runtime: ...

    def fetch(self, reference: ObjectReference) -> Path: ...


_TIMEOUT_SECONDS, _RETRIES, _CONCURRENCY = 60.0, 3, 8


def stage_candidates(context: JobContext, evaluation: Evaluation) -> dict[str, Any]:
    """The task's `candidates` and `models`: a model is staged once however many candidates use it."""
    models: dict[str, dict[str, Any]] = {}
    keys: dict[str, str] = {}
    candidates = []
    for candidate in evaluation.spec.candidates:
        key = keys.get(candidate.model, f"model-{len(models)}")
        if key not in models:
            models[key] = _stage(context, evaluation, candidate, context.folder / key)
        if candidate.model:
            keys[candidate.model] = key
        asked = {"id": candidate.id, "model": key, "shots": candidate.shots, "prompt": candidate.prompt}
        candidates.append(asked)
        if candidate.model:
            candidates += [
                {**asked, "id": f"{candidate.id}+{prompt.rpartition('/')[2]}", "shots": 0, "prompt": prompt}
                for prompt in evaluation.spec.prompts
                if prompt != candidate.prompt
            ]
    return {"candidates": candidates, "models": models}


def stage_prompts(connection: Connection, evaluation: Evaluation) -> dict[str, Any]:
    """The task's `prompts` by their names, each in the revision that was pinned."""
    return {
        name: orders.get(connection, name, revision).spec
        for name, revision in evaluation.inputs.prompts.items()
    }


def _stage(context: JobContext, evaluation: Evaluation, candidate: Candidate, folder: Path) -> dict[str, Any]:
    if candidate.model:
        return stage_model(context, candidate.model, evaluation.inputs.models[candidate.model], folder)
    if candidate.answers_object is not None:
        return {"name": "answers of the client", "answers": str(context.fetch(candidate.answers_object))}
    if candidate.answers:
        path = folder.with_suffix(".answers.jsonl")
        with path.open("w", encoding="utf-8") as file:
            for item_id, text in candidate.answers.items():
                file.write(json.dumps({"item_id": item_id, "text": text}) + "\n")
        return {"name": "answers of the client", "answers": str(path)}
    settings = context.runtime.settings
    if candidate.endpoint:
        return _service(context, ModelService(settings.gateway_url, candidate.endpoint), candidate.endpoint)
    service = candidate.service
    if service is None:
        raise FailedPrecondition(f"candidate {candidate.id} names nobody to ask", reason="BAD_EVALUATION")
    return _service(context, service, f"{service.model} at {service.url}")


def _service(context: JobContext, service: ModelService, name: str) -> dict[str, Any]:
    """Checked once more: the settings may have changed since the evaluation was asked for."""
    settings = context.runtime.settings
    if not url_allowed(service.url, settings.allowed_urls):
        raise FailedPrecondition(
            f"{service.url or 'the gateway'} may not be asked: SARTOR_ENDPOINT_URLS and "
            "SARTOR_GATEWAY_URL of "
            "evaluation's worker say which URLs may be",
            reason="URL_NOT_ALLOWED",
            metadata={"url": service.url},
        )
    key = settings.key(service.key) if service.key else ""
    if key is None:
        raise FailedPrecondition(
            f"there is no key named {service.key}: add it to SARTOR_ENDPOINT_KEYS of evaluation's worker",
            reason="KEY_NOT_FOUND",
            metadata={"key": service.key},
        )
    return {
        "name": name,
        "url": service.url,
        "model": service.model,
        "key": key,
        "timeout_seconds": service.timeout_seconds or _TIMEOUT_SECONDS,
        "retries": service.retries or _RETRIES,
        "concurrency": service.concurrency or _CONCURRENCY,
    }


def stage_model(context: Stages, name: str, model: PinnedModel, folder: Path) -> dict[str, Any]:
    """Folders of a model: its base in the shared cache, and its own files if it is a version."""
    cache = context.runtime.settings.data_dir / "models"
    manifest = BaseModelManifest.from_json(_read(context, model.base))
    base = stage_base_model(context.fetch, manifest, cache)
    if model.version is None:
        return {"name": name, "base": str(base), "version": "", "digest": manifest.digest}
    version = ModelVersionManifest.from_json(_read(context, model.version))
    return {
        "name": name,
        "base": str(base),
        "version": str(stage_files(context.fetch, version.files, folder)),
        "digest": f"{manifest.digest}+{model.version.sha256}",
    }


def stage_curated(context: JobContext, curated: ObjectReference | None, folder: Path) -> str:
    """A folder with `{split}.parquet` of each split, or ""."""
    if curated is None:
        return ""
    manifest = CuratedManifest.from_json(_read(context, curated))
    files = [ManifestFile(f"{file.split}.parquet", file.object) for file in manifest.files]
    folder.mkdir()
    return str(stage_files(context.fetch, files, folder))


def stage_items(context: JobContext, source: ItemSource, path: Path) -> str:
    """The client's own items as JSON lines, or ""."""
    if source.object is not None:
        return str(context.fetch(source.object))
    if not source.inline:
        return ""
    path.write_text("".join(json.dumps(item) + "\n" for item in source.inline), "utf-8")
    return str(path)


def stage_suites(context: JobContext, connection: Connection, evaluation: Evaluation) -> dict[str, Any]:
    """The task's `suites`, by the last part of their names, each in the revision that was pinned."""
    return {
        pinned.name.rpartition("/")[2]: _stage_suite(context, connection, pinned, number)
        for number, pinned in enumerate(evaluation.inputs.suites)
        if project_of(pinned.name) == evaluation.project
    }


def _stage_suite(
    context: JobContext, connection: Connection, pinned: PinnedSuite, number: int
) -> dict[str, Any]:
    spec = SuiteSpec.from_json(orders.get(connection, pinned.name, pinned.revision).spec)
    return {
        "items": stage_items(context, spec.items, context.folder / f"suite-{number}.jsonl"),
        "curated": stage_curated(context, pinned.curated, context.folder / f"suite-{number}"),
        "pattern": spec.pattern,
        "schema": spec.schema,
        "max_items": spec.max_items,
        "metrics": list(spec.metrics),
        "task": spec.task,
        "data": {name: str(context.fetch(reference)) for name, reference in spec.data.items()},
        "builtin": spec.builtin,
        "variations": list(spec.variations),
    }


def _read(context: Stages, reference: ObjectReference) -> bytes:
    return context.fetch(reference).read_bytes()
