"""What a recipe takes where it is not told: by method, preset, adapter, amount of data and device. Standard
library only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sartor_training.recipe import Recipe

_RANKS = {"quick": 8, "balanced": 16, "best": 32}
# Adapters bear about ten times the rate of whole weights (Biderman et al. 2024); DPO must stay near its
# start.
_LEARNING_RATES = {
    ("sft", "adapter"): 4e-4,
    ("sft", "full"): 4e-5,
    ("dpo", "adapter"): 5e-5,
    ("dpo", "full"): 2e-6,
    ("continued_pretraining", "adapter"): 2e-4,
    ("continued_pretraining", "full"): 2e-5,
    ("from_scratch", "full"): 2e-3,
    ("output_layer", "adapter"): 4e-4,
    ("output_layer", "full"): 4e-5,
}
_EPOCHS = {
    "sft": {"quick": 1.0, "balanced": 3.0, "best": 5.0},
    "dpo": {"quick": 1.0, "balanced": 1.0, "best": 2.0},
    "continued_pretraining": {"quick": 1.0, "balanced": 1.0, "best": 2.0},
    # Up to four passes text is worth about as much as new text (Muennighoff et al. 2023).
    "from_scratch": {"quick": 1.0, "balanced": 2.0, "best": 4.0},
    "output_layer": {"quick": 2.0, "balanced": 4.0, "best": 8.0},
}
_TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 16384}
_LEAST_TOKENS_PER_BATCH = 256
_STEPS_WANTED = 30  # fewer steps than this leave the schedule no room
_MUCH_DATA_TOKENS = 2_000_000
_VERY_MUCH_DATA_TOKENS = 20_000_000


def of_recipe(recipe: Recipe) -> dict[str, Any]:
    """Defaults that the recipe alone decides."""
    adapter = recipe.adapter or ("full" if recipe.method == "from_scratch" else "lora")
    rank = recipe.rank or _RANKS[recipe.preset]
    found: dict[str, Any] = {
        "adapter": adapter,
        "rank": rank,
        # rsLoRA divides by the root of the rank: the same scale of 2 as the others have.
        "alpha": 2.0 * (math.sqrt(rank) if adapter == "rslora" else rank),
        "learning_rate": _LEARNING_RATES[recipe.method, "full" if adapter == "full" else "adapter"],
    }
    if recipe.method == "dpo":
        found["beta"] = 0.1
    if recipe.replay_curation:
        found["replay_share"] = 0.1
    if recipe.method == "from_scratch":
        found["vocabulary_size"] = 8192
    if recipe.method == "output_layer":
        found["output_layer"] = "single_label"
    return found


def of_data(recipe: Recipe, tokens_per_epoch: int, device: str) -> dict[str, Any]:
    """Defaults that follow from how much there is to learn from, and on what."""
    epochs = recipe.epochs or _epochs(recipe, tokens_per_epoch)
    per_step = int(tokens_per_epoch * epochs / _STEPS_WANTED)
    batch = min(_TOKENS_PER_BATCH[device], max(_LEAST_TOKENS_PER_BATCH, per_step))
    if recipe.max_training_tokens:
        batch = min(batch, recipe.max_training_tokens)
    return {"epochs": epochs, "tokens_per_batch": batch}


def _epochs(recipe: Recipe, tokens: int) -> float:
    usual = _EPOCHS[recipe.method][recipe.preset]
    if tokens > _VERY_MUCH_DATA_TOKENS:
        return 1.0
    return min(usual, 2.0) if tokens > _MUCH_DATA_TOKENS else usual
