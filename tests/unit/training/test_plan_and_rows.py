"""The course of a training is fixed before it begins; rows that teach nothing are counted and left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sartor_datasets.records import Message
from sartor_models.tokenizer import load_tokenizer
from sartor_training.methods.plan import learning_rate, plan_steps
from sartor_training.methods.rows import encode_rows, sample
from sartor_training.recipe import Recipe


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=60), st.sampled_from([0.5, 1, 2.5]), st.integers(0, 3)
)
def test_whole_passes_see_every_row_once_each(lengths: list[int], epochs: float, seed: int) -> None:
    recipe = Recipe(epochs=epochs, tokens_per_batch=128, seed=seed)
    steps = plan_steps(lengths, recipe)
    counts = [sum(index in step.rows for step in steps) for index in range(len(lengths))]
    whole = int(epochs)
    assert all(whole <= count <= whole + 1 for count in counts)
    assert all(step.tokens == sum(lengths[index] for index in step.rows) for step in steps)
    assert steps[-1].validate
    assert plan_steps(lengths, recipe) == steps


@settings(max_examples=40)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=60), st.integers(128, 5000))
def test_the_budget_is_never_exceeded(lengths: list[int], budget: int) -> None:
    steps = plan_steps(lengths, Recipe(epochs=20, tokens_per_batch=128, max_training_tokens=budget))
    spent = sum(step.tokens for step in steps)
    assert spent <= budget
    assert spent > budget - 128 or spent == 20 * sum(lengths)


def test_the_learning_rate_rises_and_falls_along_a_cosine() -> None:
    recipe = Recipe(learning_rate=1.0, warmup_ratio=0.1)
    rates = [learning_rate(step, 100, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.55, abs=0.01)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_validations_are_spread_over_the_epoch() -> None:
    steps = plan_steps([64] * 20, Recipe(epochs=1, tokens_per_batch=128, validations_per_epoch=2))
    assert [number for number, step in enumerate(steps, start=1) if step.validate] == [5, 10]


def test_rows_are_cut_and_useless_ones_left_out(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    short = (Message("user", "Hi"), Message("assistant", "Hello"))
    long = (Message("user", "Hi"), Message("assistant", "Hello " * 50))
    buried = (Message("user", "Hi " * 90), Message("assistant", "Hello"))
    silent = (Message("user", "Hi"),)
    rows = encode_rows(tokenizer, [short, long, buried, silent], 40)
    assert len(rows.rows) == 2
    assert rows.cut == 2
    assert rows.useless == 2
    assert max(len(row.ids) for row in rows.rows) == 40
    assert 0 < rows.supervised_tokens < rows.tokens


def test_a_sample_is_the_same_for_the_same_seed_and_within_its_size(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    rows = encode_rows(
        tokenizer, [(Message("user", f"{n}"), Message("assistant", "ok")) for n in range(50)], 64
    )
    some = sample(rows, 200, seed=1)
    assert 0 < some.tokens <= 200
    assert sample(rows, 200, seed=1) == some
    assert sample(rows, 200, seed=2) != some
    assert sample(rows, 1_000_000, seed=1) == rows
