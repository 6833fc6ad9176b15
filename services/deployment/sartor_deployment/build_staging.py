"""The files of a build job in and out: what it is given, and where what it made is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor_datasets.manifests import BaseModelManifest, ModelVersionManifest, ObjectReference
from sartor_datasets.model_files import stage_base_model, stage_files
from sartor_platform import log
from sartor_platform.errors import DataLoss, DigestMismatch, NotReady, ObjectNotFound
from sartor_platform.transaction import Transaction
from sartor_platform.worker import JobContext

from sartor_deployment import store
from sartor_deployment.resources import AUTO, Revision, WeightsForm
from sartor_deployment.settings import DeploymentSettings
from sartor_deployment.targets.engine_memory import available_bytes
from sartor_deployment.usecases import revisions

_FACTS_COME_SECONDS = 2.0
_LAYOUT = "1"
"""Counted up when bases of the same source are built in another way, and earlier ones must not be reused."""
_TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a revision is built from."""

    revision: Revision
    version: ModelVersionManifest
    base: BaseModelManifest

    @property
    def shared_digest(self) -> str:
        """Of what a shared base's file is made from: the base, and the texts the version puts over it."""
        lines = [_LAYOUT, self.base.digest]
        lines += sorted(f"{f.path}\0{f.object.sha256}" for f in self.version.files if f.path in _TEXT_FILES)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def sources(context: JobContext) -> Sources:
    """Read from the manifests.

    Raises:
        NotReady: the facts are still on their way.
        DataLoss: MANIFEST_INVALID.
    """
    with context.runtime.database.read() as connection:
        revision = store.revision(connection, context.job.resource)
        known = store.model_version(connection, revision.model_version)
    if known is None or known.manifest is None or known.base_model_manifest is None:
        raise NotReady(_FACTS_COME_SECONDS, f"waits for the files of {revision.model_version}")
    version = read_manifest(context, known.manifest, ModelVersionManifest.from_json)
    return Sources(
        revision, version, read_manifest(context, known.base_model_manifest, BaseModelManifest.from_json)
    )


def build_inputs(context: JobContext, settings: DeploymentSettings) -> Mapping[str, Any]:
    """The task of `build.weights.build`."""
    given = sources(context)
    spec = given.revision.spec
    measures = AUTO in (spec.quantization, spec.weights_form)
    return {
        "base": str(stage_base_model(context.fetch, given.base, settings.data_dir.resolve() / "models")),
        "version": str(stage_files(context.fetch, given.version.files, context.folder.resolve() / "version")),
        "quantization": spec.quantization,
        "weights_form": spec.weights_form.value,
        "converter": str(settings.converter_dir.resolve()),
        **(_bases(context, given) if spec.weights_form is not WeightsForm.MERGED else {}),
        **(_measuring(context, settings, given.revision) if measures else {}),
    }


def build_results(context: JobContext, result: dict[str, Any]) -> Callable[[Transaction], None]:
    """Keep the files; a new base where all builds find it."""
    weights = context.put(Path(result["weights"]), "weights.gguf")  # or a classifier's tar: engines see which
    name, base = context.job.resource, result["base"]
    if base is None:
        return lambda tx: revisions.built(tx, name, weights, result["variants"], verdict=result["verdict"])
    given = sources(context)
    digest, quantization = given.shared_digest, base["quantization"]
    with context.runtime.database.read() as connection:
        known = store.shared_bases(connection, digest).get(quantization)
    kept = known or _keep(context, given, Path(base["path"]), quantization)

    def accept(tx: Transaction) -> None:
        shared = store.keep_shared_base(tx, digest, quantization, kept)
        revisions.built(tx, name, weights, result["variants"], shared, result["verdict"])

    return accept


def read_manifest(context: JobContext, reference: ObjectReference, parse: Callable[[bytes], Any]) -> Any:
    """A manifest from the object store.

    Raises:
        DataLoss: MANIFEST_INVALID.
    """
    try:
        return parse(context.fetch(reference).read_bytes())
    except ValueError as error:
        raise DataLoss(
            f"{reference.uri} is no manifest this release reads: {error}",
            reason="MANIFEST_INVALID",
            metadata={"uri": reference.uri},
        ) from error


def _bases(context: JobContext, given: Sources) -> Mapping[str, Any]:
    """The bases that there are, and which of them engines map now."""
    wanted = given.revision.spec.quantization
    with context.runtime.database.read() as connection:
        known = store.shared_bases(connection, given.shared_digest)
        mapped = {each.sha256 for each in store.mapped_weights(connection)}
    files = {}
    for quantization, reference in known.items():
        if wanted not in (quantization, AUTO):
            continue
        try:
            files[quantization] = str(context.fetch(reference))
        except (ObjectNotFound, DigestMismatch) as error:
            log.get().warning("deployment.shared_base_lost", uri=reference.uri, reason=error.reason)
            with context.runtime.database.transaction() as tx:
                store.forget_shared_base(tx, given.shared_digest, reference)
    return {"bases": files, "mapped_bases": [key for key in files if known[key].sha256 in mapped]}


def _keep(context: JobContext, given: Sources, path: Path, quantization: str) -> ObjectReference:
    """Under a key of its content: two builds at once write the same bytes, and damage is healed."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    key = f"base-models/{given.base.digest}/gguf/{quantization}-{digest}.gguf"
    return context.runtime.objects.put_file(key, path)


def _measuring(context: JobContext, settings: DeploymentSettings, revision: Revision) -> Mapping[str, Any]:
    spec = revision.spec
    with context.runtime.database.read() as connection:
        held = sum(each.size_bytes for each in store.mapped_weights(connection))
    return {
        "references": str(context.fetch(revision.references)),
        "context_length": spec.engine.context_length,
        "slots": spec.engine.slots,
        "threads": spec.engine.threads,
        "max_tokens": settings.parity_max_tokens,
        "budget_seconds": settings.parity_budget_seconds,
        "free_bytes": available_bytes() - held - settings.engine_spare_memory_mb * 2**20,
        "allowed_loss": spec.allowed_loss,
        "loss_margin": spec.parity.loss_margin,
        "top1_agreement": spec.parity.top1_agreement,
    }
