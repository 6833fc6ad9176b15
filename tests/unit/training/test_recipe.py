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
                "method": "ppo",
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


def test_fields_of_another_method_are_refused() -> None:
    with pytest.raises(BadRecipe) as caught:
        Recipe(method="sft", beta=0.2, vocabulary_size=500, output_layer="regression", replay_share=0.2)
    fields = sorted({fault.field for fault in caught.value.faults})
    assert fields == ["beta", "output_layer", "replay_share", "vocabulary_size"]


def test_presets_and_methods_set_what_is_not_said() -> None:
    quick, best = Recipe(preset="quick"), Recipe(preset="best")
    assert quick.rank < Recipe().rank < best.rank
    assert quick.fitted(50_000, "cpu").epochs < best.fitted(50_000, "cpu").epochs
    assert Recipe(method="from_scratch").adapter == "full"
    assert Recipe(method="dpo").learning_rate < Recipe().learning_rate
    assert Recipe(adapter="rslora", rank=64).alpha == 16.0


def test_passes_and_batches_follow_data_and_device_unless_they_are_set() -> None:
    assert Recipe().fitted(3_000, "cpu").tokens_per_batch < Recipe().fitted(300_000, "cpu").tokens_per_batch
    assert Recipe().fitted(3_000_000, "cuda").tokens_per_batch == 16384
    assert Recipe().fitted(30_000_000, "cpu").epochs == 1.0
    asked = Recipe(epochs=7, tokens_per_batch=64).fitted(30_000_000, "cpu")
    assert (asked.epochs, asked.tokens_per_batch) == (7, 64)
    assert asked.fitted(10, "cpu") == asked


@given(st.integers(1, 64), st.floats(0.01, 50), st.integers(0, 2**40), st.sampled_from(["lora", "full"]))
def test_a_recipe_survives_being_stored(rank: int, epochs: float, seed: int, adapter: str) -> None:
    recipe = Recipe(rank=rank, epochs=epochs, seed=seed, adapter=adapter)
    assert Recipe.from_mapping(recipe.to_mapping()) == recipe
