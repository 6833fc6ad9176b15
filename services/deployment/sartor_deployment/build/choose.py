"""Every stored form built and measured through its engine; the smallest inside the allowed loss is taken."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sartor_datasets.reference_outputs import ReferenceOutput, read_reference_outputs
from sartor_platform.errors import FailedPrecondition
from sartor_platform.worker import Report

from sartor_deployment.build.quantize import MADE, quantize
from sartor_deployment.parity.check import choose as choose_items
from sartor_deployment.parity.check import measure
from sartor_deployment.resources import EngineSettings
from sartor_deployment.targets.engine_api import EngineApi, EngineRefused
from sartor_deployment.targets.local_llama_cpp import EngineDied, LocalEngine

_LOAD_SECONDS = 300.0
_SPEED_TOKENS = 48
_KINDS = ("F16", *MADE)


@dataclass(frozen=True, slots=True)
class Variant:
    """One stored form, as it was measured. `loss_gap` is above the evaluated model's loss, nats a token."""

    quantization: str
    size_bytes: int
    loss: float = 0.0
    loss_gap: float = 0.0
    top1_agreement: float = 0.0
    tokens_per_second: float = 0.0
    chosen: bool = False
    error: str = ""


def smallest(variants: list[Variant], *, allowed_loss: float, top1_agreement: float) -> Variant | None:
    """The smallest that loses at most this much and passes the parity bound; None where none does."""
    good = [
        each
        for each in variants
        if not each.error and each.loss_gap <= allowed_loss and each.top1_agreement >= top1_agreement
    ]
    return min(good, key=lambda each: each.size_bytes, default=None)


def choose(task: Mapping[str, Any], exact: Path, folder: Path, report: Report) -> tuple[Path, list[Variant]]:
    """Build each form from the sixteen-bit file and measure it. Returns the chosen file and the table.

    Task: references (path), context_length, slots, threads, max_tokens, allowed_loss, top1_agreement.

    Raises:
        FailedPrecondition: NO_QUANTIZATION_FITS, with each form's loss.
    """
    _, references = read_reference_outputs(Path(task["references"]))
    items = choose_items(references, task["max_tokens"], task["context_length"])
    variants: list[Variant] = []
    for number, kind in enumerate(_KINDS):
        share = 0.6 + 0.4 * number / len(_KINDS)
        report(share, stage="measure", message=f"building {kind} and measuring it through its engine")
        path = exact if kind == "F16" else folder / f"{kind}.gguf"
        try:
            if kind != "F16":
                quantize(exact, path, kind)
            variants.append(_measured(task, kind, path, items))
        except (EngineDied, EngineRefused, OSError, ValueError) as error:
            variants.append(
                Variant(kind, path.stat().st_size if path.exists() else 0, error=str(error)[:300])
            )
        kept = smallest(variants, allowed_loss=task["allowed_loss"], top1_agreement=task["top1_agreement"])
        for made in folder.glob("Q*.gguf"):  # one file is kept, not six
            if kept is None or made.stem != kept.quantization:
                made.unlink()
    best = smallest(variants, allowed_loss=task["allowed_loss"], top1_agreement=task["top1_agreement"])
    if best is None:
        table = ", ".join(f"{v.quantization} {v.error or f'{v.loss_gap:+.4f}'}" for v in variants)
        raise FailedPrecondition(
            f"no quantization stays within {task['allowed_loss']:g} nats a token of the evaluated model"
            f" and agrees on {task['top1_agreement']:g} of its tokens: {table}",
            reason="NO_QUANTIZATION_FITS",
        )
    chosen = [replace(each, chosen=each is best) for each in variants]
    return (exact if best.quantization == "F16" else folder / f"{best.quantization}.gguf"), chosen


def _measured(task: Mapping[str, Any], kind: str, path: Path, items: list[ReferenceOutput]) -> Variant:
    settings = EngineSettings(task["context_length"], task["slots"], task["threads"])
    engine = LocalEngine(path, kind, settings)
    try:
        address = engine.wait_for_address(_LOAD_SECONDS)
        if address is None:
            raise EngineDied(f"it did not load its model in {_LOAD_SECONDS:.0f} s")
        api = EngineApi(address.url)
        found = measure(
            api, items, slots=task["slots"], until=time.monotonic() + task["budget_seconds"], report=_Quiet()
        )
        return Variant(
            kind,
            path.stat().st_size,
            found.served_loss,
            found.served_loss - found.reference_loss,
            found.top1_agreement,
            _tokens_per_second(api, items[0]),
        )
    finally:
        engine.stop()


def _tokens_per_second(api: EngineApi, item: ReferenceOutput) -> float:
    room = _SPEED_TOKENS
    told = api.complete(item.prompt_token_ids, tokens=room, ignore_eos=True)
    return float(told.get("timings", {}).get("predicted_per_second", 0.0))


class _Quiet:
    """The whole is reported, not its parts."""

    def __call__(
        self,
        fraction: float,
        *,
        stage: str = "",
        eta_seconds: float | None = None,
        message: str = "",
        **figures: float,
    ) -> None:
        return

    def send(self, message: dict[str, Any]) -> None:
        return


def as_json(variants: list[Variant]) -> list[dict[str, Any]]:
    """The table as the revision's row keeps it."""
    return [asdict(each) for each in variants]
