"""The whole course of a training, known before its first step: which rows when, how fast to learn, when to
look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sartor_models.batches import length_bucketed
from sartor_models.errors import ModelError

from sartor_training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step. `tokens` counts real ones, `epoch` is the share of passes done when it ends."""

    rows: tuple[int, ...]
    tokens: int
    epoch: float
    validate: bool


def plan_steps(lengths: Sequence[int], recipe: Recipe) -> list[Step]:
    """Every step of the training on rows of these lengths; the same for the same recipe and lengths.

    Raises:
        ModelError: NOTHING_TO_TRAIN_ON where the token budget or the data do not suffice for one step.
    """
    steps: list[Step] = []
    spent = 0
    for epoch in range(math.ceil(recipe.epochs)):
        batches = length_bucketed(lengths, recipe.tokens_per_batch, seed=recipe.seed * 1_000_003 + epoch)
        count = math.ceil(len(batches) * min(1.0, recipe.epochs - epoch))
        looks = _looks(len(batches), recipe.validations_per_epoch)
        for number, batch in enumerate(batches[:count], start=1):
            tokens = sum(lengths[index] for index in batch)
            if recipe.max_training_tokens and spent + tokens > recipe.max_training_tokens:
                return _ended(steps)
            spent += tokens
            steps.append(Step(tuple(batch), tokens, epoch + number / len(batches), number in looks))
    return _ended(steps)


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine from the peak to a tenth of it (Loshchilov and Hutter 2017).

    Args:
        step: counts from 0.
    """
    warmup = math.ceil(steps * recipe.warmup_ratio)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return recipe.learning_rate * (0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * progress)))


def _looks(batches: int, validations: int) -> frozenset[int]:
    """After which batches of an epoch to validate: evenly spread, the last one always among them."""
    return (
        frozenset(math.ceil(batches * part / validations) for part in range(1, validations + 1))
        if validations
        else frozenset()
    )


def _ended(steps: list[Step]) -> list[Step]:
    if not steps:
        raise ModelError(
            "There is nothing to train on: the training split is empty, or max_training_tokens is smaller "
            "than the first "
            "batch. Look at the curation's report, or raise max_training_tokens.",
            reason="NOTHING_TO_TRAIN_ON",
        )
    last = steps[-1]
    return [*steps[:-1], Step(last.rows, last.tokens, last.epoch, validate=True)]
