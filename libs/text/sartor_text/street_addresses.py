"""Finds street addresses and post boxes in German and English text, with the town where it follows."""

import re
from collections.abc import Iterator

_NUMBER = r"\d{1,4}(?:\s?[a-z])?(?:\s?[/–-]\s?\d{1,4}(?:\s?[a-z])?)?(?![\w%])"
_TOWN = r"[A-ZÄÖÜ][\wäöüß-]+(?:[ ](?:am|an[ ]der)[ ]\w+)?"
_PLACE = rf"(?:,?\s+(?:(?:A|D|CH)-)?\d{{4,5}}\s+{_TOWN})"
_WORD = r"[A-ZÄÖÜ][\wäöüß]*(?:-[A-ZÄÖÜ][\wäöüß]*)*"
_KIND = (
    r"(?:[Ss]tra(?:ß|ss)e|[Ss]tr\.|[Ww]eg|[Aa]llee|[Pp]latz|[Gg]asse|[Rr]ing|[Dd]amm|[Uu]fer|[Cc]haussee|[Ss]teig"
    r"|[Pp]fad|[Gg]raben|[Mm]arkt|[Zz]eile|[Pp]romenade|[Ss]tieg|[Tt]wiete|[Kk]ai)"
)
_GERMAN_STREET = re.compile(
    r"(?<!\w)(?:(?:Am|An der|Auf der|Im|In der|Zum|Zur|Unter den)\s+)?"
    r"(?!(?:Am|Im|An|In|Der|Die|Das|Zum|Zur|Den)\s)"
    rf"{_WORD}[ -]?{_KIND}\s+{_NUMBER}{_PLACE}?"
)
_NAMED_AFTER = re.compile(
    rf"(?<!\w)(?:Straße|Strasse|Platz|Allee|Weg|Ring|Ufer)\s(?:des|der|dem)\s(?:\d{{1,2}}\.\s)?{_WORD}\s+"
    rf"{_NUMBER}{_PLACE}?"
)
# "Am", "Zum" and the like begin a street's name where they are capitalised inside a sentence,
# or a town follows.
_NO_PLACE = (
    r"(?!(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
    r"|Mo|Di|Mi|Do|Fr|Sa|So)\w*\s)"
)
_PREPOSITION = (
    r"(?:Am|An[ ]de[nmr]|Auf[ ]de[mnr]|Im|In[ ]de[nmr]|Zu[mr]|Unter[ ]den|Hinter[ ]de[mnr]|Vor[ ]de[mnr])"
)
_GERMAN_PLACE = re.compile(
    rf"(?:(?<=[a-zäöüß,][ ])|(?<=:[ ]))(?:{_PREPOSITION})\s{_NO_PLACE}"
    rf"(?:[A-ZÄÖÜ][\wäöüß]+\s){{1,3}}{_NUMBER}{_PLACE}?"
    rf"|(?<!\w){_PREPOSITION}\s(?:[A-ZÄÖÜ][\wäöüß]+\s){{1,3}}{_NUMBER}{_PLACE}"
)
# Whatever the street is called, a number, a postal code and a town after it say that it is one.
_BEFORE_TOWN = re.compile(
    rf"(?<!\w){_WORD}(?:\s{_WORD}){{0,2}}\s{_NUMBER},\s(?:(?:A|D|CH)-)?\d{{4,5}}\s{_TOWN}"
)
_NO_STREET = re.compile(
    r"(?:exit|room|gate|route|platform|version|raum|zimmer|gleis|error|page|bus|line|no)\.?\s$", re.IGNORECASE
)
_ENGLISH_STREET = re.compile(
    r"(?<![\w.,-])(?:(?:Apt|Apartment|Flat|Unit|Suite)\.?\s*\w{1,4},?\s+)?"
    r"\d{1,5}[A-Za-z]?\s+(?:[NSEW]\.?\s+)?(?:[A-Z][\w'’.-]+\s+){1,3}"
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Court|Ct|Boulevard|Blvd|Close|Crescent|Terrace|Square"
    r"|Gardens|Place|Way|Row|Grove|Mews|Parkway|Pkwy|Highway|Hwy)\b\.?"
    r"(?:,?\s+(?:Apt|Apartment|Flat|Unit|Suite)\.?\s*\w+)?"
    r"(?P<town>,\s*[A-Z][\w'’ -]{2,30}?,?\s+(?:[A-Z]{2}\s+\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2})"
    r"|,\s*[A-Z][\w'’-]{2,30}(?:\s[A-Z][\w'’-]{2,30})?)?(?=\W|$)"
)
_POST_BOX = re.compile(
    rf"(?<!\w)(?:Postfach\s\d[\d ]{{1,9}}\d{_PLACE}?"
    r"|P\.?\s?O\.?\s?Box\s\d{1,6}"
    r"(?:,\s*[A-Z][\w'’ -]{2,30}?,?\s+(?:[A-Z]{2}\s+\d{5}|[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}))?)"
)
_PATTERNS = (_NAMED_AFTER, _GERMAN_STREET, _GERMAN_PLACE, _ENGLISH_STREET, _POST_BOX, _BEFORE_TOWN)
_HAS_NUMBER = re.compile(r"\d")


def addresses_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and canonical form of streets with a number and of post boxes, each with its town."""
    if not _HAS_NUMBER.search(text):
        return
    for pattern in _PATTERNS:
        for match in pattern.finditer(text):
            if _NO_STREET.search(text[max(0, match.start() - 12) : match.start()]):
                continue
            yield match.start(), match.end(), " ".join(match.group().casefold().split())
