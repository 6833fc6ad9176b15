"""What can be wrong with a recipe: ranges, words, and fields that do not go together. Standard library
only."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sartor_training.recipe import Recipe

METHODS = ("sft", "dpo", "continued_pretraining", "from_scratch", "output_layer")
ADAPTERS = ("lora", "full", "rslora", "dora", "qlora")
PRESETS = ("quick", "balanced", "best")
OUTPUT_LAYERS = ("single_label", "multi_label", "regression")
CHAT_TEMPLATES = ("chatml", "plain")
LATEST = "latest"
LIVE = "live"

_RANGES: tuple[tuple[str, float, float], ...] = (
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
    ("beta", 1e-4, 100),
    ("replay_share", 0, 0.9),
    ("vocabulary_size", 300, 1 << 18),
    ("parameters", 10_000, 10**11),
    ("compute_budget", 1e9, 1e27),
    ("loss_spike_factor", 1.5, 1e6),
)
_MAY_BE_ZERO = frozenset(
    {"rank", "epochs", "tokens_per_batch", "beta", "vocabulary_size", "parameters", "compute_budget"}
    | {"loss_spike_factor"}
)
# Which methods a field is for; it must keep its default in the others.
_ONLY_FOR = {
    "chat_template": ("sft", "dpo"),
    "start_from": ("sft", "dpo", "continued_pretraining", "output_layer"),
    "beta": ("dpo",),
    "replay_curation": ("continued_pretraining",),
    "replay_share": ("continued_pretraining",),
    "vocabulary_size": ("from_scratch",),
    "parameters": ("from_scratch",),
    "compute_budget": ("from_scratch",),
    "output_layer": ("output_layer",),
    "balance_labels": ("output_layer",),
}
_VERSION = re.compile(r"projects/[^/]+/models/[^/]+/versions/[^/]+")
_CURATION = re.compile(r"projects/[^/]+/curations/[^/]+")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field of a recipe, and what would be right."""

    field: str
    description: str


def faults(recipe: Recipe) -> Iterator[Fault]:
    """Everything that is wrong with the recipe."""
    yield from _numbers(recipe)
    yield from _words(recipe)
    if recipe.method in METHODS:
        yield from _other_methods(recipe)
    yield from _combinations(recipe)


def _numbers(recipe: Recipe) -> Iterator[Fault]:
    for name, low, high in _RANGES:
        value = getattr(recipe, name)
        if value == 0 and name in _MAY_BE_ZERO:
            continue
        if not (math.isfinite(value) and low <= value <= high):
            yield Fault(name, f"must be between {low:g} and {high:g}, not {value:g}")


def _words(recipe: Recipe) -> Iterator[Fault]:
    choices = {
        "method": METHODS,
        "adapter": ("", *ADAPTERS),
        "preset": PRESETS,
        "output_layer": ("", *OUTPUT_LAYERS),
        "chat_template": ("", *CHAT_TEMPLATES),
    }
    for name, known in choices.items():
        if getattr(recipe, name) not in known:
            told = " or ".join(word for word in known if word)
            yield Fault(name, f"must be {told}, not {getattr(recipe, name)!r}")
    if recipe.start_from not in ("", LATEST, LIVE) and not _VERSION.fullmatch(recipe.start_from):
        yield Fault(
            "start_from",
            f"must be {LATEST}, {LIVE} or have the form projects/{{project}}/models/{{model}}/versions/"
            f"{{version}}, not {recipe.start_from!r}",
        )
    if recipe.replay_curation and not _CURATION.fullmatch(recipe.replay_curation):
        yield Fault(
            "replay_curation",
            f"must have the form projects/{{project}}/curations/{{curation}}, not {recipe.replay_curation!r}",
        )


def _other_methods(recipe: Recipe) -> Iterator[Fault]:
    for name, methods in _ONLY_FOR.items():
        if getattr(recipe, name) and recipe.method not in methods:
            yield Fault(name, f"is for {' and '.join(methods)}, not for {recipe.method}")


def _combinations(recipe: Recipe) -> Iterator[Fault]:
    if recipe.max_training_tokens and recipe.max_training_tokens < (recipe.tokens_per_batch or 256):
        yield Fault(
            "max_training_tokens",
            f"must be at least tokens_per_batch ({recipe.tokens_per_batch or 256}), or 0 for no limit",
        )
    if recipe.early_stopping_patience and not recipe.validations_per_epoch:
        yield Fault(
            "early_stopping_patience",
            "needs validations_per_epoch of at least 1; write 0 to never stop early",
        )
    if recipe.method == "from_scratch" and recipe.adapter not in ("", "full"):
        yield Fault("adapter", "must be full: a model from scratch has nothing that an adapter could change")
    if recipe.replay_share and not recipe.replay_curation:
        yield Fault("replay_share", "needs replay_curation: the general text to mix in")
    if recipe.parameters and recipe.compute_budget:
        yield Fault("compute_budget", "and parameters exclude each other: one decides the other")
