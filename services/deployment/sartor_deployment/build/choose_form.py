"""Merged, or an adapter on a shared base? Both measured in turn through their engines, on the same machine.

The rule: the adapter stays apart where it is as good (inside `allowed_loss` and the parity bounds) and writes
at least LEAST_SPEED of the merged form's tokens a second; or where the merged form does not run here, for
example because its weights do not fit beside what other engines have mapped.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from sartor_platform.errors import FailedPrecondition

from sartor_deployment.build.choose import reference_items
from sartor_deployment.build.forms import Stored
from sartor_deployment.build.variants import FAULTS, Variant, engine, measured, speeds

LEAST_SPEED = 0.9
"""An endpoint gives up at most a tenth of its answers a second for sharing its base."""
_ROUNDS, _REQUESTS = 3, 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the base is shared, why in a sentence, and the numbers."""

    shared: bool
    message: str
    figures: Mapping[str, float]


def side_by_side(
    task: Mapping[str, Any], quantization: str, merged: Stored, shared: Stored, known: Variant | None = None
) -> tuple[Variant, Variant]:
    """Both forms of one quantization, measured; their speed in turns, so that a slow moment meets both.

    Args:
        known: the merged form's row, where it was measured before.
    """
    items = reference_items(task)
    forms = ((quantization, merged), (f"{quantization}+adapter", shared))
    found = [known or measured(task, *forms[0], items), measured(task, *forms[1], items)]
    if any(each.error for each in found):
        return found[0], found[1]
    told: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):
        for (name, stored), kept in zip(forms, told, strict=True):
            with suppress(*FAULTS, FailedPrecondition), engine(task, name, stored) as api:
                speeds(api, items[0], 1)  # pages and caches are warm afterwards
                kept += speeds(api, items[0], _REQUESTS)
    both = [
        replace(each, tokens_per_second=statistics.median(kept) if kept else each.tokens_per_second)
        for each, kept in zip(found, told, strict=True)
    ]
    return both[0], both[1]


def decide(
    merged: Variant | None, shared: Variant, *, allowed_loss: float, loss_margin: float, top1_agreement: float
) -> Verdict:
    """By the rule above. `merged` is None where no merged form was good enough to be compared."""
    speed = (
        shared.tokens_per_second / merged.tokens_per_second if merged and merged.tokens_per_second else 0.0
    )
    figures = {
        "speed_of_merged": speed,
        "least_speed": LEAST_SPEED,
        "loss_gap": shared.loss_gap,
        "top1_agreement": shared.top1_agreement,
        "one_more_endpoint_bytes": float(shared.size_bytes),
        "merged_bytes": float(merged.size_bytes if merged else 0),
        "shared_bytes": float(shared.shared_bytes),
    }
    name = shared.quantization
    bound = min(allowed_loss, loss_margin)
    if shared.error:
        return Verdict(False, f"merged: {name} does not run: {shared.error}", figures)
    if abs(shared.loss_gap) > loss_margin or not shared.good(
        allowed_loss=bound, top1_agreement=top1_agreement
    ):
        text = (
            f"merged: {name} is {shared.loss_gap:+.4f} nats a token from the evaluated model (allowed"
            f" {bound:g}) and agrees on {shared.top1_agreement:.4f} of its tokens (at least"
            f" {top1_agreement:g})"
        )
        return Verdict(False, text, figures)
    if merged is None or merged.error:
        why = merged.error if merged else "no merged form is good enough"
        return Verdict(True, f"on a shared base: merged it does not run here: {why}", figures)
    text = (
        f"{name} writes {shared.tokens_per_second:.1f} tokens a second, merged"
        f" {merged.tokens_per_second:.1f}: {speed:.2f} (at least {LEAST_SPEED:g} to share); one more"
        f" endpoint costs {shared.size_bytes / 1e6:.1f} MB, merged {merged.size_bytes / 1e6:.1f} MB"
    )
    fast = speed >= LEAST_SPEED
    return Verdict(fast, f"{'on a shared base' if fast else 'merged'}: {text}", figures)
