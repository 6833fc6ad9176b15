"""The report on a curation: figures, warnings and samples, as values and as JSON. report_page.py draws it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sartor_curation.features import SPLITS
from sartor_curation.grades import Grade, grade_of
from sartor_curation.steps.batches import strings
from sartor_curation.steps.outcome import SAMPLES
from sartor_curation.tally import Lengths, StepReport, Tally, add_all
from sartor_curation.warning_signs import WarningSign, warnings_for

if TYPE_CHECKING:
    from sartor_curation.pipeline import Finished

SCHEMA_VERSION = 1
_BINS = 24


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
    grade: Grade
    groups: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Kept records by the values of the attributes that should be represented."""

    def to_json(self) -> bytes:
        """UTF-8 JSON, for machines and for `report_page.render`."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1).encode()


def make_report(finished: Finished) -> Report:
    """The report on a run of the pipeline."""
    policy, steps = finished.policy, list(finished.steps)
    before = add_all(Tally.from_json(note["before"]) for note in finished.notes)
    after, splits, train_labels = _kept(finished)
    reasons = sum((Counter(step.dropped_by_reason) for step in steps), Counter[str]())
    samples = _samples(finished)
    changed = sum((Counter(step.changed) for step in steps), Counter[str]())
    found: Mapping[str, int] = {step.name: step.figures for step in steps}.get("languages", {}).get(
        "found", {}
    )
    read, kept = sum(before.kinds.values()), sum(after.kinds.values())
    warnings = warnings_for(policy, read, reasons, steps, splits, train_labels, after)
    return Report(
        policy=policy.to_spec(),
        read=read,
        kept=kept,
        dropped=sum(reasons.values()),
        changed=after.changed,
        dropped_by_reason=dict(reasons.most_common()),
        changed_by_kind=dict(changed.most_common()),
        steps=steps,
        splits=splits,
        kinds=_both(before.kinds, after.kinds),
        languages={"before": dict(found), "after": dict(after.languages)},
        labels=_both(before.labels, after.labels),
        sources=_both(before.sources, after.sources),
        characters=_distributions({"before": before.characters, "after": after.characters}),
        tokens=_distributions({"after": after.tokens}),
        drop_samples=samples,
        warnings=warnings,
        grade=grade_of(warnings, kept, read),
        groups={name: dict(counts.most_common()) for name, counts in after.groups.items()},
    )


def _samples(finished: Finished) -> list[DropSample]:
    """The first dropped records of each reason."""
    taken: Counter[str] = Counter()
    samples: list[DropSample] = []
    for one in finished.dropped(lambda reason: taken[reason] < SAMPLES):
        taken[one.reason] += 1
        if taken[one.reason] <= SAMPLES:
            samples.append(DropSample(one.record_key, one.reason, one.detail, one.excerpt))
    return samples


def _kept(finished: Finished) -> tuple[Tally, list[SplitReport], Counter[str]]:
    """Figures of what was kept, of each split, and of the labels that are trained on."""
    total = Tally()
    records, tokens, labels = Counter[str](), Counter[str](), Counter[str]()
    for batch in finished.batches():
        total.add(Tally.of(batch, finished.policy.represented, rendered=True))
        for split in SPLITS[1:]:
            mine = batch.filter(pc.equal(batch.column("split"), pa.scalar(split)))
            records[split] += mine.num_rows
            tokens[split] += pc.sum(mine.column("tokens"), min_count=0).as_py()
            if split == "train":
                of_all = zip(strings(mine, "kind"), strings(mine, "label"), strict=True)
                labels.update(label for kind, label in of_all if kind == "labelled")
    splits = [
        SplitReport(split, records[split], finished.assigned.distinct_clusters(code), tokens[split])
        for code, split in enumerate(SPLITS[1:], 1)
    ]
    return total, splits, labels


def _both(before: Counter[str], after: Counter[str]) -> dict[str, dict[str, int]]:
    return {"before": dict(before.most_common()), "after": dict(after.most_common())}


def _distributions(values: Mapping[str, Lengths]) -> dict[str, Distribution]:
    """Distributions over the same edges, so that two can be drawn over each other. The last bin takes
    outliers."""
    together = np.concatenate(list(values.values()))
    if not len(together):
        return {}
    top = max(_quantile(together, 0.98), 1.0)
    edges = [round(top * i / _BINS, 1) for i in range(_BINS + 1)]
    return {name: _distribution(some, edges) for name, some in values.items() if len(some)}


def _distribution(values: Lengths, edges: Sequence[float]) -> Distribution:
    bins = np.minimum((values / edges[-1] * _BINS).astype(np.int64), _BINS - 1)
    return Distribution(
        total=int(values.sum(dtype=np.int64)),
        least=int(values.min()),
        median=round(_quantile(values, 0.5), 1),
        p95=round(_quantile(values, 0.95), 1),
        most=int(values.max()),
        mean=round(float(values.mean()), 1),
        edges=edges,
        counts=np.bincount(bins, minlength=_BINS).tolist(),
    )


def _quantile(values: Lengths, share: float) -> float:
    return float(np.quantile(values, share))
