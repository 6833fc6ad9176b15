"""Step: finds each record's language, and drops records in a language nobody asked for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sartor_text.language import UNSURE, Language, identify

from sartor_curation.steps.item import Item, answer, question
from sartor_curation.steps.outcome import Dropped, Outcome, Reason

_ENOUGH = 600
"""Characters that are looked at: more of a text does not make the model surer, only slower."""


def keep_languages(items: Sequence[Item], languages: Sequence[str]) -> Outcome:
    """Items in one of `languages` (ISO 639-1), question and answer both, or too short to tell; empty keeps
    all.

    `figures` counts the languages found: of all, and of those that stay.
    """
    kept: list[Item] = []
    dropped: list[Dropped] = []
    found: Counter[str] = Counter()
    for item in items:
        sides = _sides(item, languages)
        wrong = [(side, language) for side, language in sides if languages and _is_wrong(language, languages)]
        code = wrong[0][1].code if wrong else _main(item, [language for _, language in sides], languages)
        found[code] += 1
        if wrong:
            side, language = wrong[0]
            sure = f"{language.confidence:.0%} sure"
            detail = f"the {side} is in {language.code} ({sure}), not in {', '.join(languages)}"
            dropped.append(Dropped(replace(item, language=code), Reason.WRONG_LANGUAGE, detail))
        else:
            kept.append(replace(item, language=code))
    return Outcome(kept, dropped, figures={"found": dict(found)})


def _sides(item: Item, languages: Sequence[str]) -> list[tuple[str, Language]]:
    sides = [("question" if item.record.kind == "chat" else "text", question(item.record))]
    if item.record.kind == "chat":
        sides.append(("answer", answer(item.record)))
    return [(side, identify(text[:_ENOUGH], languages)) for side, text in sides]


def _is_wrong(language: Language, languages: Sequence[str]) -> bool:
    return language.code != UNSURE and language.code not in languages


def _main(item: Item, sides: Sequence[Language], languages: Sequence[str]) -> str:
    """The language of the surest side; where none is sure, the one the source says, if it is wanted."""
    best = max(sides, key=lambda language: (language.code != UNSURE, language.confidence))
    if best.code != UNSURE:
        return best.code
    said = item.record.attributes.get("language", "").strip().lower()[:2]
    return said if said and (said in languages or not languages) else UNSURE
