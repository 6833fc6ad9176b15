"""From a model version's files to what its engines are started with. Runs in a job's child."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sartor_platform.worker import Report

from sartor_deployment.build.adapter_gguf import not_shareable, why_not_shareable
from sartor_deployment.build.choose import choose, none_fits
from sartor_deployment.build.choose_form import Compared, Verdict, decide, side_by_side
from sartor_deployment.build.classifier import is_classifier_version, pack
from sartor_deployment.build.forms import Form, Merged, OnSharedBase
from sartor_deployment.build.variants import Variant, as_json
from sartor_deployment.resources import AUTO, WeightsForm


def build(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Make the files in the job's folder.

    Task:
        base: folder of the prepared base model.
        version: folder with the version's files: an adapter in peft's format, or full weights.
        quantization: F16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0 or AUTO (then also what `choose` needs).
        weights_form: MERGED, SHARED_BASE or AUTO (then also what `choose_form` needs).
        bases: files of the base that were built before, by quantization.
        converter: folder of llama.cpp's converter.
    Returns:
        {"weights": the file (of an adapter that stays apart, the adapter's), "base": None or {"quantization",
        "path"} of the file it is added to, "variants": the table, "verdict": None or what
        AUTO decided}.

    Raises:
        FailedPrecondition: ADAPTER_NOT_SHAREABLE, NO_QUANTIZATION_FITS; the adapter does not fit, the
            converter is missing or refuses the model.
    """
    started = time.monotonic()
    version = Path(task["version"])
    form = WeightsForm(task.get("weights_form", WeightsForm.MERGED))
    why = why_not_shareable(version)
    if form is WeightsForm.SHARED_BASE and why:
        raise not_shareable(why)
    if is_classifier_version(version):
        report(0.1, stage="pack", message="it says labels or numbers: packed as it was evaluated")
        weights = pack(Path(task["base"]), version, folder / "weights.gguf")
        report(1.0, stage="upload", size_mb=weights.stat().st_size / 1e6)
        return {"weights": str(weights), "base": None, "variants": [], "verdict": None}
    maker = _Maker(task, folder, report)
    if form is WeightsForm.AUTO:
        made = maker.both() if not why else replace(maker.one(maker.merged), verdict=_cannot(why))
    else:
        made = maker.one(maker.shared if form is WeightsForm.SHARED_BASE else maker.merged)
    report(0.98, stage="upload", build_seconds=time.monotonic() - started)
    return maker.result(made)


@dataclass(frozen=True, slots=True)
class _Made:
    """What was chosen, and what was measured for it."""

    form: Form
    quantization: str
    variants: list[Variant]
    verdict: Verdict | None = None


class _Maker:
    """Both forms of one version, made as far as they are asked for."""

    def __init__(self, task: Mapping[str, Any], folder: Path, report: Report) -> None:
        self._task, self._report = task, report
        self.merged = Merged(task, folder, report)
        self.shared = OnSharedBase(task, folder, report)

    def one(self, form: Form) -> _Made:
        """In the quantization that is asked for, or the best one."""
        wanted = self._task["quantization"]
        if wanted != AUTO:
            self._report(0.3, stage="convert", message=f"making {wanted}{form.suffix}")
            return _Made(form, wanted, [])
        chosen, variants = choose(self._task, form, self._report)
        if chosen is None:
            raise none_fits(self._task, variants)
        return _Made(form, chosen, variants)

    def both(self) -> _Made:
        """Merged beside shared, in the quantization that is asked for or the best merged one."""
        task, wanted = self._task, self._task["quantization"]
        variants: list[Variant] = []
        if wanted == AUTO:
            chosen, variants = choose(task, self.merged, self._report, 0.4)
            if chosen is None:
                return self._only_shared(variants)
            wanted = chosen
        self._report(0.95, stage="measure", message=f"measuring {wanted} merged and on a shared base in turn")
        known = next((each for each in variants if each.chosen), None)
        found = side_by_side(task, wanted, self.merged.stored(wanted), self.shared.stored(wanted), known)
        merged, shared = found.merged, found.shared
        verdict = decide(found, **_bounds(task))
        kept = [each for each in variants if each.quantization != merged.quantization]
        at = next((i for i, each in enumerate(variants) if each.quantization == merged.quantization), 0)
        kept[at:at] = [replace(merged, chosen=not verdict.shared), replace(shared, chosen=verdict.shared)]
        return _Made(self.shared if verdict.shared else self.merged, wanted, kept, verdict)

    def _only_shared(self, merged: list[Variant]) -> _Made:
        chosen, variants = choose(self._task, self.shared, self._report, 0.7)
        best = next((each for each in variants if each.chosen), None)
        if chosen is None or best is None:
            raise none_fits(self._task, [*merged, *variants])
        why = f"none of its quantizations is good enough, {merged[0].error or 'see the table'}"
        nothing = Variant("merged", 0, error=why)
        verdict = decide(Compared(nothing, best), **_bounds(self._task))
        if not verdict.shared:
            raise none_fits(self._task, [*merged, *variants])
        return _Made(self.shared, chosen, [*merged, *variants], verdict)

    def result(self, made: _Made) -> dict[str, Any]:
        """As the worker takes it."""
        stored = made.form.stored(made.quantization)
        base = None
        if stored.adapter is not None:
            base = {"quantization": made.quantization, "path": str(stored.model)}
        return {
            "weights": str(stored.adapter or stored.model),
            "base": base,
            "variants": as_json(made.variants),
            "verdict": asdict(made.verdict) if made.verdict else None,
        }


def _bounds(task: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(task[name]) for name in ("allowed_loss", "loss_margin", "top1_agreement")}


def _cannot(why: str) -> Verdict:
    return Verdict(False, f"merged: it cannot share its base: {why}", {})
