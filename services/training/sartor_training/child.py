"""The work of training's jobs, in a child process without credentials: files in, files out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor_models.errors import ModelError
from sartor_platform.errors import FailedPrecondition
from sartor_platform.worker import Report

from sartor_training.recipe import Recipe

if TYPE_CHECKING:
    from sartor_datasets.records import Message
    from sartor_models.checkpoints import Checkpoint

_LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "safetensors",
    "sartor-models",
    "sartor-training",
)
# Validation may cost this share of an epoch at most.
_VALIDATION_SHARE = 0.1
_VALIDATION_TOKENS = 8192
_READY = 0.05


def prepare_base_model(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Write the model at task["source"] into task["output"]; returns what a manifest says about it."""
    from sartor_models.base import prepare

    with _permanent():
        prepared = prepare(
            Path(task["source"]), Path(task["output"]), lambda fraction: report(fraction, stage="converting")
        )
    return asdict(prepared)


def train(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Teach the base model of task["base"] the data of task["data"]; leaves the version's files in
    task["output"]."""
    report(0.0, stage="loading")
    with _permanent():
        return _Training(task, folder, report).run()


class _Training:
    """One training, from files to files; tells its parent how it goes."""

    def __init__(self, task: Mapping[str, Any], folder: Path, report: Report) -> None:
        self._task, self._folder, self._report = task, folder, report
        self._recipe = Recipe.from_mapping(task["recipe"])
        self._base, self._output = Path(task["base"]), Path(task["output"])

    def run(self) -> dict[str, Any]:
        """Train, and save what came of it."""
        # Read when torch is loaded: threads that wait must sleep, or two of them on shared cores take ten
        # times as
        # long as one.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch
        from sartor_models.checkpoints import load_checkpoint
        from sartor_models.load import load_model

        from sartor_training.methods.sft import SupervisedFineTuning

        torch.set_num_threads(self._task["threads"] or len(os.sched_getaffinity(0)))
        train, validation = self._rows("train"), self._rows("validation")
        model = load_model(self._base)
        model, parameters = self._taught(model)
        checkpoint = self._task.get("checkpoint")
        training = SupervisedFineTuning(
            model,
            parameters,
            train.rows,
            self._validation_sample(train, validation).rows,
            self._recipe,
            self,
            load_checkpoint(Path(checkpoint)) if checkpoint else None,
        )
        resumed_at, before, begun = training.step, training.tokens, time.perf_counter()
        outcome = training.run()
        seconds = time.perf_counter() - begun
        self._report(0.98, stage="saving")
        self._save(outcome)
        metrics = {
            **outcome.metrics,
            "training_rows": len(train.rows),
            "training_rows_cut": train.cut,
            "training_rows_without_answer": train.useless,
            "tokens_per_epoch": train.tokens,
            "supervised_tokens_per_epoch": train.supervised_tokens,
            "validation_rows": len(validation.rows),
            "resumed_at_step": resumed_at,
            "seconds": seconds,
            "tokens_per_second": (outcome.metrics["tokens"] - before) / seconds,
        }
        return {"metrics": metrics, "library_versions": _library_versions(), "files": self._files()}

    def stepped(
        self, fraction: float, epoch: float, eta_seconds: float, figures: Mapping[str, float]
    ) -> None:
        """Pass the figures of a step on."""
        stage = f"epoch {min(int(epoch) + 1, _up(self._recipe.epochs))} of {_up(self._recipe.epochs)}"
        done = _READY + (0.98 - _READY) * fraction
        self._report(done, stage=stage, eta_seconds=eta_seconds, message=_sentence(figures), **figures)

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and tell the parent where it lies: uploading is its task."""
        from sartor_models.checkpoints import save_checkpoint

        step = int(checkpoint.state["step"])
        path = save_checkpoint(self._folder / "checkpoints" / f"{step}.safetensors", checkpoint)
        self._report.send({"type": "checkpoint", "path": str(path), "step": step})

    def _rows(self, split: str) -> Any:
        from sartor_models.tokenizer import load_tokenizer

        from sartor_training.methods.rows import encode_rows

        tokenizer = load_tokenizer(self._base)
        length = min(self._recipe.max_length, tokenizer.context_length)
        return encode_rows(tokenizer, _conversations(Path(self._task["data"]), split), length)

    def _validation_sample(self, train: Any, validation: Any) -> Any:
        from sartor_training.methods.rows import sample

        return sample(
            validation, max(_VALIDATION_TOKENS, int(train.tokens * _VALIDATION_SHARE)), self._recipe.seed
        )

    def _taught(self, model: Any) -> tuple[Any, dict[str, Any]]:
        from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora

        from sartor_training.methods.fast_layers import speed_up

        if self._recipe.adapter == "full":
            model.requires_grad_(True)
            parameters = dict(model.named_parameters())
        else:
            adapter = LoraAdapter(self._recipe.rank, self._recipe.alpha, self._recipe.dropout)
            model = add_lora(model, adapter, self._recipe.seed)
            parameters = adapter_weights(model)
        if model.device.type == "cpu":
            speed_up(model)
        return model, parameters

    def _save(self, outcome: Any) -> None:
        from sartor_models.adapters import LoraAdapter, save_adapter
        from sartor_models.base import save_tuned

        self._output.mkdir(parents=True)
        if self._recipe.adapter == "full":
            save_tuned(self._base, outcome.weights, self._output)
        else:
            adapter = LoraAdapter(self._recipe.rank, self._recipe.alpha, self._recipe.dropout)
            save_adapter(self._output, adapter, outcome.weights, base_model=self._task["base_model"])
        log = {"metrics": outcome.metrics, "steps": list(outcome.history)}
        (self._output / "training_log.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")

    def _files(self) -> list[str]:
        return sorted(
            path.relative_to(self._output).as_posix() for path in self._output.rglob("*") if path.is_file()
        )


def _conversations(folder: Path, split: str) -> Iterator[Sequence[Message]]:
    from sartor_datasets.curated import read_curated_folder
    from sartor_datasets.records import Message

    for batch in read_curated_folder(folder, split, ["messages"]):
        conversations: list[Any] = batch.column("messages").to_pylist()
        for messages in conversations:
            yield [Message(turn["role"], turn["content"]) for turn in messages]


@contextmanager
def _permanent() -> Iterator[None]:
    """What is wrong with a model or its data will be wrong in the next attempt too."""
    try:
        yield
    except ModelError as error:
        raise FailedPrecondition(str(error), reason=error.reason, metadata=error.metadata) from error


def _sentence(figures: Mapping[str, float]) -> str:
    told = f"step {figures['step']:.0f} of {figures['steps']:.0f}, loss {figures['loss']:.3f}"
    if "validation_loss" in figures:
        told += f", validation {figures['validation_loss']:.3f}"
    return f"{told}, {figures['tokens_per_second']:.0f} tokens/s"


def _library_versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout
            found[name] = "0+unknown"
    return found


def _up(number: float) -> int:
    return max(1, -int(-number // 1))
