"""Documents into passages of bounded size, cut where the document has a seam; never inside a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_CHARACTERS = 8000
"""Of a passage, unless the source says otherwise: about 2,000 tokens of English, 3,500 of German."""
_SEPARATOR = " > "
_WORDS = (
    "dr prof hr fr hrn st nr abs art bzw ca etc evtl ggf inkl max min mio mrd o.ä s sog tel u usw vgl z d h"
    " b a str mr mrs ms jr sr vs no vol fig eq e.g i.e cf al approx dept inc ltd co corp jan feb mar apr jun"
    " jul aug sep sept okt oct nov dez dec p pp ed eds m mme mlle sig sra"
)
_ABBREVIATIONS = frozenset(_WORDS.split())
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’»)\]]*(?=\s)|[。！？]+[」』”]*""")


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document that belongs together: a paragraph, a table, a listing, or a heading."""

    text: str
    level: int = 0
    """Of a heading, from 1; 0 is no heading."""
    page: int = 0
    """From 1; 0 where the format knows no pages."""
    shown: bool = True
    """False for a heading that is known, but is no line of the text, such as a PDF's bookmark."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Part of a document, or all of it."""

    text: str
    section: str
    """The headings above it, outermost first."""
    first_page: int
    last_page: int

    @property
    def pages(self) -> str:
        """As people write it: 3 or 3-5; empty without pages."""
        if not self.first_page:
            return ""
        return (
            str(self.first_page)
            if self.first_page == self.last_page
            else f"{self.first_page}-{self.last_page}"
        )


@dataclass(frozen=True, slots=True)
class _Placed:
    """A block under its headings."""

    block: Block
    path: tuple[str, ...]


def passages(blocks: Iterable[Block], limit: int = MAX_CHARACTERS) -> Iterator[Passage]:
    """The document in passages of at most `limit` characters, in bounded memory.

    A document that fits is one passage. A longer one is cut before a heading, of the highest level there is
    in the latter part of what fits; else between paragraphs; a longer paragraph between sentences. Only a
    single sentence that is longer than `limit` makes a longer passage.
    """
    held: list[_Placed] = []
    size = 0
    for placed in _placed(blocks, limit):
        held.append(placed)
        size += len(placed.block.text) + 2
        while size - 2 > limit and len(held) > 1:
            cut = _seam(held, limit)
            yield from _passage(held[:cut])
            held = held[cut:]
            size = sum(len(each.block.text) + 2 for each in held)
    yield from _passage(held)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text with the space that follows them: joined, they are the text."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        end = match.end()
        following = text[end:].lstrip()[:1] if end - start < len(text) else ""
        if match.group()[0] == "." and not _ends(text, match.start(), following):
            continue
        while end < len(text) and text[end].isspace():
            end += 1
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _ends(text: str, dot: int, following: str) -> bool:
    """Whether the full stop at `dot` ends a sentence: not after an abbreviation, an initial or an ordinal."""
    word = re.split(r"[\s(\[„“\"']", text[max(dot - 20, 0) : dot])[-1]
    if word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isalpha()):
        return False
    if word.isdigit() and len(word) <= 2:  # "3. Mai", "2. Absatz"
        return False
    return not following.islower()


def _placed(blocks: Iterable[Block], limit: int) -> Iterator[_Placed]:
    headings: list[tuple[int, str]] = []
    for block in blocks:
        text = block.text.strip()
        if not text:
            continue
        if block.level:
            headings = [(level, title) for level, title in headings if level < block.level]
            headings.append((block.level, " ".join(text.split())[:200]))
        path = tuple(title for _, title in headings)
        if block.level and not block.shown:
            yield _Placed(Block("", block.level, block.page), path)
            continue
        for part in _parts(text, limit):
            yield _Placed(Block(part, block.level, block.page), path)


def _parts(text: str, limit: int) -> Iterator[str]:
    """A block whole, or cut between its sentences."""
    if len(text) <= limit:
        yield text
        return
    part = ""
    for sentence in sentences(text):
        if part and len(part) + len(sentence.rstrip()) > limit:
            yield part.rstrip()
            part = ""
        part += sentence
    if part.strip():
        yield part.rstrip()


def _seam(held: list[_Placed], limit: int) -> int:
    """Where to cut: the index of the block that begins the next passage."""
    fits, size = 1, len(held[0].block.text)
    while fits < len(held) - 1 and size + 2 + len(held[fits].block.text) <= limit:
        size += 2 + len(held[fits].block.text)
        fits += 1
    # A heading never ends a passage: what it stands above comes with it.
    while fits > 1 and held[fits - 1].block.level:
        fits -= 1
    before, headings = 0, []
    for index, placed in enumerate(held[: fits + 1]):
        if placed.block.level and index and before >= limit // 4 and not held[index - 1].block.level:
            headings.append((placed.block.level, -index))
        before += len(placed.block.text) + 2
    return -min(headings)[1] if headings else fits


def _passage(held: list[_Placed]) -> Iterator[Passage]:
    text = "\n\n".join(placed.block.text for placed in held if placed.block.text)
    if not text:
        return
    pages = [placed.block.page for placed in held if placed.block.text and placed.block.page]
    yield Passage(text, _SEPARATOR.join(_common(held)), min(pages, default=0), max(pages, default=0))


def _common(held: list[_Placed]) -> tuple[str, ...]:
    """The headings above all of a passage. One that begins with a heading lies under it."""
    paths = [placed.path for placed in held if placed.block.text]
    common = paths[0]
    for path in paths[1:]:
        size = next((i for i, (a, b) in enumerate(zip(common, path, strict=False)) if a != b), None)
        common = common[: min(len(common), len(path)) if size is None else size]
    return common
