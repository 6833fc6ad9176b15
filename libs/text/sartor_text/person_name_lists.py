"""Lists of first and family names, from the library Faker, and words that look like names and are none."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

NO_NAME_LIST = """Doktor
    Professor Präsident Minister Kollege Kollegin Nachbar Support Team Service Kundenservice
    President Right Wrong Universe World Perfect Customer Sir Madam Rechnung Bestellung Ihr Sie
    Und Der Die Das The And But Ihre Euer Eure Unser Kundin Kunde Kunden Kundinnen Kollegen
    Kolleginnen Damen Herren Leute Freunde Freundin Freund Nachbarn Eltern Alle All Everyone
    Everybody Folks Friends Colleagues Customers There Zusammen Welt Gäste Mitglieder Mitarbeiter
    Mitarbeitende Nutzer User Users Hotline Redaktion Verwaltung Vermieter Vermieterin Herr Frau
    Morning Evening Afternoon Again Mom Dad Mama Papa Deutsche Deutscher Hiring Manager Recruiter
    Office Department Straße Str Weg Platz Level Quality Main Galaxy Siri Alexa Cortana Copilot
    Google Von An To From Re Note Day"""
NO_NAME = frozenset(NO_NAME_LIST.split())
# First names that are words too: they count only before a family name of the list.
WORDS_TOO_LIST = """Rose
    May Will Mark Grace Hope Joy August April June Summer Faith Frank Bill Pat Rich Christian
    Jack Art Gene Sandy Ray Dale Lane Drew Chance Chase Miles Page Dawn Crystal Amber Ruby Jade
    Ernst Kai Wolf Rosa Marina Linda Victoria Florence Paris Sydney Charlotte Austin Madison
    Jordan Georgia Virginia Carolina Ali Carmen Tristan Angel Destiny Trinity Carl Ernest Earnest
    Randy Mercedes Monika Brandy Berlin Roma London Ab Asia India Chelsea Can An Le Us Om El Lo Al
    Di Da Sun Star Sky Royal Major Price King Prince Duke Earl Baron Guy Max Mini Alpha Delta Nova
    Luna Stella Gloria Harmony Melody Sage Ivy Lily Daisy Olive Iris Heather Hazel Ginger Pepper
    Basil Cliff Rusty Buddy Sonny Happy"""
WORDS_TOO = frozenset(WORDS_TOO_LIST.split())
_CLOSE = ("de_DE", "de_AT", "de_CH", "en_GB", "en_US")
"""Locales whose first names are believed before a family name of no list."""
_WIDE = (
    "en", "en_IE", "en_IN", "en_NG", "fr_FR", "es_ES", "it_IT", "tr_TR", "pl_PL", "nl_NL", "pt_PT", "sv_SE",
    "da_DK", "fi_FI", "hu_HU", "cs_CZ", "hr_HR", "ro_RO", "vi_VN", "yo_NG", "ig_NG", "ar_AA",
)  # fmt: skip


def is_first_name(word: str) -> bool:
    """Listed, or each part of a double name is."""
    known = lists()
    return word not in NO_NAME and all(part in known.close or part in known.wide for part in word.split("-"))


def is_family_name(word: str, *, close: bool = False) -> bool:
    """Listed, as a whole or in a part of a double name.

    Args:
        close: only names of German and English speaking countries count.
    """
    last = lists().close_families if close else lists().families
    return word in last or any(part in last for part in word.split("-"))


@dataclass(frozen=True, slots=True)
class Lists:
    """First names of German and English speaking countries and those of others; family names likewise."""

    close: frozenset[str]
    wide: frozenset[str]
    close_families: frozenset[str]
    families: frozenset[str]


@lru_cache(maxsize=1)
def lists() -> Lists:
    """Faker's lists of these locales; loaded once, in about a second."""
    found: dict[tuple[str, bool], set[str]] = defaultdict(set)
    for locale in (*_CLOSE, *_WIDE):
        provider = import_module(f"faker.providers.person.{locale}").Provider
        for name in dir(provider):
            values = getattr(provider, name)
            kind = next((kind for kind in ("first_name", "last_name") if kind in name), "")
            if kind and isinstance(values, tuple | list | dict):
                words = {value for value in values if isinstance(value, str) and len(value) > 1}
                found[kind, locale in _CLOSE] |= words
    return Lists(
        close=frozenset(found["first_name", True]),
        wide=frozenset(found["first_name", False]),
        close_families=frozenset(found["last_name", True]),
        families=frozenset(found["last_name", True] | found["last_name", False]),
    )
