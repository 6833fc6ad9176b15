"""Steps: replace personal data and secrets by placeholders, or drop records that contain some."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
from sartor_text.pii import PERSONAL, PiiKind
from sartor_text.pseudonyms import Masked, mask

from sartor_curation.policy import PiiAction
from sartor_curation.steps.batches import Rows, strings, with_texts
from sartor_curation.steps.excerpts import before_and_after
from sartor_curation.steps.outcome import SAMPLES, Dropped, Outcome, Reason, Sample, without


def handle_personal_data(
    batch: pa.RecordBatch,
    action: PiiAction,
    regions: Sequence[str],
    kinds: frozenset[PiiKind] = PERSONAL,
) -> Outcome:
    """Records without personal data (MASK, DROP), or as they were (REPORT).

    Args:
        regions: ISO 3166 regions whose national telephone numbers are looked for.
        kinds: which kinds of personal data are looked for.
    `changed` counts records by kind of data; `figures["found"]` counts the findings themselves.
    """
    reason = Reason.SECRET if kinds == {PiiKind.SECRET} else Reason.PERSONAL_DATA
    rows = Rows.of(batch)
    keys = strings(batch, "record_key")
    dropped: list[Dropped] = []
    changed: Counter[str] = Counter()
    found: Counter[str] = Counter()
    samples: list[Sample] = []
    for row in range(len(rows)):
        masked = mask(rows.written(row), kinds, regions)
        if not masked.changed:
            continue
        found.update({kind.value: count for kind, count in masked.counts.items()})
        if action is PiiAction.DROP:
            dropped.append(Dropped(row, reason, f"contains {_listed(masked)}"))
        elif action is PiiAction.MASK:
            for kind in (kind.value for kind in masked.counts):
                changed[kind] += 1
                if changed[kind] <= SAMPLES:
                    samples.append(_sample(kind, masked, keys[row]))
            rows.with_written(row, masked.texts)
    after = with_texts(batch, rows) if changed else batch
    figures = {"found": dict(found), "action": action.value}
    return Outcome(without(after, dropped), dropped, changed, samples, figures)


def _listed(masked: Masked) -> str:
    return ", ".join(f"{count} × {kind.value}" for kind, count in masked.counts.items())


def _sample(kind: str, masked: Masked, key: str) -> Sample:
    mark = f"[{kind}_"
    text = next((i for i, after in enumerate(masked.texts) if mark in after), 0)
    return Sample(kind, key, *before_and_after(masked.blotted[text], masked.texts[text]))
