"""Base models are ranked by what was measured: loss after the trial, then what serving costs."""

from __future__ import annotations

from typing import Any

from sartor_training.recommendation import Tried, advice, ranked


def _tried(name: str, loss: float, parameters: int, **audit: Any) -> Tried:
    trial = {"initial_loss": 2.0, "loss": loss, "tokens": 1000, "tokens_per_character": 0.25}
    told = {"rows": 400, "refusal": "", **audit}
    result = {"trial": trial, "audit": told, "seconds": 60.0, "peak_memory_bytes": 1 << 30}
    return Tried(base_model=name, parameters=parameters, result=result)


def test_the_lowest_loss_is_first_but_among_equals_the_cheapest() -> None:
    failed = Tried(base_model="broken", parameters=1, result=None, failure="no chat template")
    order = ranked(
        [failed, _tried("large", 1.00, 1000), _tried("small", 1.01, 100), _tried("worse", 1.3, 10)]
    )
    assert [place.tried.base_model for place in order] == ["small", "large", "worse", "broken"]
    assert [place.rank for place in order] == [1, 2, 3, 4]
    assert any("10 times its cost of serving" in reason for reason in order[1].reasons)
    assert advice(order) == "Take small."


def test_it_says_when_a_prompt_may_do_and_when_the_data_is_not_ready() -> None:
    assert "a good prompt" in advice(ranked([_tried("a", 1.0, 10, rows=20)]))
    assert "a good prompt" in advice(ranked([_tried("a", 1.99, 10)]))
    assert "Do not train" in advice(ranked([_tried("a", 1.0, 10, refusal="9 of 10 rows teach nothing")]))
    assert "None" in advice(ranked([Tried(base_model="a", parameters=1, result=None, failure="x")]))
