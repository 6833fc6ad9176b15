"""The work of training's jobs, in a child process without credentials: files in, files out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor_models.errors import ModelError
from sartor_platform.errors import FailedPrecondition
from sartor_platform.worker import Report

from sartor_training.isolation import without_network
from sartor_training.recipe import Recipe
from sartor_training.tensorboard import EventFile
from sartor_training.waiting_threads import let_threads_wait

if TYPE_CHECKING:
    from sartor_models.checkpoints import Checkpoint

    from sartor_training.methods.method import Prepared, Sources

_LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "safetensors",
    "sartor-models",
    "sartor-training",
)
_READY = 0.05
_STEPS_A_MESSAGE = 50
_MESSAGE_SECONDS = 2.0


def prepare_base_model(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Write the model at task["source"] into task["output"]; returns what a manifest says about it."""
    _isolate(task)
    from sartor_models.base import prepare

    with permanent():
        prepared = prepare(
            Path(task["source"]), Path(task["output"]), lambda fraction: report(fraction, stage="converting")
        )
    return asdict(prepared)


def train(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Teach the base model of task["base"] the data of task["data"]; leaves the version's files in
    task["output"]."""
    _isolate(task)
    report(0.0, stage="loading")
    with permanent():
        return _Training(task, folder, report).run()


def quote(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """What the training of this task would take, from a few of its steps."""
    begun = time.perf_counter()
    _isolate(task)
    with permanent():
        from sartor_training.quoting import quoted

        device = start_torch(task)
        recipe = Recipe.from_mapping(task["recipe"])
        trial, started = float(task.get("trial_seconds", 0)), time.perf_counter() - begun
        return quoted(sources_of(task, folder), recipe, device, report, trial, started)


class _Training:
    """One training, from files to files; tells its parent how it goes."""

    def __init__(self, task: Mapping[str, Any], folder: Path, report: Report) -> None:
        self._task, self._folder, self._report = task, folder, report
        self._recipe = Recipe.from_mapping(task["recipe"])
        self._output = Path(task["output"])
        self._pending: list[dict[str, float]] = []
        self._sent = time.monotonic()
        self._board: EventFile | None = None

    def run(self) -> dict[str, Any]:
        """Train, and save what came of it."""
        device = start_torch(self._task)
        from sartor_models.checkpoints import load_checkpoint

        from sartor_training.methods.loop import Training
        from sartor_training.methods.registry import METHODS
        from sartor_training.methods.rows import refusal

        path = self._task.get("checkpoint")
        resume = load_checkpoint(Path(path)) if path else None
        cached = resume.part("cached") if resume else {}
        sources = sources_of(self._task, self._folder)
        prepared = METHODS[self._recipe.method](sources, self._recipe, device, cached)
        if told := refusal(prepared.audit):
            raise ModelError(told, reason="ROWS_TEACH_NOTHING", metadata=_counts(prepared))
        training = Training(
            prepared.model,
            prepared.parameters,
            prepared.objective,
            prepared.train,
            prepared.validation,
            prepared.recipe,
            self,
            resume,
            names=prepared.names,
            cached=prepared.cached,
        )
        self._recipe = training.recipe
        self._output.mkdir(parents=True)
        resumed_at, before, begun = training.step, training.tokens, time.perf_counter()
        with EventFile(self._output) as self._board:
            outcome = training.run()
            self._write_history(outcome)
        self._send_steps()
        seconds = time.perf_counter() - begun
        self._report(0.98, stage="saving")
        saved = prepared.save(outcome.weights, self._output)
        metrics = {
            **outcome.metrics,
            **saved,
            **_audited(prepared),
            "resumed_at_step": resumed_at,
            "seconds": seconds,
            "tokens_per_second": (outcome.metrics["tokens"] - before) / seconds,
        }
        self._write_log(outcome)
        return {
            "metrics": metrics,
            "recipe": self._recipe.to_mapping(),
            "library_versions": _library_versions(),
            "files": self._files(),
        }

    def stepped(
        self, fraction: float, epoch: float, eta_seconds: float, figures: Mapping[str, float]
    ) -> None:
        """Pass the figures of a step on."""
        stage = f"epoch {min(int(epoch) + 1, _up(self._recipe.epochs))} of {_up(self._recipe.epochs)}"
        done = _READY + (0.98 - _READY) * fraction
        self._report(done, stage=stage, eta_seconds=eta_seconds, message=_sentence(figures), **figures)
        self._pending.append(dict(figures))
        late = time.monotonic() - self._sent > _MESSAGE_SECONDS
        if late or len(self._pending) >= _STEPS_A_MESSAGE:
            self._send_steps()

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and tell the parent where it lies: uploading is its task."""
        from sartor_models.checkpoints import save_checkpoint

        self._send_steps()  # what the checkpoint is past is not told again
        step = int(checkpoint.state["step"])
        path = save_checkpoint(self._folder / "checkpoints" / f"{step}.safetensors", checkpoint)
        self._report.send({"type": "checkpoint", "path": str(path), "step": step})

    def _send_steps(self) -> None:
        if self._pending:
            self._report.send({"type": "steps", "steps": self._pending})
        self._pending, self._sent = [], time.monotonic()

    def _write_history(self, outcome: Any) -> None:
        assert self._board is not None
        for entry in outcome.history:
            self._board.write(int(entry["step"]), {n: v for n, v in entry.items() if n != "step"})

    def _write_log(self, outcome: Any) -> None:
        log = {"metrics": outcome.metrics, "steps": list(outcome.history)}
        (self._output / "training_log.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")

    def _files(self) -> list[str]:
        return sorted(
            path.relative_to(self._output).as_posix() for path in self._output.rglob("*") if path.is_file()
        )


def start_torch(task: Mapping[str, Any]) -> str:
    """Load torch with the task's threads; returns the device to train on."""
    let_threads_wait()
    # Each new shape of a batch has matrix products of its own prepared and kept, up to a thousand of them: a
    # training of minutes held a gigabyte of what it did not need again. Torch reads this when it is loaded.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    import torch

    torch.set_num_threads(task["threads"] or len(os.sched_getaffinity(0)))
    return "cuda" if torch.cuda.is_available() else "cpu"


def sources_of(task: Mapping[str, Any], folder: Path) -> Sources:
    """The folders of a task."""
    from sartor_training.methods.method import Sources

    return Sources(
        base=Path(task["base"]),
        base_model=task["base_model"],
        data=Path(task["data"]),
        start=Path(task["start"]) if task.get("start") else None,
        replay=Path(task["replay"]) if task.get("replay") else None,
        work=folder,
    )


def _isolate(task: Mapping[str, Any]) -> None:
    if task.get("isolate"):  # not where somebody uses this as a library, in a process of their own
        without_network()


@contextmanager
def permanent() -> Iterator[None]:
    """What is wrong with a model or its data will be wrong in the next attempt too."""
    try:
        yield
    except ModelError as error:
        raise FailedPrecondition(str(error), reason=error.reason, metadata=error.metadata) from error


def _audited(prepared: Prepared) -> dict[str, float]:
    audit = prepared.audit
    return {
        "training_rows": len(prepared.train),
        "training_rows_cut": audit.cut,
        "training_rows_without_answer": audit.without_labels,
        "tokens_per_epoch": audit.tokens,
        "supervised_tokens_per_epoch": audit.supervised_tokens,
        "validation_rows": len(prepared.validation),
    }


def _counts(prepared: Prepared) -> dict[str, str]:
    audit = prepared.audit
    return {"rows": str(audit.rows), "rows_without_labels": str(audit.without_labels)}


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
