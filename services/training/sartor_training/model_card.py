"""The model card: what a version is made of and how it did, as Markdown that model hubs understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sartor_datasets.manifests import BaseModelManifest, CuratedManifest, ModelVersionManifest

_SHOWN = (
    ("initial_validation_loss", "Validation loss before training"),
    ("validation_loss", "Validation loss, best"),
    ("training_loss", "Training loss, last steps"),
    ("steps", "Optimizer steps"),
    ("tokens", "Training tokens"),
    ("training_rows", "Training conversations"),
    ("training_rows_cut", "… of which cut to the length limit"),
    ("training_rows_without_answer", "Left out: nothing to learn in them"),
    ("validation_rows", "Validation conversations"),
)


def model_card(version: ModelVersionManifest, base: BaseModelManifest, data: CuratedManifest) -> str:
    """README.md of a model version."""
    kind = "LoRA adapter" if version.recipe["adapter"] == "lora" else "full model"
    # A license the base model does not state is not ours to invent.
    head = ["---", f"base_model: {base.reference}"] + ([f"license: {base.license}"] if base.license else [])
    tags = [
        "pipeline_tag: text-generation",
        "tags:",
        "- sartor",
        f"- {version.method}",
        f"- {version.recipe['adapter']}",
        "---",
    ]
    lines = [
        *head,
        *tags,
        "",
        f"# {version.name}",
        "",
        f"A {kind}, made by supervised fine-tuning with Sartor.",
        "",
    ]
    lines += _table("Provenance", {
        "Base model": f"`{base.name}` ({base.reference})",
        "Base model digest": f"`{version.base_model_digest}`",
        "Base model license": base.license or "not stated by the base model",
        "Curation": f"`{version.curation}`, policy revision {data.policy_revision}",
        "Snapshot": f"`{version.snapshot}`",
        "Dataset": f"`{data.dataset}`",
        "Training job": f"`{version.training_job}`",
        "Made": version.create_time.strftime("%Y-%m-%d %H:%M UTC"),
    })  # fmt: skip
    lines += _table("Results of training", {
        label: _number(version.metrics[key]) for key, label in _SHOWN if key in version.metrics
    })  # fmt: skip
    lines += ["How good it is compared with its base model is what its evaluation says, not this card.", ""]
    lines += _table(
        "Data", {file.split: f"{file.records} records, {file.tokens} tokens" for file in data.files}
    )
    lines += _table("Recipe", {name: f"`{value}`" for name, value in version.recipe.items()})
    lines += _table("Library versions", dict(version.library_versions))
    return "\n".join(lines)


def _table(title: str, rows: Mapping[str, Any]) -> list[str]:
    body = [f"| {name} | {str(value).replace('|', '&#124;')} |" for name, value in rows.items()]
    return [f"## {title}", "", "| | |", "|---|---|", *body, ""]


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4f}"
