"""Robustness: the same question with typing errors, in another case, with its choices in another order,
worded another way. The same variations each time, so that models compare.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sartor_datasets.records import Message

from sartor_evaluation.items import Item
from sartor_evaluation.suites import UnusableItems

KINDS = ("typos", "case", "choice_order", "wording")
_WORD = re.compile(r"[^\W\d_]{4,}")
_TYPOS_SHARE = 0.12
_WORDINGS = {
    "de": ("Bitte beantworte: {}", "{} Danke im Voraus!", "Frage: {}\nAntwort:"),
    "en": ("Please answer this: {}", "{} Thanks in advance!", "Question: {}\nAnswer:"),
}
_PICK = {"de": "Antworte mit genau einem davon:", "en": "Answer with exactly one of:"}


def varied(items: Sequence[Item], kinds: Sequence[str]) -> list[Item]:
    """Each item followed by its variations, all of one family and one cluster.

    Raises:
        UnusableItems: items of a task file, which say every character of their prompt.
    """
    if any(item.context is not None for item in items):
        raise UnusableItems("variations change prompts, but a task file says every character of them")
    found = []
    for item in items:
        own = replace(item, family=item.item_id, attributes={**item.attributes, "variation": "none"})
        found.append(own)
        for kind in KINDS:
            if kind in kinds:
                changes = [one for one in _MAKE[kind](item) if one != item]
                found += [_member(own, kind, number, one) for number, one in enumerate(changes, start=1)]
    return found


def _member(own: Item, kind: str, number: int, changed: Item) -> Item:
    return replace(
        changed,
        item_id=f"{own.item_id}~{kind}-{number}",
        family=own.family,
        cluster=own.cluster or own.item_id,
        attributes={**own.attributes, "variation": kind},
    )


def _typos(item: Item) -> Iterator[Item]:
    """Swapped, lost and doubled letters in about an eighth of the longer words, at least in one."""
    chance = random.Random(hashlib.blake2b(item.item_id.encode(), digest_size=8).digest())
    places = list(_WORD.finditer(item.question))
    if not places:
        return
    text = item.question
    count = max(round(len(places) * _TYPOS_SHARE), 1)
    for place in sorted(chance.sample(places, count), key=lambda one: -one.start()):
        word, at = place.group(), chance.randrange(1, len(place.group()) - 1)
        wrong = chance.choice(
            (
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
            )
        )
        text = text[: place.start()] + wrong + text[place.end() :]
    yield _asking(item, text)


def _case(item: Item) -> Iterator[Item]:
    yield _asking(item, item.question.lower())
    yield _asking(item, item.question.upper())


def _choice_order(item: Item) -> Iterator[Item]:
    """The choices shown with the question, forwards and backwards."""
    if len(item.choices) < 2:
        return
    pick = _PICK[_known(item.language)]
    for choices in (item.choices, tuple(reversed(item.choices))):
        listed = "\n".join(f"- {choice}" for choice in choices)
        yield replace(_asking(item, f"{item.question}\n\n{pick}\n{listed}"), choices=choices, choice_sizes=())


def _wording(item: Item) -> Iterator[Item]:
    for frame in _WORDINGS[_known(item.language)]:
        yield _asking(item, frame.format(item.question))


def _known(language: str) -> str:
    return "de" if language.startswith("de") else "en"


def _asking(item: Item, question: str) -> Item:
    """The item with another last question."""
    messages = list(item.messages)
    last = max((n for n, message in enumerate(messages) if message.role == "user"), default=len(messages) - 1)
    messages[last] = Message(messages[last].role, question)
    return replace(item, messages=tuple(messages))


_MAKE: dict[str, Callable[[Item], Iterator[Item]]] = {
    "typos": _typos,
    "case": _case,
    "choice_order": _choice_order,
    "wording": _wording,
}
