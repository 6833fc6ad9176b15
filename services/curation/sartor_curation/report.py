"""The report on a curation: figures, warnings and samples, as values and as JSON. report_page.py draws it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any

from sartor_curation.policy import Policy
from sartor_curation.steps.excerpts import excerpt
from sartor_curation.steps.item import Item, shown_text, whole_text
from sartor_curation.steps.outcome import SAMPLES, Outcome, Sample
from sartor_curation.steps.splits import Assigned
from sartor_curation.warning_signs import WarningSign, warnings_for

if TYPE_CHECKING:
    from sartor_curation.pipeline import DroppedBy

SCHEMA_VERSION = 1
_BINS = 24


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step read, dropped and changed, in records."""

    name: str
    read: int
    kept: int
    dropped_by_reason: Mapping[str, int]
    changed: Mapping[str, int]
    figures: Mapping[str, Any]
    samples: Sequence[Sample]
    seconds: float

    @classmethod
    def of(cls, name: str, read: int, outcome: Outcome, seconds: float) -> StepReport:
        reasons = Counter(one.reason.value for one in outcome.dropped)
        return cls(
            name=name,
            read=read,
            kept=len(outcome.kept),
            dropped_by_reason=dict(reasons),
            changed=dict(outcome.changed),
            figures=outcome.figures,
            samples=outcome.samples,
            seconds=round(seconds, 3),
        )


@dataclass(frozen=True, slots=True)
class Distribution:
    """Lengths: figures of all, and a histogram with `counts[i]` values in [edges[i], edges[i + 1])."""

    total: int
    least: int
    median: float
    p95: float
    most: int
    mean: float
    edges: Sequence[float]
    counts: Sequence[int]


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One split of what was kept."""

    split: str
    records: int
    clusters: int
    tokens: int


@dataclass(frozen=True, slots=True)
class DropSample:
    """A dropped record as the report shows it; all of them are in the list of dropped records."""

    record_key: str
    reason: str
    detail: str
    excerpt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything the report says. "before" is what was read, "after" what was kept."""

    schema_version: int = SCHEMA_VERSION
    about: Mapping[str, str] = field(default_factory=dict)
    """Names of the curation, its policy, snapshot, base model and run; filled in by whoever asked."""
    policy: Mapping[str, Any]
    read: int
    kept: int
    dropped: int
    changed: int
    dropped_by_reason: Mapping[str, int]
    changed_by_kind: Mapping[str, int]
    steps: Sequence[StepReport]
    splits: Sequence[SplitReport]
    kinds: Mapping[str, Mapping[str, int]]
    languages: Mapping[str, Mapping[str, int]]
    labels: Mapping[str, Mapping[str, int]]
    sources: Mapping[str, Mapping[str, int]]
    characters: Mapping[str, Distribution]
    tokens: Mapping[str, Distribution]
    drop_samples: Sequence[DropSample]
    warnings: Sequence[WarningSign]

    def to_json(self) -> bytes:
        """UTF-8 JSON, for machines and for `report_page.render`."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1).encode()


def make_report(
    policy: Policy,
    read: Sequence[Item],
    assigned: Sequence[Assigned],
    dropped: Sequence[DroppedBy],
    steps: Sequence[StepReport],
) -> Report:
    """The report on a run of the pipeline over `read`."""
    kept = [one.item for one in assigned]
    originals = {item.place: item.record for item in read}
    reasons = Counter(one.dropped.reason.value for one in dropped)
    changed = sum((Counter(step.changed) for step in steps), Counter[str]())
    found: Mapping[str, int] = {step.name: step.figures for step in steps}["languages"]["found"]
    splits = _splits(assigned)
    labelled = [item for item in read if item.record.kind == "labelled"]
    return Report(
        policy=policy.to_spec(),
        read=len(read),
        kept=len(kept),
        dropped=len(dropped),
        changed=sum(_texts_changed(item, originals) for item in kept),
        dropped_by_reason=dict(reasons.most_common()),
        changed_by_kind=dict(changed.most_common()),
        steps=steps,
        splits=splits,
        kinds=_both((item.record.kind for item in read), (item.record.kind for item in kept)),
        languages={"before": dict(found), "after": dict(Counter(item.language for item in kept))},
        labels=_both(
            (item.record.label for item in labelled if item.record.label),
            (item.record.label for item in kept if item.record.kind == "labelled"),
        ),
        sources=_both((item.record.source for item in read), (item.record.source for item in kept)),
        characters=_distributions(
            {"before": [len(whole_text(i.record)) for i in read], "after": [_kept_length(i) for i in kept]}
        ),
        tokens=_distributions({"after": [item.tokens for item in kept]}),
        drop_samples=_drop_samples(dropped),
        warnings=warnings_for(policy, len(read), reasons, steps, splits, assigned),
    )


def _texts_changed(item: Item, originals: Mapping[int, Any]) -> bool:
    original = originals[item.place]
    if item.record.kind == "chat":
        return bool(item.record.messages != original.messages)
    return bool(item.record.text != original.text or item.record.label != original.label)


def _kept_length(item: Item) -> int:
    record = item.record
    if record.kind == "chat":
        return len(whole_text(record))
    return len(record.text) + len(record.label) + bool(record.label)  # without the rendered instruction


def _splits(assigned: Sequence[Assigned]) -> list[SplitReport]:
    reports = []
    for split in ("train", "validation", "test"):
        mine = [one for one in assigned if one.split == split]
        clusters = len({one.cluster for one in mine})
        reports.append(SplitReport(split, len(mine), clusters, sum(one.item.tokens for one in mine)))
    return reports


def _both(before: Iterable[str], after: Iterable[str]) -> dict[str, dict[str, int]]:
    return {"before": dict(Counter(before).most_common()), "after": dict(Counter(after).most_common())}


def _distributions(values: Mapping[str, Sequence[int]]) -> dict[str, Distribution]:
    """Distributions over the same edges, so that two can be drawn over each other. The last bin takes
    outliers."""
    together = [value for some in values.values() for value in some]
    if not together:
        return {}
    top = max(_quantile(together, 0.98), 1.0)
    edges = [round(top * i / _BINS, 1) for i in range(_BINS + 1)]
    return {name: _distribution(some, edges) for name, some in values.items() if some}


def _distribution(values: Sequence[int], edges: Sequence[float]) -> Distribution:
    counts = [0] * _BINS
    for value in values:
        counts[min(int(value / edges[-1] * _BINS), _BINS - 1)] += 1
    return Distribution(
        total=sum(values),
        least=min(values),
        median=round(_quantile(values, 0.5), 1),
        p95=round(_quantile(values, 0.95), 1),
        most=max(values),
        mean=round(fmean(values), 1),
        edges=edges,
        counts=counts,
    )


def _quantile(values: Sequence[int], share: float) -> float:
    if len(values) == 1:
        return float(values[0])
    return quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def _drop_samples(dropped: Sequence[DroppedBy]) -> list[DropSample]:
    shown: Counter[str] = Counter()
    samples: list[DropSample] = []
    for one in dropped:
        reason = one.dropped.reason.value
        shown[reason] += 1
        if shown[reason] <= SAMPLES:
            record = one.dropped.item.record
            samples.append(
                DropSample(record.record_key, reason, one.dropped.detail, excerpt(shown_text(record)))
            )
    return samples
