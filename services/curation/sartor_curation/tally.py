"""Figures of a shard that add up to those of the snapshot: counts, lengths, and what each step did."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sartor_curation.steps.batches import Rows, only_documents, strings
from sartor_curation.steps.outcome import SAMPLES, Outcome, Sample, Verdict, counts_by_reason

Lengths = NDArray[np.int32]

_LISTED = 50
_LENGTHS = ("characters", "tokens")


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step read, dropped and changed, in records."""

    name: str
    read: int
    kept: int
    dropped_by_reason: Mapping[str, int]
    changed: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    seconds: float = 0.0

    @classmethod
    def of(cls, name: str, read: int, outcome: Outcome | Verdict, seconds: float) -> StepReport:
        changed = dict(outcome.changed) if isinstance(outcome, Outcome) else {}
        samples = list(outcome.samples) if isinstance(outcome, Outcome) else []
        return cls(
            name,
            read,
            read - len(outcome.dropped),
            counts_by_reason(outcome.dropped),
            changed,
            outcome.figures,
            samples,
            round(seconds, 3),
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StepReport:
        """What `asdict` gave."""
        return cls(**{**value, "samples": [Sample(**sample) for sample in value["samples"]]})

    def plus(self, other: StepReport) -> StepReport:
        """Both shards together."""
        samples = list(self.samples)
        have = Counter(sample.kind for sample in samples)
        for sample in other.samples:
            have[sample.kind] += 1
            if have[sample.kind] <= SAMPLES:
                samples.append(sample)
        return StepReport(
            self.name,
            self.read + other.read,
            self.kept + other.kept,
            dict(Counter(self.dropped_by_reason) + Counter(other.dropped_by_reason)),
            dict(Counter(self.changed) + Counter(other.changed)),
            merged(self.figures, other.figures),
            samples,
            round(self.seconds + other.seconds, 3),
        )


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of two shards: numbers add, lists go on, texts stay."""
    result = dict(first)
    for name, value in second.items():
        known = result.get(name)
        if known is None or isinstance(value, str | bool):
            result[name] = value
        elif isinstance(value, Mapping):
            result[name] = merged(known, value)
        elif isinstance(value, list):
            result[name] = (known + value)[:_LISTED]
        elif name not in ("threshold",):
            result[name] = known + value
    return result


@dataclass(slots=True)
class Tally:
    """Counts and lengths of some records."""

    kinds: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    groups: dict[str, Counter[str]] = field(default_factory=dict)
    """Values of the attributes that the policy wants represented."""
    characters: Lengths = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    tokens: Lengths = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    changed: int = 0

    @classmethod
    def of(cls, batch: pa.RecordBatch, attributes: Sequence[str] = (), *, rendered: bool = False) -> Tally:
        """The figures of a batch of ITEM_SCHEMA.

        Args:
            rendered: labelled records have become chats, whose instruction does not count as text.
        """
        kinds = strings(batch, "kind")
        of_all = zip(kinds, strings(batch, "label"), strict=True)
        labels = Counter(label for kind, label in of_all if kind == "labelled" and label)
        groups: dict[str, Counter[str]] = {}
        if attributes:
            carried: Any = batch.column("attributes").to_pylist()
            for name in attributes:
                groups[name] = Counter(dict(pairs).get(name, "") or "(none)" for pairs in carried)
        return cls(
            Counter(kinds),
            labels,
            Counter(strings(batch, "source")),
            Counter(strings(batch, "language")),
            groups,
            _lengths(batch, rendered),
            batch.column("tokens").to_numpy() if rendered else np.zeros(0, dtype=np.int32),
            int(np.count_nonzero(np.asarray(batch.column("changed")))),
        )

    def add(self, other: Tally) -> None:
        """Count those of another shard too."""
        self.kinds += other.kinds
        self.labels += other.labels
        self.sources += other.sources
        self.languages += other.languages
        for name, counts in other.groups.items():
            self.groups[name] = self.groups.get(name, Counter()) + counts
        self.characters = np.concatenate((self.characters, other.characters))
        self.tokens = np.concatenate((self.tokens, other.tokens))
        self.changed += other.changed

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` gives an equal tally back."""
        lengths = {name: b64encode(getattr(self, name).tobytes()).decode() for name in _LENGTHS}
        return {name: lengths.get(name, getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Tally:
        """What `to_json` gave."""
        found: dict[str, Any] = {
            name: Counter(value[name]) for name in ("kinds", "labels", "sources", "languages")
        }
        found |= {name: np.frombuffer(b64decode(value[name]), dtype=np.int32) for name in _LENGTHS}
        groups = {name: Counter(counts) for name, counts in value["groups"].items()}
        return cls(**found, groups=groups, changed=value["changed"])


def changed_rows(before: pa.RecordBatch, after: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which records of `after` say something else than in `before`, where all of them are."""
    first: NDArray[np.int64] = before.column("place").to_numpy()
    where = np.searchsorted(first, after.column("place").to_numpy())
    if len(where) < before.num_rows:
        before = before.take(pa.array(where.astype(np.int64), pa.int64()))
    if only_documents(after):
        differs = (pc.not_equal(before.column(name), after.column(name)) for name in ("text", "label"))
        changed: NDArray[np.bool_] = pc.or_(*differs).to_numpy(zero_copy_only=False)
        return changed
    old, new = Rows.of(before), Rows.of(after)
    labelled = ("labelled", "document")
    return np.fromiter(
        (
            old.written(row) != new.written(row)
            or (new.kinds[row] in labelled and old.labels[row] != new.labels[row])
            for row in range(len(new))
        ),
        dtype=bool,
        count=len(new),
    )


def add_all(tallies: Iterable[Tally]) -> Tally:
    """All shards together."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def _lengths(batch: pa.RecordBatch, rendered: bool) -> Lengths:
    if only_documents(batch):
        columns: list[Any] = [batch.column(name) for name in ("text", "label")]
        text, label = (pc.utf8_length(column).to_numpy() for column in columns)
        lengths: Lengths = text + label + ((text > 0) & (label > 0))
        return lengths
    rows = Rows.of(batch)
    each = (_length(rows, row, rendered) for row in range(len(rows)))
    return np.fromiter(each, dtype=np.int32, count=len(rows))


def _length(rows: Rows, row: int, rendered: bool) -> int:
    if rendered and rows.kinds[row] != "chat":
        label = rows.labels[row]
        return len(rows.texts[row]) + len(label) + bool(label)
    return rows.length(row)
