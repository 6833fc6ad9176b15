"""A recipe is strict: every fault is told at once, and what is not said takes a default that suits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sartor_training.recipe import BadRecipe, Recipe


def test_defaults_suit_the_adapter() -> None:
    lora, full = Recipe(), Recipe(adapter="full")
    assert (lora.rank, lora.alpha, lora.learning_rate) == (16, 32.0, 4e-4)
    assert full.learning_rate < lora.learning_rate
    assert Recipe(rank=8).alpha == 16.0


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(BadRecipe) as caught:
        Recipe.from_mapping(
            {
                "method": "dpo",
                "adapter": "magic",
                "rank": 0,
                "epochs": "three",
                "seeds": 1,
                "dropout": True,
                "alpha": float("nan"),
            }
        )
    fields = sorted(fault.field for fault in caught.value.faults)
    assert fields == ["adapter", "alpha", "dropout", "epochs", "method", "rank", "seeds"]


def test_a_budget_below_one_batch_is_refused() -> None:
    with pytest.raises(BadRecipe, match="max_training_tokens"):
        Recipe(max_training_tokens=100)


def test_stopping_early_needs_validations() -> None:
    with pytest.raises(BadRecipe, match="early_stopping_patience"):
        Recipe(validations_per_epoch=0)
    assert Recipe(validations_per_epoch=0, early_stopping_patience=0)


@given(st.integers(1, 64), st.floats(0.01, 50), st.integers(0, 2**40), st.sampled_from(["lora", "full"]))
def test_a_recipe_survives_being_stored(rank: int, epochs: float, seed: int, adapter: str) -> None:
    recipe = Recipe(rank=rank, epochs=epochs, seed=seed, adapter=adapter)
    assert Recipe.from_mapping(recipe.to_mapping()) == recipe
