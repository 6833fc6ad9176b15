"""The files that a training's child is given: base model, data, and what its recipe refers to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sartor_datasets.manifests import (
    BaseModelManifest,
    CuratedManifest,
    ModelVersionManifest,
    ObjectReference,
)
from sartor_datasets.model_files import stage_base_model, stage_files
from sartor_platform.errors import FailedPrecondition
from sartor_platform.worker import JobContext

from sartor_training import resources
from sartor_training.resources import Curation
from sartor_training.store import base_models, models

_NEED_CHAT = ("sft", "dpo")


def task(
    context: JobContext, digest: str, manifest: ObjectReference, curation: Curation, recipe: Mapping[str, Any]
) -> dict[str, Any]:
    """What the child is told; every path lies in its folder or in the shared cache."""
    base = BaseModelManifest.from_json(context.fetch(manifest).read_bytes())
    named = recipe.get("chat_template", "")
    if recipe["method"] in _NEED_CHAT and not (base.chat_template or named):
        raise FailedPrecondition(
            f"{base.name} has no chat template, so it cannot be tuned on conversations; choose an instruct "
            "model, or name a template in the recipe (chat_template: chatml)",
            reason="NO_CHAT_TEMPLATE",
        )
    folder = context.folder.resolve()
    cache = Path(context.runtime.settings.data_dir) / "models"
    found: dict[str, Any] = {
        "base": str(stage_base_model(context.fetch, base, cache).resolve()),
        "base_model": base.name,
        "data": str(_data(context, curation, folder / "data")),
        "output": str(folder / "output"),
        "recipe": dict(recipe),
        "threads": context.runtime.settings.compute_threads,
        "isolate": True,
    }
    if recipe.get("start_from"):
        found["start"] = str(_version(context, str(recipe["start_from"]), digest, folder / "start"))
    if recipe.get("replay_curation"):
        general = _curation(context, str(recipe["replay_curation"]))
        found["replay"] = str(_data(context, general, folder / "replay"))
    return found


def fetch_checkpoint(context: JobContext, checkpoint: ObjectReference) -> Path:
    """Straight into the attempt's folder: nobody else will ask for it."""
    path = context.folder.resolve() / "resume.safetensors"
    return context.runtime.objects.get_file(checkpoint, path)


def _data(context: JobContext, curation: Curation, folder: Path) -> Path:
    """The folder with the Parquet files of the splits that training may see: never the test split."""
    manifest = CuratedManifest.from_json(context.fetch(curation.manifest).read_bytes())
    folder.mkdir()
    for split in ("train", "validation"):
        file = manifest.file(split)
        if file is not None:
            (folder / f"{split}.parquet").symlink_to(context.fetch(file.object).resolve())
    return folder


def _version(context: JobContext, name: str, digest: str, folder: Path) -> Path:
    """The files of the version that the training begins with; it must be of the same base model."""
    with context.runtime.database.read() as connection:
        version = models.find_version(connection, name)
    if version is None:
        missing = resources.not_found("model version", name)
        raise FailedPrecondition(missing.message, reason=missing.reason, metadata=missing.metadata)
    if version.base_model_digest != digest:
        raise FailedPrecondition(
            f"{name} was trained from another base model ({version.base_model}, digest "
            f"{version.base_model_digest[:12]}); begin anew, or name that base model",
            reason="START_UNUSABLE",
            metadata={"name": name, "base_model": version.base_model},
        )
    manifest = ModelVersionManifest.from_json(context.fetch(version.manifest).read_bytes())
    return stage_files(context.fetch, manifest.files, folder)


def _curation(context: JobContext, name: str) -> Curation:
    with context.runtime.database.read() as connection:
        found = base_models.find_curation(connection, name)
    if found is None:
        missing = resources.curation_unknown(name)
        raise FailedPrecondition(missing.message, reason=missing.reason, metadata=missing.metadata)
    return found
