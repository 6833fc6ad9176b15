"""Step: replaces e-mail addresses, telephone numbers, IBANs and cards by placeholders, or drops records."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sartor_text.pseudonyms import Masked, mask

from sartor_curation.policy import PiiAction
from sartor_curation.steps.excerpts import before_and_after
from sartor_curation.steps.item import Item, texts_of, with_texts
from sartor_curation.steps.outcome import SAMPLES, Dropped, Outcome, Reason, Sample


def handle_personal_data(items: Sequence[Item], action: PiiAction, regions: Sequence[str]) -> Outcome:
    """Items without personal data (MASK, DROP), or as they were (REPORT).

    Args:
        regions: ISO 3166 regions whose national telephone numbers are looked for.
    `changed` counts records by kind of data; `figures["found"]` counts the findings themselves.
    """
    kept: list[Item] = []
    dropped: list[Dropped] = []
    changed: Counter[str] = Counter()
    found: Counter[str] = Counter()
    samples: list[Sample] = []
    for item in items:
        masked = mask(texts_of(item.record), regions=regions)
        if not masked.changed:
            kept.append(item)
            continue
        found.update({kind.value: count for kind, count in masked.counts.items()})
        kinds = [kind.value for kind in masked.counts]
        if action is PiiAction.DROP:
            dropped.append(Dropped(item, Reason.PERSONAL_DATA, f"contains {_listed(masked)}"))
            continue
        if action is PiiAction.MASK:
            changed.update(kinds)
            samples += [_sample(kind, masked, item) for kind in kinds if changed[kind] <= SAMPLES]
            item = replace(item, record=with_texts(item.record, masked.texts))
        kept.append(item)
    return Outcome(kept, dropped, changed, samples, {"found": dict(found), "action": action.value})


def _listed(masked: Masked) -> str:
    return ", ".join(f"{count} × {kind.value}" for kind, count in masked.counts.items())


def _sample(kind: str, masked: Masked, item: Item) -> Sample:
    mark = f"[{kind}_"
    text = next((i for i, after in enumerate(masked.texts) if mark in after), 0)
    return Sample(kind, item.key, *before_and_after(masked.blotted[text], masked.texts[text]))
