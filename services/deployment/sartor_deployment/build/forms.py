"""The two forms in which a LoRA version reaches an engine: merged into one file, or beside a shared base."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sartor_platform.errors import FailedPrecondition
from sartor_platform.worker import Report

from sartor_deployment.build.adapter_gguf import write_adapter
from sartor_deployment.build.converter import convert
from sartor_deployment.build.quantize import quantize


@dataclass(frozen=True, slots=True)
class Stored:
    """The files an engine is started with: one, or a base that others share and an adapter."""

    model: Path
    adapter: Path | None = None

    @property
    def size_bytes(self) -> int:
        """What one more endpoint costs."""
        return (self.adapter or self.model).stat().st_size

    @property
    def shared_bytes(self) -> int:
        """Of the base, which costs nothing more."""
        return self.model.stat().st_size if self.adapter else 0


class Form(Protocol):
    """Makes the files in each quantization."""

    suffix: str

    def stored(self, quantization: str) -> Stored: ...

    def drop_all_but(self, quantization: str) -> None: ...


class Merged:
    """Base and adapter as one file; also full weights."""

    suffix = ""

    def __init__(self, task: Mapping[str, Any], folder: Path, report: Report) -> None:
        """Task: base, version (folders), converter. Nothing is made yet."""
        self._base, self._version = Path(task["base"]), Path(task["version"])
        self._converter, self._folder, self._report = Path(task["converter"]), folder, report
        self._model = folder / "model"

    def stored(self, quantization: str) -> Stored:
        """The file, made when it is asked for first.

        Raises:
            FailedPrecondition: the adapter does not fit, the converter is missing or refuses the model.
        """
        target = self._folder / f"merged-{quantization}.gguf"
        if target.exists():
            return Stored(target)
        exact = self._folder / "merged-F16.gguf"
        # The converter makes eight bits itself: one step where nothing else is made.
        if quantization in ("F16", "Q8_0") and not exact.exists():
            convert(self._converter, self._whole_model(), target, quantization)
            shutil.rmtree(self._model)
        else:
            _quantized(self.stored("F16").model, target, quantization)
        return Stored(target)

    def drop_all_but(self, quantization: str) -> None:
        """The sixteen-bit file stays: the others are made of it."""
        _drop(self._folder, "merged", quantization)

    def _whole_model(self) -> Path:
        if self._model.exists():
            return self._model
        if (self._version / "adapter_config.json").exists():
            self._report(0.02, stage="merge", message="merging the adapter into the base model")
            _merge(self._base, self._version, self._model)
        else:
            self._report(0.02, stage="merge", message="full weights: nothing to merge")
            _overlay(self._base, self._version, self._model)
        return self._model


class OnSharedBase:
    """The adapter beside the base's file, which is taken as it is where another build has made it."""

    suffix = "+adapter"

    def __init__(self, task: Mapping[str, Any], folder: Path, report: Report) -> None:
        """Task: base, version (folders), converter, bases ({quantization: file that there is already})."""
        self._base, self._version = Path(task["base"]), Path(task["version"])
        self._converter, self._folder, self._report = Path(task["converter"]), folder, report
        self._there: Mapping[str, str] = task.get("bases", {})

    def stored(self, quantization: str) -> Stored:
        """Both files.

        Raises:
            FailedPrecondition: ADAPTER_NOT_SHAREABLE, ADAPTER_MISMATCH, or as of the converter.
        """
        base = self._base_file(quantization)
        adapter = self._folder / "adapter.gguf"
        if not adapter.exists():
            write_adapter(self._version, base, adapter)
        return Stored(base, adapter)

    def drop_all_but(self, quantization: str) -> None:
        """As of merged files."""
        _drop(self._folder, "base", quantization)

    def _base_file(self, quantization: str) -> Path:
        if quantization in self._there:
            return Path(self._there[quantization])
        target = self._folder / f"base-{quantization}.gguf"
        if target.exists():
            return target
        if quantization == "F16":
            from sartor_models.versions import model_folder

            self._report(0.1, stage="base", message="converting the base model, once for all its endpoints")
            # With the chat template that the version was taught with, where the base lacks one.
            source = model_folder(self._base, self._version, self._folder / "base-model")
            convert(self._converter, source, target, "F16")
        else:
            # Always from sixteen bits, so that whoever builds it makes the same bytes.
            _quantized(self._base_file("F16"), target, quantization)
        return target


def _quantized(exact: Path, target: Path, quantization: str) -> None:
    """Whole or not at all: a file that is there is taken for made."""
    partial = target.with_suffix(".part")
    quantize(exact, partial, quantization)
    partial.rename(target)


def _drop(folder: Path, form: str, kept: str) -> None:
    for made in folder.glob(f"{form}-Q*.gguf"):
        if made.stem != f"{form}-{kept}":
            made.unlink()


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
