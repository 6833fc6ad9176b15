"""Finds personal data in German and English text: by form, by check digits, and names by what is around."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

import phonenumbers

from sartor_text.checksums import IBAN_LENGTHS, card_issuer, iban_valid, luhn_valid
from sartor_text.identity_numbers import social_security_numbers, tax_numbers
from sartor_text.person_names import names_in
from sartor_text.secrets import secrets_in
from sartor_text.street_addresses import addresses_in


class PiiKind(Enum):
    """Kinds of personal data; the value is what stands in a placeholder, as in [EMAIL_1]."""

    EMAIL = "EMAIL"
    IBAN = "IBAN"
    CARD = "CARD"
    PHONE = "PHONE"
    TAX_ID = "TAX_ID"
    SOCIAL_SECURITY = "SOCIAL_SECURITY"
    NAME = "NAME"
    ADDRESS = "ADDRESS"
    SECRET = "SECRET"  # noqa: S105 - the kind, not one
    """A key or a password: no personal data, but to be treated alike."""


NUMBERS_AND_ADDRESSES = frozenset(
    (
        PiiKind.EMAIL,
        PiiKind.IBAN,
        PiiKind.CARD,
        PiiKind.PHONE,
        PiiKind.TAX_ID,
        PiiKind.SOCIAL_SECURITY,
    )
)
"""What is known by its form or check digits alone."""
PERSONAL = NUMBERS_AND_ADDRESSES | {PiiKind.NAME, PiiKind.ADDRESS}
EVERY_KIND = frozenset(PiiKind)
_Finder = Callable[[str], Iterator["Finding"]]
DEFAULT_REGIONS = ("DE", "AT", "CH", "GB", "US")
_REGIONS_OF = {
    "de": ("DE", "AT", "CH"),
    "en": ("GB", "US"),
    "fr": ("FR", "BE", "CH"),
    "es": ("ES", "MX"),
    "it": ("IT", "CH"),
    "nl": ("NL", "BE"),
    "pl": ("PL",),
    "pt": ("PT", "BR"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Personal data at text[start:end]; `value` is its canonical form, the same for two spellings of it."""

    kind: PiiKind
    start: int
    end: int
    value: str


_EMAIL = re.compile(
    r"(?<![\w.+%-])(?P<local>\w(?:[\w.+%'-]{0,62}[\w+%-])?)"
    r"(?:@|\s?[\[(]\s?(?:at|ät)\s?[\])]\s?)"
    r"(?P<domain>(?:[^\W_](?:[\w-]{0,61}[^\W_])?(?:\.|\s?[\[(]\s?(?:dot|punkt)\s?[\])]\s?))+[^\W\d_]{2,24})(?![\w@-])",
    re.IGNORECASE,
)
_SPELT_DOT = re.compile(r"\s?[\[(]\s?(?:dot|punkt)\s?[\])]\s?", re.IGNORECASE)
# "jane at example dot com", without brackets: only with an end that domains have.
_SPELT_EMAIL = re.compile(
    r"(?<![\w.+%-])(?P<local>[\w.+%-]{2,64})\s(?:at|ät)\s(?P<domain>[\w-]{2,63}(?:\s(?:dot|punkt)\s[\w-]{2,63})*)"
    r"\s(?:dot|punkt)\s(?P<end>com|org|net|de|at|ch|eu|info|io|co\.?uk|fr|it|es)(?!\w)",
    re.IGNORECASE,
)
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ \-.]?[A-Za-z0-9])")
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_DIGIT = re.compile(r"\d")
_OF_DIGITS = frozenset((PiiKind.IBAN, PiiKind.CARD, PiiKind.TAX_ID, PiiKind.SOCIAL_SECURITY))
# Within a line, as libphonenumber reads: else every table of numbers would be looked at for long.
_MAYBE_PHONE = re.compile(r"\d(?:(?:[^\S\r\n]|[()/.\-]){0,3}\d){5}")
_PHONE_SHAPE = re.compile(r"^(?:\+|00|\(?0|\()|[\s()/\-]")
_PHONE_WORD = re.compile(
    r"(?:tel|phone|telefon\w*|handy\w*|mobil\w*|cell|fax|call\w*|ring|ruf\w*|anruf\w*|rückruf\w*|erreich\w*|whatsapp|sms|dial|reach)"
    r"[\s\w.,:()'/-]{0,24}$",
    re.IGNORECASE,
)
_PART_OF_A_WORD = re.compile(r"[\w#§€$][\-./]?$")
# A number that the text itself calls something else is not a telephone number, however well it would dial.
_OTHER_NUMBER = re.compile(
    r"(?:#|§|€|\$|\bEUR\b|order|bestell\w*|auftrag\w*|ticket\w*|rechnung\w*|invoice|kunden\w*|customer|artikel\w*|article|item|serial|"
    r"serien\w*|vertrag\w*|contract|tracking|sendung\w*|paket\w*|parcel|reference|referenz\w*|fehler\w*|error|case|vorgang\w*|version|isbn|"
    r"build|port|imei|model\w*)(?:[\s\-]?(?:number|no|nr|nummer|id|code))?[\s.:#\-]*(?:is|ist|lautet|=)?[\s.:#]*$",
    re.IGNORECASE,
)


def regions_of(languages: Iterable[str]) -> tuple[str, ...]:
    """The regions whose national telephone numbers to expect in texts of these languages (ISO 639-1).

    The default ones are always among them: a number masked needlessly costs less than one that is not masked.
    """
    spoken = (region for language in languages for region in _REGIONS_OF.get(language, ()))
    return tuple(dict.fromkeys((*spoken, *DEFAULT_REGIONS)))


def find_pii(
    text: str, kinds: frozenset[PiiKind] = NUMBERS_AND_ADDRESSES, regions: Iterable[str] = DEFAULT_REGIONS
) -> tuple[Finding, ...]:
    """The personal data in `text`, in its order, without overlaps.

    Args:
        kinds: which kinds to look for.
        regions: ISO 3166 regions whose national telephone numbers count (those with +country code always do).
    IBANs and cards are believed only with right check digits and a known length or issuer, telephone numbers
    only where libphonenumber knows the range as assigned and the text does not call the number something
    else.
    """
    found: list[Finding] = []
    has_digits = bool(_DIGIT.search(text))
    for kind, finder in _FINDERS:
        if kind in kinds and (has_digits or kind not in _OF_DIGITS):
            found += _without_overlaps(finder(text), found)
    if PiiKind.PHONE in kinds and _MAYBE_PHONE.search(text):
        found += _without_overlaps(_phones(text, tuple(regions)), found)
    for kind, look_for in ((PiiKind.ADDRESS, addresses_in), (PiiKind.NAME, names_in)):
        if kind in kinds:
            found += _without_overlaps(_of_kind(kind, look_for)(text), found)
    return tuple(sorted(found, key=lambda finding: finding.start))


def _without_overlaps(new: Iterable[Finding], known: list[Finding]) -> list[Finding]:
    fresh: list[Finding] = []
    for one in new:
        if not any(one.start < other.end and other.start < one.end for other in (*known, *fresh)):
            fresh.append(one)
    return fresh


def _of_kind(kind: PiiKind, find: Callable[[str], Iterator[tuple[int, int, str]]]) -> _Finder:
    return lambda text: (Finding(kind, *one) for one in find(text))


def _emails(text: str) -> Iterator[Finding]:
    if " dot " in text or " punkt " in text.lower():
        for match in _SPELT_EMAIL.finditer(text):
            domain = re.sub(r"\s(?:dot|punkt)\s", ".", match["domain"], flags=re.IGNORECASE)
            value = f"{match['local']}@{domain}.{match['end']}".lower()
            yield Finding(PiiKind.EMAIL, match.start(), match.end(), value)
    if "@" not in text and "(" not in text and "[" not in text:
        return
    for match in _EMAIL.finditer(text):
        value = f"{match['local']}@{_SPELT_DOT.sub('.', match['domain'])}".lower()
        yield Finding(PiiKind.EMAIL, match.start(), match.end(), value)


def _ibans(text: str) -> Iterator[Finding]:
    for match in _IBAN_START.finditer(text):
        wanted = IBAN_LENGTHS.get(text[match.start() : match.start() + 2].upper())
        if wanted is None:
            continue
        characters: list[str] = []
        end = match.start()
        while end < len(text) and len(characters) < wanted:
            character = text[end]
            if character.isascii() and character.isalnum():
                characters.append(character.upper())
            elif character not in " -." or not text[end - 1].isalnum():
                break
            end += 1
        iban = "".join(characters)
        if iban_valid(iban) and not text[end : end + 1].isalnum():
            yield Finding(PiiKind.IBAN, match.start(), end, iban)


def _cards(text: str) -> Iterator[Finding]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"[ -]", "", match.group())
        if luhn_valid(digits) and card_issuer(digits):
            yield Finding(PiiKind.CARD, match.start(), match.end(), digits)


def _phones(text: str, regions: tuple[str, ...]) -> list[Finding]:
    found: list[Finding] = []
    for region in regions:
        for match in phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.VALID):
            start, end = match.start, match.end
            if any(start < other.end and other.start < end for other in found):
                continue
            if _reads_as_phone(text[:start], match.raw_string):
                value = phonenumbers.format_number(match.number, phonenumbers.PhoneNumberFormat.E164)
                found.append(Finding(PiiKind.PHONE, start, end, value))
    return found


def _reads_as_phone(before: str, raw: str) -> bool:
    if _PART_OF_A_WORD.search(before):
        return False
    if raw.startswith("+"):
        return True
    if _OTHER_NUMBER.search(before[-40:]):
        return False
    return bool(_PHONE_WORD.search(before[-48:])) or bool(_PHONE_SHAPE.search(raw))


_FINDERS: tuple[tuple[PiiKind, _Finder], ...] = (
    (PiiKind.SECRET, _of_kind(PiiKind.SECRET, secrets_in)),
    (PiiKind.EMAIL, _emails),
    (PiiKind.IBAN, _ibans),
    (PiiKind.CARD, _cards),
    (PiiKind.TAX_ID, _of_kind(PiiKind.TAX_ID, tax_numbers)),
    (PiiKind.SOCIAL_SECURITY, _of_kind(PiiKind.SOCIAL_SECURITY, social_security_numbers)),
)
