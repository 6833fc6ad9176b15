"""Merged, or an adapter on a shared base? Both measured in turn through their engines, on the same machine.

The rule: the adapter stays apart where it is as good (inside `allowed_loss` and the parity bounds) and gives
at least LEAST_SPEED of the merged form's answers in the same time; or where the merged form does not run
here, for example because its weights do not fit beside what other engines have mapped.
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
from sartor_deployment.build.variants import FAULTS, Variant, engine, measured
from sartor_deployment.parity.speed import Pace, pace

LEAST_SPEED = 0.9
"""An endpoint gives up at most a tenth of its answers a second for sharing its base."""
_ROUNDS, _ITEMS = 3, 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the base is shared, why in a sentence, and the numbers."""

    shared: bool
    message: str
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Compared:
    """Both rows of the table, and how long the same requests took with each form (0: not measured)."""

    merged: Variant
    shared: Variant
    merged_seconds: float = 0.0
    shared_seconds: float = 0.0


def side_by_side(
    task: Mapping[str, Any], quantization: str, merged: Stored, shared: Stored, known: Variant | None = None
) -> Compared:
    """Both forms of one quantization, measured; their time in turns, so that a slow moment meets both.

    Args:
        known: the merged form's row, where it was measured before.
    """
    items = reference_items(task)
    forms = ((quantization, merged), (f"{quantization}+adapter", shared))
    rows = Compared(known or measured(task, *forms[0], items), measured(task, *forms[1], items))
    if rows.merged.error or rows.shared.error:
        return rows
    taken: tuple[list[list[Pace]], ...] = ([], [])
    for _ in range(_ROUNDS):
        for (name, stored), rounds in zip(forms, taken, strict=True):
            with suppress(*FAULTS, FailedPrecondition), engine(task, name, stored) as api:
                pace(api, items[0])  # pages and caches are warm afterwards
                rounds.append([pace(api, item, len(item.answer_token_ids)) for item in items[:_ITEMS]])
    if not all(taken):
        return rows
    return Compared(
        _with_pace(rows.merged, taken[0]),
        _with_pace(rows.shared, taken[1]),
        *(min(sum(each.seconds for each in told) for told in rounds) for rounds in taken),
    )


def _with_pace(row: Variant, rounds: list[list[Pace]]) -> Variant:
    told = [each.tokens_per_second for paces in rounds for each in paces]
    return replace(row, tokens_per_second=statistics.median(told))


def decide(found: Compared, *, allowed_loss: float, loss_margin: float, top1_agreement: float) -> Verdict:
    """By the rule above."""
    merged, shared = found.merged, found.shared
    speed = found.merged_seconds / found.shared_seconds if found.shared_seconds else 0.0
    figures = {
        "speed_of_merged": speed,
        "least_speed": LEAST_SPEED,
        "merged_seconds": found.merged_seconds,
        "shared_seconds": found.shared_seconds,
        "loss_gap": shared.loss_gap,
        "top1_agreement": shared.top1_agreement,
        "one_more_endpoint_bytes": float(shared.size_bytes),
        "merged_bytes": float(merged.size_bytes),
        "shared_bytes": float(shared.shared_bytes),
    }
    name, bound = shared.quantization, min(allowed_loss, loss_margin)
    if shared.error:
        return Verdict(False, f"merged: {name} does not run: {shared.error}", figures)
    good = shared.good(allowed_loss=bound, top1_agreement=top1_agreement)
    if abs(shared.loss_gap) > loss_margin or not good:
        text = (
            f"merged: {name} is {shared.loss_gap:+.4f} nats a token from the evaluated model (allowed"
            f" {bound:g}) and agrees on {shared.top1_agreement:.4f} of its tokens (at least"
            f" {top1_agreement:g})"
        )
        return Verdict(False, text, figures)
    if merged.error:
        return Verdict(True, f"on a shared base: merged it does not run here: {merged.error}", figures)
    text = (
        f"{name} gives {speed:.2f} of the merged form's answers in the same time (at least"
        f" {LEAST_SPEED:g} to share); one more endpoint costs {shared.size_bytes / 1e6:.1f} MB, merged"
        f" {merged.size_bytes / 1e6:.1f} MB"
    )
    fast = speed >= LEAST_SPEED
    return Verdict(fast, f"{'on a shared base' if fast else 'merged'}: {text}", figures)
