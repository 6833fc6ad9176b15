"""What every method of training has in common: it brings rows, a model and a loss, and the loop does the
rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from sartor_training.recipe import Recipe


class Objective(Protocol):
    """A loss over rows of one kind."""

    def length(self, row: Any) -> int:
        """Tokens that the row costs in a batch, padding not counted."""

    def positions(self, row: Any) -> float:
        """How many terms of the loss the row has: what a mean over several rows is weighted by."""

    def loss(self, rows: Sequence[Any]) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Mean loss over the positions of `rows`, and other means of the same kind, such as accuracy."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a training is given, as folders. `start` holds an earlier version's files, `replay` general
    text. `quoting` leaves out what only a training needs and what costs time; it is told in
    `Prepared.passed_tokens`."""

    base: Path
    base_model: str
    data: Path
    start: Path | None = None
    replay: Path | None = None
    work: Path | None = None
    quoting: bool = False


@dataclass(frozen=True, slots=True)
class Audit:
    """What the training rows teach.

    Args:
        cut: rows that lose their end to the length limit; they are used.
        without_labels: rows for which no loss exists; they are left out.
        samples: some rows as pieces of text, each with whether it is learned.
    """

    rows: int
    tokens: int
    supervised_tokens: int
    cut: int
    without_labels: int
    samples: Sequence[Sequence[tuple[str, bool]]] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A training that is ready to start.

    Args:
        recipe: with what the method found out about it.
        parameters: the weights to be taught, by name; everything else is frozen.
        names: of the training rows, for messages about one of them.
        save: writes the taught weights into an empty folder, and returns further figures.
        cached: tensors that were expensive to make, kept with each checkpoint.
        passed_tokens: what passes without gradients read before the first step, and left out for a quote.
    """

    recipe: Recipe
    model: Any
    parameters: Mapping[str, torch.nn.Parameter]
    objective: Objective
    train: Sequence[Any]
    validation: Sequence[Any]
    names: Sequence[str]
    audit: Audit
    save: Callable[[Mapping[str, torch.Tensor], Path], Mapping[str, float]]
    cached: Mapping[str, torch.Tensor] = field(default_factory=dict)
    passed_tokens: int = 0


class Method(Protocol):
    """`prepare` of a file in this folder. `cached` is what an earlier attempt kept."""

    def __call__(
        self, sources: Sources, recipe: Recipe, device: str, cached: Mapping[str, torch.Tensor]
    ) -> Prepared: ...
