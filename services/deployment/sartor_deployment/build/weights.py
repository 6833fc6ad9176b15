"""From a model version's files to one GGUF file: merge, convert, quantise. Runs in a job's child."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sartor_platform.errors import FailedPrecondition
from sartor_platform.worker import Report

from sartor_deployment.build.choose import as_json, choose
from sartor_deployment.build.classifier import is_classifier_version, pack
from sartor_deployment.build.converter import convert
from sartor_deployment.build.quantize import quantize
from sartor_deployment.resources import AUTO


def build(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Write `weights.gguf` into the job's folder.

    Task:
        base: folder of the prepared base model.
        version: folder with the version's files: an adapter in peft's format, or full weights.
        quantization: F16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0 or AUTO (then also what `choose` needs).
        converter: folder of llama.cpp's converter.
    Raises:
        FailedPrecondition: the adapter does not fit, the converter is missing or refuses the model.
    """
    started = time.monotonic()
    base, version, model = Path(task["base"]), Path(task["version"]), folder / "model"
    if is_classifier_version(version):
        report(0.1, stage="pack", message="it says labels or numbers: packed as it was evaluated")
        weights = pack(base, version, folder / "weights.gguf")
        report(1.0, stage="upload", size_mb=weights.stat().st_size / 1e6)
        return {"weights": str(weights), "variants": []}
    if (version / "adapter_config.json").exists():
        report(0.02, stage="merge", message="merging the adapter into the base model")
        _merge(base, version, model)
    else:
        report(0.02, stage="merge", message="full weights: nothing to merge")
        _overlay(base, version, model)
    merged = time.monotonic()
    report(0.45, stage="convert", message=f"converting to GGUF {task['quantization']}")
    weights, variants = _stored(task, model, folder, report)
    report(
        1.0,
        stage="upload",
        size_mb=weights.stat().st_size / 1e6,
        merge_seconds=merged - started,
        convert_seconds=time.monotonic() - merged,
    )
    return {"weights": str(weights), "variants": variants}


def _stored(
    task: Mapping[str, Any], model: Path, folder: Path, report: Report
) -> tuple[Path, list[dict[str, Any]]]:
    """The file in the form asked for, and the table of forms where one was to be chosen."""
    wanted, weights = task["quantization"], folder / "weights.gguf"
    if wanted in ("F16", "Q8_0"):
        convert(Path(task["converter"]), model, weights, wanted)
        shutil.rmtree(model)
        return weights, []
    exact = folder / "f16.gguf"
    convert(Path(task["converter"]), model, exact, "F16")
    shutil.rmtree(model)
    if wanted == AUTO:
        chosen, variants = choose(task, exact, folder, report)
        weights = chosen.rename(weights)
        exact.unlink(missing_ok=True)
        return weights, as_json(variants)
    report(0.7, stage="quantize", message=f"quantizing to {wanted}")
    quantize(exact, weights, wanted)
    exact.unlink()
    return weights, []


def _merge(base: Path, adapter: Path, model: Path) -> None:
    import torch
    from sartor_models.errors import ModelError
    from sartor_models.merge import merge

    torch.set_num_threads(os.cpu_count() or 1)
    try:
        merge(base, adapter, model)
    except ModelError as error:
        raise FailedPrecondition(str(error), reason=error.reason, metadata=error.metadata) from error


def _overlay(base: Path, version: Path, model: Path) -> None:
    """The version's files over the base model's, without the base's weights."""
    model.mkdir()
    own_weights = any(version.glob("*.safetensors"))
    if not own_weights:
        raise FailedPrecondition(
            "the model version holds neither an adapter nor weights; train it again",
            reason="MODEL_FILES_MISSING",
        )
    for source in sorted(base.iterdir()):
        if (
            source.is_file()
            and not source.name.startswith("model.safetensors")
            and source.suffix != ".safetensors"
        ):
            shutil.copyfile(source, model / source.name)
    for source in sorted(version.iterdir()):
        if source.is_file():
            (model / source.name).unlink(missing_ok=True)
            os.link(source, model / source.name)
