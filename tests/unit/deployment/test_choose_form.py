"""Merged or on a shared base: the rule by which the figures decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sartor_deployment.build.choose_form import LEAST_SPEED, Compared, decide
from sartor_deployment.build.variants import Variant

MERGED = Variant("Q8_0", 100_000_000, loss_gap=0.001, top1_agreement=0.99, tokens_per_second=100.0)
SHARED = Variant(
    "Q8_0+adapter",
    5_000_000,
    loss_gap=0.002,
    top1_agreement=0.98,
    tokens_per_second=95.0,
    shared_bytes=100_000_000,
)
BOUNDS = {"allowed_loss": 0.02, "loss_margin": 0.05, "top1_agreement": 0.97}


@pytest.mark.parametrize(
    ("change", "shared", "told"),
    [
        ({}, True, "0.95"),
        ({"loss_gap": 0.03}, False, "+0.0300 nats a token"),
        ({"loss_gap": -0.06}, False, "-0.0600 nats a token"),
        ({"top1_agreement": 0.96}, False, "0.9600 of its tokens"),
        ({"error": "it crashed"}, False, "it crashed"),
    ],
)
def test_a_base_is_shared_where_that_is_as_good_and_nearly_as_fast(
    change: dict[str, Any], shared: bool, told: str
) -> None:
    """The sentence has the number that decided; the figures have them all."""
    verdict = decide(Compared(MERGED, replace(SHARED, **change), 0.95, 1.0), **BOUNDS)
    assert verdict.shared is shared
    assert told in verdict.message
    assert verdict.message.startswith("on a shared base" if shared else "merged")
    assert verdict.figures["one_more_endpoint_bytes"] == 5_000_000
    assert verdict.figures["merged_bytes"] == 100_000_000


@pytest.mark.parametrize(("seconds", "shared"), [(0.99 / LEAST_SPEED, True), (1.27, False), (0.0, False)])
def test_what_counts_is_the_time_of_whole_answers(seconds: float, shared: bool) -> None:
    """At least nine of ten in the same time; what could not be timed is merged."""
    verdict = decide(Compared(MERGED, SHARED, 1.0 if seconds else 0.0, seconds), **BOUNDS)
    assert verdict.shared is shared
    assert "at least 0.9 to share" in verdict.message


def test_a_slow_adapter_is_better_than_merged_weights_without_memory() -> None:
    """Then speed does not count, but what is served must still be the evaluated model."""
    full = replace(MERGED, tokens_per_second=0.0, error="ENGINE_NEEDS_MEMORY: 100 MB")
    verdict = decide(Compared(full, SHARED), **BOUNDS)
    assert verdict.shared
    assert "ENGINE_NEEDS_MEMORY" in verdict.message
    assert not decide(Compared(full, replace(SHARED, top1_agreement=0.5)), **BOUNDS).shared
