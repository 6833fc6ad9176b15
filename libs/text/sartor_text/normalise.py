"""Brings text into one form: mojibake repaired, markup stripped, Unicode NFC, plain white space."""

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum

import ftfy

from sartor_text.markup import strip_markup


class Change(Enum):
    """What normalisation did to a text."""

    MOJIBAKE = "mojibake"
    MARKUP = "markup"
    UNICODE = "unicode"
    WHITESPACE = "whitespace"


@dataclass(frozen=True, slots=True)
class Normalised:
    """A text in its one form, and what had to be done to bring it there."""

    text: str
    changes: frozenset[Change]


EVERYTHING = frozenset(Change)

# Never part of a text that a person wrote: controls but for tab and line feed, BOM, zero-width space, word
# joiner, bidirectional overrides, soft hyphen. Zero-width joiner and non-joiner carry meaning (emoji,
# Persian) and stay.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\u200b\u2060\u00ad\u202a-\u202e\u2066-\u2069]")
_LINE_ENDS = re.compile("\r\n?|\u2028|\u2029|\x0b|\x0c|\x85")
_ODD_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_TRAILING = re.compile(r"[ \t]+(?=\n|\Z)")
_MANY_BREAKS = re.compile(r"\n{3,}")
_MANY_SPACES = re.compile(r"(?<=\S) {2,}(?=\S)")


def normalise(text: str, wanted: frozenset[Change] = EVERYTHING) -> Normalised:
    """`text` in its one form.

    Mojibake is repaired line by line with ftfy's `fix_encoding`, which changes a line only where its
    heuristic is sure that bytes were decoded wrongly. Markdown, code indentation and quotation marks stay as
    they are.
    """
    changes: set[Change] = set()
    for change, apply in _PASSES:
        if change in wanted:
            after = apply(text)
            if after != text:
                changes.add(change)
                text = after
    return Normalised(text, frozenset(changes))


def _repair_mojibake(text: str) -> str:
    if text.isascii():
        return text
    return "".join(ftfy.fix_encoding(line) for line in text.splitlines(keepends=True))


def _compose(text: str) -> str:
    if text.isascii() and not _INVISIBLE.search(text):
        return text
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text))


def _plain_spaces(text: str) -> str:
    text = _ODD_SPACES.sub(" ", text)
    text = _MANY_BREAKS.sub("\n\n", _TRAILING.sub("", text))
    return text.strip("\n") if "```" in text else _MANY_SPACES.sub(" ", text).strip()


def _line_feeds(text: str) -> str:
    return _LINE_ENDS.sub("\n", text)


# White space comes twice: line ends before the passes that work by lines, spaces after those that leave some.
_PASSES = (
    (Change.MOJIBAKE, _repair_mojibake),
    (Change.WHITESPACE, _line_feeds),
    (Change.MARKUP, strip_markup),
    (Change.UNICODE, _compose),
    (Change.WHITESPACE, _plain_spaces),
)
