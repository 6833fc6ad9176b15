"""Finds names of people in German and English text, by lists and by what stands around.

The lists are those of the library Faker. What is capitalised is taken for a name only with reason: a title,
an introduction, a greeting or signature, a field of a form that holds one, or a first name of the lists
before a family name.
"""

import re
from collections.abc import Iterator

from sartor_text.person_name_lists import NO_NAME, WORDS_TOO, is_family_name, is_first_name, lists

_NAME = r"[A-ZÀ-ÖØ-ÞŁŚŻİŞŠŽČĆĐĞ][^\W\d_A-Z]+(?:(?:['’-]|(?<=Mac)|(?<=Mc))[A-ZÄÖÜ]?[^\W\d_A-Z]+)?"
_PARTICLE = r"(?:(?:von|van|de|zu|der|den|Mc|O['’])\s?)?"
_OWN = r"(?:(?:von|van|de|zu|Mc|O['’])\s?(?:(?:der|den|de)\s)?)?"
_FULL = rf"{_NAME}(?:\s+(?:[A-Z]\.\s+)?{_PARTICLE}{_NAME}){{0,2}}"
_BOTH = rf"{_NAME}(?:\s+(?:[A-Z]\.\s+)?{_PARTICLE}{_NAME}){{1,2}}"
_TITLED = re.compile(
    r"\b(?:Herrn?|Frau|Hr\.|Fr\.|Familie|Fam\.|Eheleute|Mr\.?|Mrs\.?|Ms\.?|Miss|Mister)\s+"
    rf"(?:(?:Dr|Prof)\.?\s+)*(?P<name>{_OWN}{_FULL})"
    rf"|\b(?:Dr|Prof)\.\s+(?:med\.\s+)?(?P<doctor>{_OWN}{_FULL})"
)
_INTRODUCED = re.compile(
    rf"(?i:\b(?:mein name (?:ist|lautet)|ich hei(?:ß|ss)e|name ist|my name is|my name's|called|signed,?)"
    rf")\s+(?P<name>{_FULL})"
)
_SIGNED = re.compile(
    r"(?i:\b(?:gr(?:ü|ue)(?:ß|ss)en?|gru(?:ß|ss)|regards|sincerely|cheers|best wishes|yours(?: \w+)?|thanks"
    rf"|lg|vg|mfg|best))(?:[ \t]*,)?\s*\n+\s*(?P<name>{_FULL})\s*(?:\n|$)"
)
_GREETED = re.compile(
    r"(?:^|\n|(?<=[.!?]\s))\s*"
    r"(?:(?i:hallo|hi|hey|hello|moin|servus|liebe[rs]?|dear|guten (?:tag|morgen|abend)))\s+"
    rf"(?P<name>{_NAME}(?:\s+{_NAME})?)(?=\s*[,!\n])"
)
# Fields of forms and headers that hold names, one or several.
_FIELD = re.compile(
    r"(?:(?i:\b(?:teilnehm(?:er|ende|erinnen)|anwesend|attendees|participants|present|name|"
    r"(?:customer|client|patient|employee|full|contact|account holder|kontakt) name|"
    r"vorname ?(?:/|und) ?(?:nach|zu)name|"
    r"(?:nach|zu|vor)name|patient(?:in)?|kund(?:e|in)|mieter(?:in)?|mandant(?:in)?|unterzeichner(?:in)?|"
    r"ansprechpartner(?:in)?|sachbearbeiter(?:in)?|absender|empfänger(?:in)?|customer|tenant|applicant|"
    r"claimant|plaintiff|employee)\s*:)|\b(?:gez\.|i\.\s?[AV]\.|ppa\.|sgd\.))\s*"
    rf"(?P<names>{_BOTH}(?:(?:\s*,|\s+und|\s+and|\s*&)\s+{_BOTH})*)"
)
_MAIL_HEADER = re.compile(rf"(?P<name>{_BOTH})\"?\s*[<(\[]\s*[\w.+%-]+@")
# Words for people, after which a listed first name, or two words that are no phrase, are a name.
_ROLE = re.compile(
    r"\b(?:[Kk]und(?:e|in|en)|[Zz]eug(?:e|in|en)|[Pp]atient(?:in|en)?|[Mm]ieter(?:in)?|"
    r"[Kk]olleg(?:e|in|en)|[Nn]achbar(?:in|n)?|"
    r"[Aa]nsprechpartner(?:in)?(?:\sist)?|[Ff]ahrer(?:in)?|[Tt]echniker(?:in)?|[Cc]hef(?:in)?|[Ss]ohn|"
    r"[Tt]ochter|[Bb]ruder|"
    r"[Ss]chwester|[Mm]utter|[Vv]ater|[Mm]ann|[Ff]reund(?:in)?|[Rr]ückfragen\san|[Bb]estellt\shat|"
    r"[Bb]ezahlt\shat|"
    r"claimant|defendant|witness(?:\sstatement\sof)?|patient|customer|client|tenant|employee|manager|colleague|"
    r"technician|"
    r"husband|wife|son|daughter|brother|sister|mother|father|friend|neighbou?r|boss|assistant|driver|nurse|"
    r"assigned\sto|ask\sfor|cc|attn\.?|on\sbehalf\sof|spoke\s(?:to|with)|met\swith|signed\sby|by|von|an|from"
    r"|to),?\s+"
    rf"(?P<name>{_FULL})"
)
# One who speaks, is spoken of or owns: a first name of the lists is enough here.
_TOLD = re.compile(
    r"(?m:^)(?:\[?\d{1,2}:\d{2}(?::\d{2})?\]?\s+)?"
    rf"(?P<speaker>{_NAME}(?:\s{_NAME})?):\s"
    rf"|(?P<subject>{_NAME}(?:\s{_NAME})?)\s(?:wrote|said|says|asked|replied|called|told|schrieb|schreibt|sagte|"
    r"sagt|meinte|meint|fragte|fragt|rief)\b"
    r"|(?i:\b(?:this is|tell|told|ask|hier ist|hier schreibt|hier spricht|frag|frage|sag|grüße von|grüße an"
    rf"|grüß))\s(?P<object>{_NAME}(?:\s{_NAME})?)"
    rf"|(?<![\w-])(?P<owner>{_NAME}(?:\s{_NAME})?)['’]s?(?!\w)"
    rf"|(?<![\w-])(?P<aged>{_BOTH}),\s(?:\d{{2}}|aged\s\d{{2}})(?=,|\s?(?:years|Jahre))"
)
_NO_PERSON = re.compile(r"(?:[Mm]odel|Modell|Serie|Typ|Marke|[Bb]rand|[Ss]ong|Film)\s$")
_INITIAL = re.compile(rf"(?<![\w.-])[A-ZÄÖÜ]\.\s?(?:[A-ZÄÖÜ]\.\s?)?(?P<last>{_NAME})(?![\w-])")
_PAIR = re.compile(rf"(?<![\w-])(?P<first>{_NAME})\s+(?:[A-Z]\.\s+)?(?P<last>{_PARTICLE}{_NAME})(?![\w-])")
_TURNED = re.compile(rf"(?<![\w-])(?P<last>{_NAME}),\s(?P<first>{_NAME})(?![\w-])")
# What ends like this is a German noun and no family name, or an adjective.
_NOUN = re.compile(
    r"(?:ung|heit|keit|schaft|tion|tät|nis|ismus|gerät|karte|nummer|konto|vertrag|rechnung|adresse|urlaub"
    r"|fieber|termin|straße|strasse|platz|weg|allee)$"
)
_CAPITALISED = re.compile(r"[A-ZÄÖÜ][a-zäöüß]")


def names_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and canonical form of people's names; forms with the same family name have the same."""
    if not _CAPITALISED.search(text):
        return
    for pattern in (_TITLED, _INTRODUCED, _SIGNED, _GREETED, _MAIL_HEADER):
        for match in pattern.finditer(text):
            group = next(name for name, value in match.groupdict().items() if value)
            yield from _kept(match.start(group), match[group])
    for match in _FIELD.finditer(text):
        for one in re.finditer(_BOTH, match["names"]):
            yield from _kept(match.start("names") + one.start(), one.group(), least=2)
    yield from _after_roles(text)
    yield from _told(text)
    yield from _pairs(text)
    for match in _INITIAL.finditer(text):
        if is_family_name(match["last"]) and match["last"] not in NO_NAME:
            yield match.start(), match.end(), match["last"].casefold()
    close = lists().close
    for match in _TURNED.finditer(text):
        first, last = match["first"], match["last"]
        if first in close and first not in WORDS_TOO and is_family_name(last):
            yield match.start(), match.end(), last.casefold()


def _pairs(text: str) -> Iterator[tuple[int, int, str]]:
    """A first name of the lists and what may be a family name."""
    pair = _PAIR.search(text)
    while pair:
        if _is_person(text, pair):
            yield pair.start(), pair.end(), pair["last"].split()[-1].casefold()
            pair = _PAIR.search(text, pair.end())
        else:
            pair = _PAIR.search(text, pair.end("first"))


def _is_person(text: str, pair: re.Match[str]) -> bool:
    first, family = pair["first"], pair["last"].split()[-1]
    if family in NO_NAME or _NO_PERSON.search(text[max(0, pair.start() - 12) : pair.start()]):
        return False
    if first in WORDS_TOO:
        return family not in WORDS_TOO and is_family_name(family, close=True)
    if is_first_name(first) and is_family_name(family):
        return True
    return first in lists().close and _may_be_family_name(text, pair)


def _after_roles(text: str) -> Iterator[tuple[int, int, str]]:
    """Names after words for people: a listed first name, alone or before other words."""
    for match in _ROLE.finditer(text):
        words = match["name"].split()
        first = words[0]
        if not is_first_name(first) or (first in WORDS_TOO and len(words) == 1) or first in NO_NAME:
            continue
        person = match.group().split()[0].lower() not in _PREPOSITIONS
        if len(words) == 1 and person:
            yield match.start("name"), match.end("name"), first.casefold()
        elif len(words) > 1 and words[-1] not in NO_NAME and (person or is_family_name(words[-1])):
            yield from _kept(match.start("name"), match["name"], least=2)


def _told(text: str) -> Iterator[tuple[int, int, str]]:
    """Who speaks, is told, owns something or has an age."""
    for match in _TOLD.finditer(text):
        group = next(name for name, value in match.groupdict().items() if value)
        words = match[group].split()
        listed = is_first_name(words[0]) and words[0] not in WORDS_TOO
        if listed and words[0] not in NO_NAME and words[-1] not in NO_NAME:
            yield match.start(group), match.end(group), words[-1].casefold()


_PREPOSITIONS = frozenset(("by", "von", "an", "from", "to"))


def _kept(start: int, words: str, least: int = 1) -> Iterator[tuple[int, int, str]]:
    """The words up to the first that is no name, where there are enough of them."""
    found = re.split(r"(\s+)", words)
    taken = 0
    for word in found[::2]:
        if word in NO_NAME:
            break
        taken += 1
    kept = "".join(found[: max(taken * 2 - 1, 0)])
    if taken >= least and kept:
        yield start, start + len(kept), kept.split()[-1].casefold()


_GERMAN_WORDS = re.compile(
    r"\b(?:der|die|das|und|ist|nicht|ich|sie|mit|für|auf|ein|eine|zu|hat|wurde|von|im|am)\b"
)


def _may_be_family_name(text: str, match: re.Match[str]) -> bool:
    """Whether what stands after a first name is a family name of no list, rather than a German noun."""
    if not _GERMAN_WORDS.search(text):
        return True
    after = text[match.end() : match.end() + 2]
    return not _NOUN.search(match["last"]) and not re.match(r"\s[A-ZÄÖÜ]", after)
