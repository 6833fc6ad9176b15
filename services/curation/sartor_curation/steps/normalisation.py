"""Step: every text in one Unicode form, mojibake repaired, markup stripped, white space plain."""

from collections import Counter

import pyarrow as pa
from sartor_text.normalise import Change, normalise

from sartor_curation.steps.batches import Rows, strings, with_texts
from sartor_curation.steps.excerpts import before_and_after
from sartor_curation.steps.outcome import SAMPLES, Outcome, Sample


def normalise_texts(batch: pa.RecordBatch) -> Outcome:
    """All records, their texts normalised; changes are counted by record and kind. The label is only
    stripped."""
    rows = Rows.of(batch)
    keys = strings(batch, "record_key")
    changed: Counter[str] = Counter()
    samples: list[Sample] = []
    for row in range(len(rows)):
        before = rows.written(row)
        results = [normalise(text) for text in before]
        kinds = {change.value for result in results for change in result.changes}
        label = rows.labels[row].strip()
        if label != rows.labels[row]:
            rows.labels[row] = label
            kinds.add(Change.WHITESPACE.value)
        for kind in sorted(kinds):
            changed[kind] += 1
            if changed[kind] <= SAMPLES and kind != Change.WHITESPACE.value:
                touched = next(i for i, result in enumerate(results) if Change(kind) in result.changes)
                pair = before_and_after(before[touched], results[touched].text)
                samples.append(Sample(kind, keys[row], *pair))
        if kinds:
            rows.with_written(row, [result.text for result in results])
    return Outcome(with_texts(batch, rows) if changed else batch, changed=changed, samples=samples)
