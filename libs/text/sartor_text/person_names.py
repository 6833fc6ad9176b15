"""Finds names of people and street addresses in German and English, by lists and by what stands around.

The lists are those of the library Faker. What is capitalised is taken for a name only with reason: a title,
an introduction, a signature, or a first name of the list before a family name.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

_NAME = r"[A-ZÀ-ÖØ-ÞŁŚŻİŠŽČ][^\W\d_A-Z]+(?:['’-][A-ZÄÖÜ]?[^\W\d_A-Z]+)?"
_PARTICLE = r"(?:(?:von|van|de|zu|der|den|Mc|O['’])\s?)?"
_FULL = rf"{_NAME}(?:\s+(?:[A-Z]\.\s+)?{_PARTICLE}{_NAME}){{0,2}}"
_TITLED = re.compile(
    rf"\b(?:Herrn?|Frau|Hr\.|Fr\.|Mr\.?|Mrs\.?|Ms\.?|Miss|Mister)\s+(?:(?:Dr|Prof)\.?\s+)*(?P<name>{_PARTICLE}{_FULL})"
    rf"|\b(?:Dr|Prof)\.\s+(?:med\.\s+)?(?P<doctor>{_PARTICLE}{_FULL})"
)
_INTRODUCED = re.compile(
    rf"(?i:\b(?:mein name (?:ist|lautet)|ich hei(?:ß|ss)e|name ist|my name is|my name's|called|signed,?)"
    rf")\s+(?P<name>{_FULL})"
)
_SIGNED = re.compile(
    rf"(?i:\b(?:gr(?:ü|ue)(?:ß|ss)en?|gru(?:ß|ss)|regards|sincerely|cheers|best wishes|yours|thanks))"
    rf"(?:[ \t]*,)?\s*\n+\s*(?P<name>{_FULL})\s*(?:\n|$)"
)
_PAIR = re.compile(rf"(?<![\w-])(?P<first>{_NAME})\s+(?:[A-Z]\.\s+)?(?P<last>{_PARTICLE}{_NAME})(?![\w-])")
_NO_NAME_LIST = """Doktor Professor Präsident Minister Kollege Kollegin Nachbar Support Team Service
    Kundenservice President Right Wrong Universe World Perfect Customer Sir Madam Rechnung
    Bestellung Ihr Sie Und Der Die Das The And But"""
_NO_NAME = frozenset(_NO_NAME_LIST.split())
# First names that are words too: they count only before a family name of the list.
_WORDS_TOO_LIST = """Rose May Will Mark Grace Hope Joy August April June Summer Faith Frank Bill Pat Rich
    Christian Jack Art Gene Sandy Ray Dale Lane Drew Chance Chase Miles Page Dawn Crystal Amber Ruby Jade
    Ernst Kai Wolf Rosa Marina Linda Victoria Florence Paris Sydney Charlotte Austin Madison Jordan
    Georgia Virginia Carolina Ali Carmen Tristan Angel Destiny Trinity Carl Ernest Earnest Randy
    Mercedes Monika Brandy"""
_WORDS_TOO = frozenset(_WORDS_TOO_LIST.split())
_GERMAN_STREET = re.compile(
    r"(?<!\w)(?:(?:Am|An der|Auf der|Im|In der|Zum|Zur|Unter den)\s+)?"
    r"(?!(?:Am|Im|An|In|Der|Die|Das|Zum|Zur|Den)\s)[A-ZÄÖÜ][\wäöüß]*(?:-[A-ZÄÖÜ][\wäöüß]*)*[ -]?"
    r"(?:[Ss]tra(?:ß|ss)e|[Ss]tr\.|[Ww]eg|[Aa]llee|[Pp]latz|[Gg]asse|[Rr]ing|[Dd]amm|[Uu]fer"
    r"|[Cc]haussee|[Ss]teig)"
    r"\s+\d{1,4}(?:\s?[a-z])?(?![\w%])"
    r"(?:,?\s+(?:[AD]-)?\d{4,5}\s+[A-ZÄÖÜ][\wäöüß-]+(?:\s(?:am|an der)\s\w+)?)?"
)
_ENGLISH_STREET = re.compile(
    r"(?<![\w.,-])\d{1,5}[A-Za-z]?\s+(?:[NSEW]\.?\s+)?(?:[A-Z][\w'’.-]+\s+){1,3}"
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Court|Ct|Boulevard|Blvd|Close|Crescent|Terrace|Square"
    r"|Gardens)\b\.?"
    r"(?:,?\s+(?:Apt|Apartment|Flat|Unit|Suite)\.?\s*\w+)?"
    r"(?:,\s*[A-Z][\w'’ -]{2,30}?"
    r"(?:,?\s+(?:[A-Z]{2}\s+\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}))?)?(?=\W|$)"
)
_CAPITALISED = re.compile(r"[A-ZÄÖÜ][a-zäöüß]")


def names_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and canonical form of people's names; forms with the same family name have the same."""
    if not _CAPITALISED.search(text):
        return
    for pattern in (_TITLED, _INTRODUCED, _SIGNED):
        for match in pattern.finditer(text):
            group = next(name for name, value in match.groupdict().items() if value)
            start, words = match.start(group), match[group]
            kept = _leading_names(words)
            if kept:
                yield start, start + len(kept), kept.split()[-1].casefold()
    first_names, last_names = _lists()
    pair = _PAIR.search(text)
    while pair:
        first, last = pair["first"], pair["last"]
        known = first in first_names
        listed = last.split()[-1] in last_names
        if (known and listed) or (
            known and first not in _WORDS_TOO and last not in _NO_NAME and _english(text, pair)
        ):
            yield pair.start(), pair.end(), last.split()[-1].casefold()
            pair = _PAIR.search(text, pair.end())
        else:
            pair = _PAIR.search(text, pair.end("first"))


def addresses_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and canonical form of streets with a number, and the town where it follows."""
    for pattern in (_GERMAN_STREET, _ENGLISH_STREET):
        for match in pattern.finditer(text):
            yield match.start(), match.end(), " ".join(match.group().casefold().split())


def _leading_names(words: str) -> str:
    """The words up to the first that is no name."""
    found = re.split(r"(\s+)", words)
    taken = 0
    for word in found[::2]:
        if word in _NO_NAME:
            break
        taken += 1
    return "".join(found[: max(taken * 2 - 1, 0)])


_GERMAN_WORDS = re.compile(r"\b(?:der|die|das|und|ist|nicht|ich|sie|mit|für|auf|ein|eine|zu)\b")


def _english(text: str, match: re.Match[str]) -> bool:
    """Whether a capitalised word is a name rather than a German noun: so in text without German words."""
    return not _GERMAN_WORDS.search(text) or match["last"][0] in "XYQ"


@lru_cache(maxsize=1)
def _lists() -> tuple[frozenset[str], frozenset[str]]:
    from faker.providers.person import de_DE, en_GB, en_US

    first: set[str] = set()
    last: set[str] = set()
    for provider in (de_DE.Provider, en_GB.Provider, en_US.Provider):
        first.update(provider.first_names)
        last.update(provider.last_names)
    return frozenset(first), frozenset(last)
