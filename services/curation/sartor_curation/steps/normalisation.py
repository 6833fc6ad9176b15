"""Step: every text in one Unicode form, mojibake repaired, markup stripped, white space plain."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sartor_text.normalise import Change, normalise

from sartor_curation.steps.excerpts import before_and_after
from sartor_curation.steps.item import Item, texts_of, with_texts
from sartor_curation.steps.outcome import SAMPLES, Outcome, Sample


def normalise_texts(items: Sequence[Item]) -> Outcome:
    """All items, their texts normalised; changes are counted by record and kind. The label is only
    stripped."""
    kept: list[Item] = []
    changed: Counter[str] = Counter()
    samples: list[Sample] = []
    for item in items:
        results = [normalise(text) for text in texts_of(item.record)]
        kinds = sorted({change.value for result in results for change in result.changes})
        record = with_texts(item.record, [result.text for result in results]) if kinds else item.record
        if record.label != record.label.strip():
            record = replace(record, label=record.label.strip())
            kinds = sorted({*kinds, Change.WHITESPACE.value})
        for kind in kinds:
            changed[kind] += 1
            if changed[kind] <= SAMPLES and kind != Change.WHITESPACE.value:
                samples.append(_sample(kind, item, [result.text for result in results]))
        kept.append(replace(item, record=record) if kinds else item)
    return Outcome(kept, changed=changed, samples=samples)


def _sample(kind: str, item: Item, after: Sequence[str]) -> Sample:
    pairs = zip(texts_of(item.record), after, strict=True)
    old, new = max(pairs, key=lambda pair: _wants(Change(kind), pair[0], pair[1]))
    return Sample(kind, item.key, *before_and_after(old, new))


def _wants(change: Change, before: str, after: str) -> bool:
    """Whether this text is one that `change` touched."""
    return before != after and change in normalise(before).changes
