"""Step: finds each record's language, and drops records in a language nobody asked for."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from sartor_text.language import UNSURE, Language, identify

from sartor_curation.steps.batches import Rows, with_columns
from sartor_curation.steps.outcome import Dropped, Outcome, Reason, without

_ENOUGH = 600
"""Characters that are looked at: more of a text does not make the model surer, only slower."""


def keep_languages(batch: pa.RecordBatch, languages: Sequence[str]) -> Outcome:
    """Records in one of `languages` (ISO 639-1), question and answer both, or too short to tell; empty keeps
    all.

    `figures` counts the languages found in all of them.
    """
    rows = Rows.of(batch)
    attributes: Any = batch.column("attributes")
    said = [dict(pairs).get("language", "") for pairs in attributes.to_pylist()]
    codes: list[str] = []
    dropped: list[Dropped] = []
    for row in range(len(rows)):
        sides = _sides(rows, row, languages)
        wrong = [(side, language) for side, language in sides if languages and _is_wrong(language, languages)]
        if wrong:
            side, language = wrong[0]
            detail = (
                f"the {side} is in {language.code} ({language.confidence:.0%} sure), "
                f"not in {', '.join(languages)}"
            )
            dropped.append(Dropped(row, Reason.WRONG_LANGUAGE, detail))
            codes.append(language.code)
        else:
            codes.append(_main([language for _, language in sides], languages, said[row]))
    known = with_columns(batch, {"language": pa.array(codes, pa.string())})
    return Outcome(without(known, dropped), dropped, figures={"found": dict(Counter(codes))})


def _sides(rows: Rows, row: int, languages: Sequence[str]) -> list[tuple[str, Language]]:
    chat = rows.kinds[row] in ("chat", "preference")
    sides = [("question" if chat else "text", rows.question(row))]
    if chat:
        sides.append(("answer", rows.answer(row)))
    return [(side, identify(text[:_ENOUGH], languages)) for side, text in sides]


def _is_wrong(language: Language, languages: Sequence[str]) -> bool:
    return language.code != UNSURE and language.code not in languages


def _main(sides: Sequence[Language], languages: Sequence[str], said: str) -> str:
    """The language of the surest side; where none is sure, the one the source says, if it is wanted."""
    best = max(sides, key=lambda language: (language.code != UNSURE, language.confidence))
    if best.code != UNSURE:
        return best.code
    said = said.strip().lower()[:2]
    return said if said and (said in languages or not languages) else UNSURE
