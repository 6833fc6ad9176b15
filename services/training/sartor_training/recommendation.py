"""Ranking base models by what was measured of them: the loss after a trial first, then what serving costs.
Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Losses this near are equal: a trial of seconds says no more.
_EQUAL_LOSS = 0.02
_LITTLE_DATA_ROWS = 50
_LITTLE_GAIN = 0.03
_PROMPT = "a good prompt with examples may do without training, so evaluate that first."


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A base model after its trial. `result` is the quote's, or None where it failed for the reason in
    `failure`."""

    base_model: str
    parameters: int
    result: Mapping[str, Any] | None
    failure: str = ""

    @property
    def loss(self) -> float:
        """After the trial."""
        return float(self.result["trial"]["loss"]) if self.result else float("inf")

    @property
    def initial_loss(self) -> float:
        """Before it."""
        return float(self.result["trial"]["initial_loss"]) if self.result else float("inf")

    @property
    def serving_operations(self) -> float:
        """For a character of text."""
        share = float(self.result["trial"]["tokens_per_character"]) if self.result else 1.0
        return 2.0 * self.parameters * share


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A base model in its place, with the reasons."""

    tried: Tried
    rank: int
    reasons: tuple[str, ...]


def ranked(all_tried: Sequence[Tried]) -> list[Ranked]:
    """Best first: of those whose losses are within two percent of the best of them, the cheapest to serve."""
    left = sorted(all_tried, key=lambda each: (each.loss, each.serving_operations))
    order: list[Tried] = []
    while left:
        near = [each for each in left if each.loss <= left[0].loss * (1 + _EQUAL_LOSS)]
        chosen = min(near, key=lambda each: each.serving_operations) if left[0].result else left[0]
        order.append(chosen)
        left.remove(chosen)
    best = order[0] if order else None
    return [
        Ranked(tried=tried, rank=rank, reasons=_reasons(tried, best))
        for rank, tried in enumerate(order, start=1)
    ]


def advice(order: Sequence[Ranked]) -> str:
    """What to do, in a sentence or two."""
    first = order[0].tried if order else None
    if first is None or first.result is None:
        return "None of the base models could be tried; their reasons say why."
    told = f"Take {first.base_model}."
    audit = first.result["audit"]
    if audit["refusal"]:
        return f"Do not train on this data yet: {audit['refusal']}"
    if audit["rows"] < _LITTLE_DATA_ROWS:
        return f"{told} {audit['rows']} rows are few: {_PROMPT}"
    if first.initial_loss - first.loss < _LITTLE_GAIN * first.initial_loss:
        return f"{told} The trial hardly lowered its loss: {_PROMPT}"
    return told


def _reasons(tried: Tried, best: Tried | None) -> tuple[str, ...]:
    if tried.result is None:
        return ()
    gain = 1 - tried.loss / tried.initial_loss if tried.initial_loss else 0.0
    found = [f"loss {tried.loss:.4g} after the trial, {gain:.0%} lower than before"]
    if best is not None and best is not tried and best.result is not None:
        found.append(f"{tried.loss / best.loss:.3g} times the loss of the first")
        found.append(f"{tried.serving_operations / best.serving_operations:.3g} times its cost of serving")
    seconds = float(tried.result["seconds"])
    memory = tried.result["peak_memory_bytes"] / 2**30
    found.append(f"the whole training takes about {seconds / 60:.1f} minutes and {memory:.1f} GiB")
    return tuple(found)
