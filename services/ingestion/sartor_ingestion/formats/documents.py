"""Documents as rows: each passage a row of `text`, `title`, `section` and `page`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sartor_ingestion.formats.rows import BadRow, Row
from sartor_ingestion.formats.sections import Block, passages

FIELDS = ("title", "section", "page")
"""What a passage keeps of its place in the document, where there is any."""


def rows_of(blocks: Iterable[Block | BadRow], max_characters: int) -> Iterator[Row | BadRow]:
    """A row a passage, numbered from 1. What could not be read comes when its passage is done."""
    bad: list[BadRow] = []
    title = ""

    def readable() -> Iterator[Block]:
        nonlocal title
        for block in blocks:
            if isinstance(block, BadRow):
                bad.append(block)
                continue
            if block.level == 1 and not title:
                title = " ".join(block.text.split())[:500]
            yield block

    characters = 0
    for number, passage in enumerate(passages(readable(), max_characters), start=1):
        yield from bad
        bad.clear()
        characters += len(passage.text)
        place = {"title": title, "section": passage.section, "page": passage.pages}
        yield Row(number, {"text": passage.text, **{k: v for k, v in place.items() if v}}, characters)
    yield from bad
