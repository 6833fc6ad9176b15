"""A quote: what a training will take, from a few of its own steps on this machine; and the audit of its
rows."""

from __future__ import annotations

import gc
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from sartor_models.chat_format import ChatTokens
from sartor_models.checkpoints import Checkpoint
from sartor_models.tokenizer import ChatTokenizer, load_tokenizer
from sartor_platform.worker import Report

from sartor_training.methods.course import memory_bytes
from sartor_training.methods.loop import Training
from sartor_training.methods.method import Prepared, Sources
from sartor_training.methods.next_token import NextToken
from sartor_training.methods.passes import Passes
from sartor_training.methods.registry import METHODS
from sartor_training.methods.rows import refusal
from sartor_training.recipe import Recipe

_STEPS = 4
_SECONDS = 12.0
_VALIDATION_TOKENS = 2048
_OPTIMIZER_BYTES = 12  # a float32 copy and two moments of each taught weight
_WEIGHT_BYTES = 2
_SAVED_BYTES_A_SECOND = 400e6
# Rows of ever other lengths leave gaps between them: of activations, whole trainings of the bench held 50 to
# 110 % more than their first steps.
_GROWTH = 0.75


@dataclass(frozen=True, slots=True)
class _Calibrated:
    """What real steps took: tokens a second with and without gradients, and bytes at the peak and between
    steps."""

    tokens_per_second: float
    passed_per_second: float
    peak_bytes: int
    held_bytes: int


def quoted(
    sources: Sources,
    recipe: Recipe,
    device: str,
    report: Report,
    trial_seconds: float = 0.0,
    started_seconds: float = 0.0,
) -> dict[str, Any]:
    """Prepare the training as it would be, run some of its steps, and scale them up.

    The steps chosen are spread over the batches' sizes, the largest among them, so that peak memory is seen;
    they are run once before they are timed.

    Args:
        trial_seconds: of real training that is tried, where one base model is to be compared with others.
        started_seconds: what it took until here, as it will take before the training itself.
    """
    report(0.1, stage="loading")
    begun = time.perf_counter()
    given = replace(sources, quoting=not trial_seconds)
    prepared = METHODS[recipe.method](given, recipe, device, {})
    loading = started_seconds + time.perf_counter() - begun
    training = Training(
        prepared.model,
        prepared.parameters,
        prepared.objective,
        prepared.train,
        prepared.validation,
        prepared.recipe,
        _Nobody(),
    )
    report(0.4, stage="calibrating")
    found = _calibrate(prepared, training, device)
    rate = found.tokens_per_second
    trial = _trial(prepared, sources, rate * trial_seconds, report) if trial_seconds else {}
    taught = sum(parameter.numel() for parameter in prepared.parameters.values())
    passed = _passed_tokens(prepared, training)
    saved = _saved_bytes(training, taught)
    audit = prepared.audit
    return {
        "recipe": training.recipe.to_mapping(),
        "tokens": training.planned_tokens,
        "steps": training.steps,
        "tokens_per_second": rate,
        "seconds": loading
        + training.planned_tokens / rate
        + passed / found.passed_per_second
        + saved / _SAVED_BYTES_A_SECOND,
        "peak_memory_bytes": _peak_of(found, taught),
        "disk_bytes": _disk_bytes(sources, taught),
        "device": device,
        "trial": trial,
        "audit": {
            "rows": audit.rows,
            "supervised_share": audit.supervised_tokens / max(audit.tokens, 1),
            "rows_without_labels": audit.without_labels,
            "rows_cut": audit.cut,
            "samples": [[[text, learned] for text, learned in sample] for sample in audit.samples],
            "refusal": refusal(audit),
        },
    }


def _calibrate(prepared: Prepared, training: Training, device: str) -> _Calibrated:
    """Speed and memory of real steps, without moving the weights, and of a pass over validation rows."""
    steps = sorted(training.plan, key=lambda step: -step.tokens)
    chosen = [steps[len(steps) * number // _STEPS] for number in range(min(_STEPS, len(steps)))]
    passes = Passes(prepared.model, prepared.parameters, prepared.objective)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def run(step: Any) -> None:
        passes.backward([prepared.train[index] for index in step.rows])
        training.optimizer.step(0.0, training.recipe.max_gradient_norm)
        if device == "cuda":
            torch.cuda.synchronize()

    begun = time.perf_counter()
    for step in chosen:  # the first time, each shape has its products prepared
        run(step)
        if time.perf_counter() - begun > _SECONDS:
            break
    tokens, seconds = 0, 0.0
    for step in [*chosen, *chosen]:
        begun = time.perf_counter()
        run(step)
        seconds += time.perf_counter() - begun
        tokens += step.tokens
        if seconds > _SECONDS:
            break
    rate = tokens / seconds
    passed = _pass_rate(prepared, training, passes) or 3.0 * rate
    gc.collect()
    return _Calibrated(rate, passed, _peak_bytes(device), memory_bytes(device))


def _pass_rate(prepared: Prepared, training: Training, passes: Passes) -> float:
    """Tokens a second without gradients, of some validation rows; 0 where there are none."""
    rows: list[Any] = []
    tokens = 0
    for row in prepared.validation:
        if tokens > _VALIDATION_TOKENS:
            break
        rows.append(row)
        tokens += prepared.objective.length(row)
    if not rows:
        return 0.0
    begun = time.perf_counter()
    passes.mean(rows, 2 * training.recipe.tokens_per_batch)
    return tokens / (time.perf_counter() - begun)


def _trial(prepared: Prepared, sources: Sources, tokens: float, report: Report) -> dict[str, float]:
    """A short training, judged before and after on the validation rows: in nats a character where text is
    learned, so
    that models with other tokenizers compare."""
    report(0.6, stage="trying")
    budget = max(int(tokens), 2 * prepared.recipe.fitted(0, "cpu").tokens_per_batch)
    recipe = replace(prepared.recipe, max_training_tokens=budget, validations_per_epoch=1)
    training = Training(
        prepared.model,
        prepared.parameters,
        prepared.objective,
        prepared.train,
        prepared.validation,
        recipe,
        _Nobody(),
    )
    metrics = training.run().metrics
    scale = tokens_per_character = 1.0
    if isinstance(prepared.objective, NextToken) and prepared.validation:
        tokenizer = load_tokenizer(sources.base)
        learned = sum(sum(row.supervised[1:]) for row in prepared.validation)
        characters = sum(len(_learned_text(tokenizer, row)) for row in prepared.validation)
        scale = learned / max(characters, 1)
        tokens_per_character = scale
    return {
        "initial_loss": metrics.get("initial_validation_loss", 0.0) * scale,
        "loss": metrics.get("validation_loss", metrics["training_loss"]) * scale,
        "tokens": metrics["tokens"],
        "tokens_per_character": tokens_per_character,
    }


def _learned_text(tokenizer: ChatTokenizer, row: ChatTokens) -> str:
    return tokenizer.decode([token for token, on in zip(row.ids, row.supervised, strict=True) if on])


def _passed_tokens(prepared: Prepared, training: Training) -> int:
    """What is read without gradients: before the first step, and by every validation."""
    tokens = sum(prepared.objective.length(row) for row in prepared.validation)
    looks = 1 + sum(step.validate for step in training.plan)
    return looks * tokens + prepared.passed_tokens


def _saved_bytes(training: Training, taught: int) -> int:
    """What checkpoints and the result write."""
    checkpoints = (training.steps - 1) // training.recipe.checkpoint_every_steps
    return taught * (checkpoints * (_OPTIMIZER_BYTES + _WEIGHT_BYTES) + _WEIGHT_BYTES)


def _peak_of(found: _Calibrated, taught: int) -> int:
    """The largest step with the best weights beside it, or a checkpoint being written between two steps."""
    best = taught * _WEIGHT_BYTES
    activations = max(0, found.peak_bytes - found.held_bytes)
    return max(
        found.peak_bytes + int(_GROWTH * activations) + best,
        found.held_bytes + best + taught * _OPTIMIZER_BYTES,
    )


def _peak_bytes(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    try:
        # Not `ru_maxrss`: it also counts what the parent held when this process began.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _disk_bytes(sources: Sources, taught: int) -> int:
    """Base model, data, two checkpoints (weights, moments, the best so far) and the result."""
    folders = [folder for folder in (sources.base, sources.data, sources.start, sources.replay) if folder]
    files = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    return files + 2 * taught * (_OPTIMIZER_BYTES + _WEIGHT_BYTES) + taught * _WEIGHT_BYTES


class _Nobody:
    """Nobody watches a calibration."""

    def stepped(self, *_: Any) -> None:
        """Nothing."""

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        """Nothing."""
