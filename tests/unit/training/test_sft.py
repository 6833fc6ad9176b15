"""Supervised fine-tuning learns, keeps to its budget, repeats itself bit for bit and goes on where it
stopped."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora
from sartor_models.chat_format import ChatTokens
from sartor_models.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from sartor_models.errors import ModelError
from sartor_models.load import load_model
from sartor_training.methods.loop import Outcome, Training
from sartor_training.methods.loss import cross_entropy
from sartor_training.methods.next_token import NextToken
from sartor_training.recipe import Recipe

RECIPE = Recipe(
    rank=4, learning_rate=2e-2, epochs=4, tokens_per_batch=128, checkpoint_every_steps=7, dropout=0.1
)


@dataclass
class Watcher:
    """Keeps what a training tells."""

    figures: list[Mapping[str, float]] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def stepped(
        self, fraction: float, epoch: float, eta_seconds: float, figures: Mapping[str, float]
    ) -> None:
        assert 0 < fraction <= 1
        assert eta_seconds >= 0
        self.figures.append(figures)

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        self.checkpoints.append(checkpoint)


def _rows(count: int, seed: int) -> list[ChatTokens]:
    """Sequences that count upwards: easy to learn."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        start, length = chance.randrange(20, 60), chance.randrange(8, 24)
        rows.append(ChatTokens(tuple(range(start, start + length)), (False,) * 3 + (True,) * (length - 3)))
    return rows


def _train(
    tiny: Path, recipe: Recipe = RECIPE, resume: Checkpoint | None = None, **options: Any
) -> tuple[Outcome, Watcher]:
    model = load_model(tiny, torch.float32 if options.pop("float32", True) else torch.bfloat16)
    if recipe.adapter == "lora":
        model = add_lora(model, LoraAdapter(recipe.rank, recipe.alpha, recipe.dropout), recipe.seed)
        parameters = adapter_weights(model)
    else:
        model.requires_grad_(True)
        parameters = dict(model.named_parameters())
    watcher = Watcher()
    train, validation = options.pop("train", _rows(40, 1)), options.pop("validation", _rows(8, 2))
    objective = NextToken(model)
    training = Training(model, parameters, objective, train, validation, recipe, watcher, resume)
    return training.run(), watcher


@pytest.fixture(scope="module")
def whole(tiny: Path) -> tuple[Outcome, Watcher]:
    return _train(tiny)


def test_it_learns(whole: tuple[Outcome, Watcher]) -> None:
    metrics = whole[0].metrics
    assert metrics["validation_loss"] < 0.7 * metrics["initial_validation_loss"]


def test_full_training_learns_in_bfloat16_too(tiny: Path) -> None:
    recipe = Recipe(adapter="full", learning_rate=5e-3, epochs=3, tokens_per_batch=128)
    outcome, _ = _train(tiny, recipe, float32=False)
    assert outcome.metrics["validation_loss"] < 0.7 * outcome.metrics["initial_validation_loss"]
    assert {weight.dtype for weight in outcome.weights.values()} == {torch.bfloat16}


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    tiny: Path, whole: tuple[Outcome, Watcher]
) -> None:
    again, _ = _train(tiny)
    assert all(torch.equal(weight, whole[0].weights[name]) for name, weight in again.weights.items())
    other, _ = _train(tiny, Recipe(**{**RECIPE.to_mapping(), "seed": 1}))
    assert not all(torch.equal(weight, whole[0].weights[name]) for name, weight in other.weights.items())


def test_a_resumed_training_reaches_bit_equal_weights(
    tiny: Path, whole: tuple[Outcome, Watcher], tmp_path: Path
) -> None:
    for number, checkpoint in enumerate(whole[1].checkpoints):
        stored = load_checkpoint(save_checkpoint(tmp_path / f"{number}.safetensors", checkpoint))
        resumed, watcher = _train(tiny, resume=stored)
        assert watcher.figures[0]["step"] == stored.state["step"] + 1
        assert all(torch.equal(weight, whole[0].weights[name]) for name, weight in resumed.weights.items())
        assert resumed.metrics == whole[0].metrics
    assert len(whole[1].checkpoints) >= 2


def test_a_checkpoint_of_another_recipe_is_passed_over(tiny: Path, whole: tuple[Outcome, Watcher]) -> None:
    _, watcher = _train(
        tiny, Recipe(**{**RECIPE.to_mapping(), "learning_rate": 1e-3, "epochs": 1}), whole[1].checkpoints[0]
    )
    assert watcher.figures[0]["step"] == 1


def test_the_token_budget_is_counted_and_kept(tiny: Path) -> None:
    outcome, watcher = _train(tiny, Recipe(**{**RECIPE.to_mapping(), "max_training_tokens": 500}))
    assert 500 - 128 < outcome.metrics["tokens"] <= 500
    assert watcher.figures[-1]["tokens"] == outcome.metrics["tokens"]


def test_it_stops_when_validation_no_longer_improves_and_keeps_the_best(tiny: Path) -> None:
    noise = [ChatTokens(tuple(random.Random(n).sample(range(300), 16)), (True,) * 16) for n in range(12)]
    recipe = Recipe(rank=8, learning_rate=5e-2, epochs=60, tokens_per_batch=128, early_stopping_patience=2)
    outcome, watcher = _train(tiny, recipe, train=noise, validation=_rows(4, 3))
    assert outcome.metrics["stopped_early"] == 1
    assert outcome.metrics["steps"] < outcome.metrics["planned_steps"]
    assert outcome.metrics["validation_loss"] == min(
        f["validation_loss"] for f in outcome.history if "loss" in f and "validation_loss" in f
    )
    assert outcome.metrics["best_step"] < outcome.metrics["steps"]
    assert watcher.figures[-1]["validation_loss"] > outcome.metrics["validation_loss"]


def test_a_loss_that_is_no_number_ends_the_training_with_its_step(tiny: Path) -> None:
    with pytest.raises(ModelError, match="lower learning_rate") as caught:
        _poisoned(tiny)
    assert caught.value.reason == "LOSS_NOT_FINITE"
    assert caught.value.metadata["step"] == "1"


def _poisoned(tiny: Path) -> None:
    model = load_model(tiny, torch.float32)
    model.model.norm.weight.data[0] = math.inf
    model = add_lora(model, LoraAdapter(2, 4.0), 0)
    Training(model, adapter_weights(model), NextToken(model), _rows(4, 1), [], RECIPE, Watcher()).run()


def test_memory_that_runs_out_says_what_to_lower(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> None:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried …"
        )

    monkeypatch.setattr("sartor_training.methods.next_token.hidden_states", exhausted)
    with pytest.raises(ModelError, match="Lower max_length") as caught:
        _train(tiny)
    assert caught.value.reason == "OUT_OF_MEMORY"


def test_an_empty_training_split_is_refused(tiny: Path) -> None:
    with pytest.raises(ModelError) as caught:
        _train(tiny, train=[])
    assert caught.value.reason == "NOTHING_TO_TRAIN_ON"


def test_without_validation_rows_the_last_weights_are_the_result(tiny: Path) -> None:
    outcome, watcher = _train(tiny, validation=[])
    assert "validation_loss" not in outcome.metrics
    assert outcome.metrics["steps"] == len(watcher.figures)


def test_the_sliced_loss_and_its_gradients_are_cross_entropys() -> None:
    torch.manual_seed(0)
    states = torch.randn(300, 16, requires_grad=True)
    weight = torch.randn(50, 16, requires_grad=True)
    targets = torch.randint(0, 50, (300,))
    loss = 3 * cross_entropy(states, weight, targets)
    gradients = torch.autograd.grad(loss, (states, weight))
    expected = 3 * torch.nn.functional.cross_entropy(states @ weight.T, targets)
    assert torch.allclose(loss, expected, atol=1e-5)
    for actual, reference in zip(gradients, torch.autograd.grad(expected, (states, weight)), strict=True):
        assert torch.allclose(actual, reference, atol=1e-6)
