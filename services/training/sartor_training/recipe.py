"""The recipe of a training: strict, complete, with every fault reported at once. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from sartor_training import recipe_defaults, recipe_faults
from sartor_training.recipe_faults import Fault

METHODS = recipe_faults.METHODS
ADAPTERS = recipe_faults.ADAPTERS


class BadRecipe(Exception):
    """A recipe that cannot be followed; `faults` names all of it."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{fault.field} {fault.description}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is taught. Zero or empty stands for the default that suits method, preset and adapter;
    `epochs` and `tokens_per_batch` stay zero until the data is known (`fitted`).

    Args:
        epochs: passes over the data; may be a fraction.
        tokens_per_batch: tokens of one optimizer step, padding included.
        max_length: longer rows are cut at the end, and counted.
        warmup_ratio: share of the steps in which the learning rate rises.
        early_stopping_patience: validations without a better loss after which training stops; 0 never stops.
        max_training_tokens: real tokens that training may process in all; 0 is no limit.
        start_from: a model version whose weights to begin with.
        beta: of DPO, how strongly the model is held to where it began.
        replay_share: of continued pretraining, how many of the tokens are general text.
        compute_budget: of a model from scratch, floating-point operations to be spent in all.
        loss_spike_factor: a loss this many times the median of the last steps ends the training; 0 never.
    """

    method: str = "sft"
    adapter: str = ""
    rank: int = 0
    alpha: float = 0.0
    dropout: float = 0.0
    learning_rate: float = 0.0
    epochs: float = 0.0
    tokens_per_batch: int = 0
    max_length: int = 512
    warmup_ratio: float = 0.1
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    validations_per_epoch: int = 2
    early_stopping_patience: int = 3
    max_training_tokens: int = 0
    seed: int = 0
    checkpoint_every_steps: int = 50
    preset: str = "balanced"
    chat_template: str = ""
    start_from: str = ""
    beta: float = 0.0
    replay_curation: str = ""
    replay_share: float = 0.0
    vocabulary_size: int = 0
    parameters: int = 0
    compute_budget: float = 0.0
    output_layer: str = ""
    balance_labels: bool = False
    loss_spike_factor: float = 4.0

    def __post_init__(self) -> None:
        if found := tuple(recipe_faults.faults(self)):
            raise BadRecipe(found)
        for name, value in recipe_defaults.of_recipe(self).items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)

    def fitted(self, tokens_per_epoch: int, device: str) -> Self:
        """This recipe with passes and batches that suit this much data and this device ("cpu" or "cuda");
        what is set stays."""
        values = self.to_mapping()
        for name, value in recipe_defaults.of_data(self, tokens_per_epoch, device).items():
            values[name] = values[name] or value
        return type(self)(**values)

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
            if name == "rank" and value == 0 and _is(value, int):
                faults.append(Fault(name, "must be between 1 and 1024, not 0; leave it out for the default"))
            elif _is(value, kinds[name]):
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


_WORDS: dict[type, str] = {int: "whole number", float: "number", str: "word", bool: "yes or no"}


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float)) if kind is float else isinstance(value, kind)
