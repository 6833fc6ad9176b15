"""Plain text: a document of paragraphs, which blank lines divide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sartor_ingestion.formats.encodings import open_utf8
from sartor_ingestion.formats.jsonl import skip_line
from sartor_ingestion.formats.rows import MAX_ROW_BYTES, BadRow
from sartor_ingestion.formats.sections import Block
from sartor_ingestion.rejection import Reason, excerpt

_PARAGRAPH_CHARACTERS = 1_048_576
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def lines(path: Path) -> Iterator[tuple[int, str] | BadRow]:
    """The lines of a text file with their numbers; one that is too long is left out, with the reason."""
    with open_utf8(path) as file:
        number = 0
        while line := file.readline(MAX_ROW_BYTES + 1):
            number += 1
            if len(line) > MAX_ROW_BYTES:
                skip_line(file)
                message = f"the line is longer than {MAX_ROW_BYTES} bytes; break it into paragraphs"
                yield BadRow(number, Reason.TOO_LARGE, message, excerpt(line))
                continue
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            yield number, text.removeprefix(_BOM) if number == 1 else text


def blocks(path: Path) -> Iterator[Block | BadRow]:
    """The paragraphs of a file, streaming. Form feeds count pages."""
    held: list[str] = []
    size = page = 0
    for line in lines(path):
        if isinstance(line, BadRow):
            yield line
            continue
        text = line[1]
        if "\f" in text:
            page = max(page, 1)
        if text.strip() and size < _PARAGRAPH_CHARACTERS:
            held.append(text.replace("\f", "").rstrip())
            size += len(text)
        elif held:
            yield Block("\n".join(held), page=page)
            held, size = ([text], len(text)) if text.strip() else ([], 0)
        page += text.count("\f")
    if held:
        yield Block("\n".join(held), page=page)
