"""Every quantization built and measured through its engine; the smallest inside the allowed loss is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sartor_datasets.reference_outputs import ReferenceOutput, read_reference_outputs
from sartor_platform.errors import FailedPrecondition
from sartor_platform.worker import Report

from sartor_deployment.build.forms import Form
from sartor_deployment.build.quantize import MADE
from sartor_deployment.build.variants import FAULTS, Variant, measured
from sartor_deployment.parity.check import choose as choose_items

_KINDS = ("F16", *MADE)


def smallest(variants: Sequence[Variant], *, allowed_loss: float, top1_agreement: float) -> Variant | None:
    """The smallest that loses at most this much and passes the parity bound; None where none does."""
    good = [each for each in variants if each.good(allowed_loss=allowed_loss, top1_agreement=top1_agreement)]
    return min(good, key=lambda each: each.size_bytes + each.shared_bytes, default=None)


def choose(
    task: Mapping[str, Any], form: Form, report: Report, share: float = 0.6
) -> tuple[str | None, list[Variant]]:
    """Build each quantization of this form and measure it. Returns the chosen one, if any, and the table.

    Task: references (path), max_tokens, allowed_loss, top1_agreement, and as `variants.measured`.

    Args:
        share: of the job that is done before.
    """
    items = reference_items(task)
    bounds = {"allowed_loss": task["allowed_loss"], "top1_agreement": task["top1_agreement"]}
    variants: list[Variant] = []
    best: Variant | None = None
    for number, kind in enumerate(_KINDS):
        done = share + (0.95 - share) * number / len(_KINDS)
        name = kind + form.suffix
        report(done, stage="measure", message=f"building {name} and measuring it through its engine")
        try:
            variants.append(measured(task, name, form.stored(kind), items))
        except FAULTS as error:
            variants.append(Variant(name, 0, error=str(error)[:300]))
        best = smallest(variants, **bounds)
        form.drop_all_but(_kind(best) if best else "")  # one file is kept, not six
    return (_kind(best) if best else None), [replace(each, chosen=each is best) for each in variants]


def reference_items(task: Mapping[str, Any]) -> list[ReferenceOutput]:
    """The evaluation's outputs that variants are measured on."""
    _, references = read_reference_outputs(Path(task["references"]))
    return choose_items(references, task["max_tokens"], task["context_length"])


def none_fits(task: Mapping[str, Any], variants: Sequence[Variant]) -> FailedPrecondition:
    """The error, with each form's loss."""
    table = ", ".join(f"{v.quantization} {v.error or f'{v.loss_gap:+.4f}'}" for v in variants)
    return FailedPrecondition(
        f"no quantization stays within {task['allowed_loss']:g} nats a token of the evaluated model"
        f" and agrees on {task['top1_agreement']:g} of its tokens: {table}",
        reason="NO_QUANTIZATION_FITS",
    )


def _kind(variant: Variant) -> str:
    return variant.quantization.partition("+")[0]
