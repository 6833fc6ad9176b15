"""Forward and backward passes over a batch, in as many parts as memory asks for: the gradient is the same."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from sartor_models.batches import length_bucketed
from sartor_models.errors import ModelError

from sartor_training.methods.method import Objective


class Passes:
    """The passes of one model for one objective.

    `parts` counts the pieces that a batch is made in, one after the other. It doubles when memory runs out
    and is part of a checkpoint, because another number of parts rounds differently. Only where a single row
    is too much, `recomputes` says that activations are made again in the backward pass instead of being kept
    (Chen et al. 2016).
    """

    def __init__(
        self, model: Any, parameters: Mapping[str, torch.nn.Parameter], objective: Objective
    ) -> None:
        self._model, self._parameters, self._objective = model, parameters, objective
        self.parts = 1
        self.recomputes = False

    def recompute(self) -> None:
        """Keep no activations from now on: a third more work for a fraction of the memory."""
        self._model.gradient_checkpointing_enable({"use_reentrant": False})
        self.recomputes = True

    def backward(self, rows: Sequence[Any]) -> tuple[float, dict[str, float]]:
        """Leave the gradient of the mean loss over `rows` in the parameters; returns the loss and other
        means.

        Raises:
            ModelError: OUT_OF_MEMORY where a single row is too much.
        """
        self._model.train()
        while True:
            try:
                return self._backward(rows)
            except (MemoryError, RuntimeError) as error:
                self._shrink(error, len(rows))

    def mean(self, rows: Sequence[Any], tokens_per_batch: int) -> tuple[float, dict[str, float]]:
        """Mean loss over all `rows`, and other means, without learning from them."""
        self._model.eval()
        while True:
            try:
                return self._mean(rows, max(1, tokens_per_batch // self.parts))
            except (MemoryError, RuntimeError) as error:
                self._shrink(error, len(rows))

    def _backward(self, rows: Sequence[Any]) -> tuple[float, dict[str, float]]:
        means = _Means()
        total = sum(self._objective.positions(row) for row in rows)
        for part in self._split(rows):
            positions = sum(self._objective.positions(row) for row in part)
            loss, others = self._objective.loss(part)
            (loss if len(part) == len(rows) else loss * (positions / total)).backward()
            means.add(loss.item(), others, positions)
        return means.result()

    @torch.no_grad()
    def _mean(self, rows: Sequence[Any], tokens_per_batch: int) -> tuple[float, dict[str, float]]:
        means = _Means()
        for batch in length_bucketed([self._objective.length(row) for row in rows], tokens_per_batch):
            part = [rows[index] for index in batch]
            loss, others = self._objective.loss(part)
            means.add(loss.item(), others, sum(self._objective.positions(row) for row in part))
        return means.result()

    def _split(self, rows: Sequence[Any]) -> list[Sequence[Any]]:
        size = max(1, -(-len(rows) // self.parts))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _shrink(self, error: Exception, rows: int) -> None:
        if not out_of_memory(error):
            raise error
        if self.parts < rows:
            self.parts *= 2
        elif not self.recomputes and getattr(self._model, "supports_gradient_checkpointing", False):
            self.recompute()
            self.parts = 1
        else:
            raise ModelError(
                "Memory ran out on a single row. Lower max_length, or give the worker more memory.",
                reason="OUT_OF_MEMORY",
            ) from error
        for parameter in self._parameters.values():
            parameter.grad = None
        error.__traceback__ = None  # its frames hold the tensors that there was no room for
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _Means:
    """Means over parts of different weight."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._weight = 0.0

    def add(self, loss: float, others: Mapping[str, float], weight: float) -> None:
        for name, value in {"loss": loss, **others}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * weight
        self._weight += weight

    def result(self) -> tuple[float, dict[str, float]]:
        means = {name: total / self._weight for name, total in self._sums.items()}
        return means.pop("loss"), means


def out_of_memory(error: BaseException) -> bool:
    """Whether this is how torch says that memory ran out."""
    text = str(error).lower()
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError))
        or "allocate memory" in text
        or "out of memory" in text
    )
