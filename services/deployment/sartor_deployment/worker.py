"""The jobs: `build` makes weights for an engine, `parity` compares the engine with the evaluated model."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sartor_datasets.manifests import ModelVersionManifest
from sartor_platform.errors import FailedPrecondition, NotReady
from sartor_platform.jobs import Job
from sartor_platform.transaction import Transaction
from sartor_platform.worker import JobContext, JobKind

from sartor_deployment import store
from sartor_deployment.build_staging import build_inputs, build_results, read_manifest
from sartor_deployment.drift_staging import drift_jobs
from sartor_deployment.resources import Parity, Revision, State
from sartor_deployment.settings import DeploymentSettings
from sartor_deployment.targets.engine_api import EngineApi, EngineRefused
from sartor_deployment.usecases import revisions

_ENGINE_COMES_SECONDS = 1.0


def job_kinds(settings: DeploymentSettings) -> Sequence[JobKind]:
    """What deployment's workers run."""
    return (
        JobKind(
            name=revisions.BUILD,
            entry="sartor_deployment.build.weights:build",
            stage_in=lambda context: build_inputs(context, settings),
            stage_out=build_results,
            failed=_failed,
        ),
        JobKind(
            name=revisions.PARITY,
            entry="sartor_deployment.parity.check:check",
            stage_in=lambda context: _parity_inputs(context, settings),
            stage_out=_parity_results,
            failed=_failed,
        ),
        *drift_jobs(),
    )


def _parity_inputs(context: JobContext, settings: DeploymentSettings) -> Mapping[str, Any]:
    revision = _revision(context)
    if revision.state is not State.CHECKING:
        raise FailedPrecondition(f"{revision.name} is {revision.state}: there is nothing to check")
    with context.runtime.database.read() as connection:
        ready = store.ready_engines(connection, [revision.name])
    url = next((engine.url for engine in ready if _answers(engine.url)), None)
    if url is None:
        raise NotReady(_ENGINE_COMES_SECONDS, "waits for the engine")
    spec = revision.spec
    return {
        "references": str(context.fetch(revision.references)),
        "classifier": _says_labels(context, revision),
        "url": url,
        "context_length": spec.engine.context_length,
        "slots": spec.engine.slots,
        "threads": spec.engine.threads,
        "max_tokens": settings.parity_max_tokens,
        "budget_seconds": settings.parity_budget_seconds,
        "loss_margin": spec.parity.loss_margin,
        "top1_agreement": spec.parity.top1_agreement,
        "smoke_prompts": spec.to_json()["rollout"]["smoke_prompts"],
    }


def _parity_results(context: JobContext, result: dict[str, Any]) -> Callable[[Transaction], None]:
    measured = Parity(**result["parity"])
    return lambda tx: revisions.checked(tx, context.job.resource, measured, result["smoke"])


def _says_labels(context: JobContext, revision: Revision) -> bool:
    with context.runtime.database.read() as connection:
        known = store.model_version(connection, revision.model_version)
    if known is None or known.manifest is None:
        return False
    version = read_manifest(context, known.manifest, ModelVersionManifest.from_json)
    return any(file.path == "output_layer.json" for file in version.files)


def _answers(url: str) -> bool:
    try:
        EngineApi(url, timeout_seconds=5.0).alive()
    except (OSError, http.client.HTTPException, EngineRefused):
        return False
    return True


def _failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    revisions.job_failed(tx, job.resource, reason, message)


def _revision(context: JobContext) -> Revision:
    with context.runtime.database.read() as connection:
        return store.revision(connection, context.job.resource)
