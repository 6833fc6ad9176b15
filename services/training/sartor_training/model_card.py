"""The model card: what a version is made of and how it did, as Markdown that model hubs understand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor_datasets.manifests import BaseModelManifest, CuratedManifest, ModelVersionManifest

from sartor_training.resources import Verdict

_GATES = "## Gates"
_ADAPTERS = {"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", "qlora": "LoRA"}
_METHODS = {
    "sft": "supervised fine-tuning",
    "dpo": "direct preference optimisation",
    "continued_pretraining": "continued pretraining",
    "from_scratch": "training from scratch",
    "output_layer": "training a new output layer",
}
_SHOWN = (
    ("initial_validation_loss", "Validation loss before training"),
    ("validation_loss", "Validation loss, best"),
    ("training_loss", "Training loss, last steps"),
    ("steps", "Optimizer steps"),
    ("tokens", "Training tokens"),
    ("training_rows", "Training rows"),
    ("training_rows_cut", "… of which cut to the length limit"),
    ("training_rows_without_answer", "Left out: nothing to learn in them"),
    ("validation_rows", "Validation rows"),
    ("validation_accuracy", "Validation accuracy"),
    ("validation_error", "Validation error, mean absolute"),
    ("calibration_error", "Calibration error of the probabilities"),
    ("initial_general_loss", "Loss on general text before training"),
    ("general_loss", "Loss on general text"),
    ("parameters", "Parameters"),
)


def model_card(version: ModelVersionManifest, base: BaseModelManifest, data: CuratedManifest) -> str:
    """README.md of a model version."""
    recipe = version.recipe
    kind = "full model" if recipe["adapter"] == "full" else f"{_ADAPTERS[recipe['adapter']]} adapter"
    # A license the base model does not state is not ours to invent.
    head = ["---", f"base_model: {base.reference}"] + ([f"license: {base.license}"] if base.license else [])
    tags = [
        f"pipeline_tag: {'text-classification' if version.method == 'output_layer' else 'text-generation'}",
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
        f"A {kind}, made by {_METHODS[version.method]} with Sartor.",
        "",
    ]
    lines += _table("Provenance", {
        "Base model": f"`{base.name}` ({base.reference})",
        "Base model digest": f"`{version.base_model_digest}`",
        "Base model license": base.license or "not stated by the base model",
        "Curation": f"`{version.curation}`, policy revision {data.policy_revision}",
        "Snapshot": f"`{version.snapshot}`",
        "Dataset": f"`{data.dataset}`",
        "Data license": "not stated; the rights to the dataset's sources apply",
        **({"Began with": f"`{recipe['start_from']}`"} if recipe.get("start_from") else {}),
        **({"General text": f"`{recipe['replay_curation']}`"} if recipe.get("replay_curation") else {}),
        "Training job": f"`{version.training_job}`",
        "Made": version.create_time.strftime("%Y-%m-%d %H:%M UTC"),
    })  # fmt: skip
    lines += _table("Results of training", {
        label: _number(version.metrics[key]) for key, label in _SHOWN if key in version.metrics
    })  # fmt: skip
    lines += ["How good it is compared with its base model is what its gates say, below, once they have.", ""]
    lines += _table(
        "Data", {file.split: f"{file.records} records, {file.tokens} tokens" for file in data.files}
    )
    lines += _table("Recipe", {name: f"`{value}`" for name, value in version.recipe.items()})
    lines += _table("Library versions", dict(version.library_versions))
    return "\n".join(lines)


def with_verdicts(card: str, verdicts: Sequence[Verdict]) -> str:
    """The card with what each gate said at its end, in place of what it said before."""
    head = card.partition(f"\n{_GATES}\n")[0].rstrip("\n")
    lines = [head, "", _GATES, ""]
    for verdict in verdicts:
        said = "Passed" if verdict.passed else "Stopped"
        lines += [f"{said} by `{verdict.gate}` in `{verdict.evaluation}`:", ""]
        lines += [f"- {'passed' if rule.passed else 'failed'}: {rule.words}" for rule in verdict.rules]
        lines.append("")
    return "\n".join(lines)


def _table(title: str, rows: Mapping[str, Any]) -> list[str]:
    body = [f"| {name} | {str(value).replace('|', '&#124;')} |" for name, value in rows.items()]
    return [f"## {title}", "", "| | |", "|---|---|", *body, ""]


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4f}"
