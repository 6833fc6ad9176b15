"""The recipe of a training: strict, complete, with every fault reported at once. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

METHODS = ("sft",)
ADAPTERS = ("lora", "full")
_LEARNING_RATES = {"lora": 4e-4, "full": 4e-5}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field of a recipe, and what would be right."""

    field: str
    description: str


class BadRecipe(Exception):
    """A recipe that cannot be followed; `faults` names all of it."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{fault.field} {fault.description}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is taught. `learning_rate` and `alpha` of 0 stand for the default that suits the adapter
    and rank.

    Args:
        epochs: passes over the data; may be a fraction.
        tokens_per_batch: tokens of one optimizer step, padding included.
        max_length: longer rows are cut at the end, and counted.
        warmup_ratio: share of the steps in which the learning rate rises.
        early_stopping_patience: validations without a better loss after which training stops; 0 never stops.
        max_training_tokens: real tokens that training may process in all; 0 is no limit.
    """

    method: str = "sft"
    adapter: str = "lora"
    rank: int = 16
    alpha: float = 0.0
    dropout: float = 0.0
    learning_rate: float = 0.0
    epochs: float = 3.0
    tokens_per_batch: int = 1024
    max_length: int = 512
    warmup_ratio: float = 0.1
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    validations_per_epoch: int = 2
    early_stopping_patience: int = 3
    max_training_tokens: int = 0
    seed: int = 0
    checkpoint_every_steps: int = 50

    def __post_init__(self) -> None:
        if found := tuple(_faults(self)):
            raise BadRecipe(found)
        if self.alpha == 0:
            object.__setattr__(self, "alpha", 2.0 * self.rank)
        if self.learning_rate == 0:
            object.__setattr__(self, "learning_rate", _LEARNING_RATES[self.adapter])

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """The recipe of JSON values; what is not given takes its default.

        Raises:
            BadRecipe: unknown fields, values of another type, values out of range: all of them.
        """
        kinds: dict[str, type[Any]] = {item.name: type(item.default) for item in fields(cls)}
        faults = [
            Fault(name, f"is no field of a recipe; known are {', '.join(kinds)}")
            for name in values
            if name not in kinds
        ]
        usable: dict[str, Any] = {}
        for name, value in values.items():
            if name not in kinds:
                continue
            if _is(value, kinds[name]):
                usable[name] = kinds[name](value)
            else:
                faults.append(Fault(name, f"must be a {_WORDS[kinds[name]]}, not {value!r}"))
        try:
            recipe = cls(**usable)
        except BadRecipe as bad:
            faults += bad.faults
        if faults:
            raise BadRecipe(tuple(faults))
        return recipe

    def to_mapping(self) -> dict[str, Any]:
        """JSON values, every default filled in."""
        return asdict(self)


_WORDS: dict[type, str] = {int: "whole number", float: "number", str: "word"}


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, float)) if kind is float else isinstance(value, kind)


def _faults(recipe: Recipe) -> list[Fault]:
    ranges: list[tuple[str, float, float]] = [
        ("rank", 1, 1024),
        ("alpha", 0, 1e5),
        ("dropout", 0, 0.9),
        ("learning_rate", 0, 1),
        ("epochs", 1e-3, 1000),
        ("tokens_per_batch", 16, 1 << 24),
        ("max_length", 8, 1 << 20),
        ("warmup_ratio", 0, 1),
        ("weight_decay", 0, 10),
        ("max_gradient_norm", 1e-6, 1e6),
        ("validations_per_epoch", 0, 1000),
        ("early_stopping_patience", 0, 1000),
        ("max_training_tokens", 0, 1 << 50),
        ("seed", 0, (1 << 63) - 1),
        ("checkpoint_every_steps", 1, 1 << 30),
    ]
    found = [
        Fault(name, f"must be between {low:g} and {high:g}, not {getattr(recipe, name):g}")
        for name, low, high in ranges
        if not (math.isfinite(getattr(recipe, name)) and low <= getattr(recipe, name) <= high)
    ]
    if recipe.method not in METHODS:
        found.append(Fault("method", f"must be {' or '.join(METHODS)}, not {recipe.method!r}"))
    if recipe.adapter not in ADAPTERS:
        found.append(Fault("adapter", f"must be {' or '.join(ADAPTERS)}, not {recipe.adapter!r}"))
    if recipe.max_training_tokens and recipe.max_training_tokens < recipe.tokens_per_batch:
        found.append(
            Fault(
                "max_training_tokens",
                f"must be at least tokens_per_batch ({recipe.tokens_per_batch}), or 0 for no limit",
            )
        )
    if recipe.early_stopping_patience and not recipe.validations_per_epoch:
        found.append(
            Fault(
                "early_stopping_patience",
                "needs validations_per_epoch of at least 1; write 0 to never stop early",
            )
        )
    return found
