"""Markdown: paragraphs, lists and listings under their headings (CommonMark 4.2, 4.3, 4.5), streaming."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sartor_ingestion.formats.rows import BadRow
from sartor_ingestion.formats.sections import Block
from sartor_ingestion.formats.text import lines

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_BLOCK_CHARACTERS = 262_144


def blocks(path: Path) -> Iterator[Block | BadRow]:
    """The blocks of a file. Front matter in YAML gives only the title."""
    yield from blocks_of(line if isinstance(line, BadRow) else line[1] for line in lines(path))


def blocks_of(source: Iterable[str | BadRow]) -> Iterator[Block | BadRow]:
    """The blocks of lines of Markdown."""
    held: list[str] = []
    size = 0
    fence = ""
    for line in _without_front_matter(source):
        if isinstance(line, BadRow | Block):
            yield line
            continue
        if fence:
            held.append(line)
            size += len(line)
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            elif size > _BLOCK_CHARACTERS:
                yield Block("\n".join(held))
                held, size = [], 0
            continue
        heading = _heading(line, held)
        if heading is not None:
            if heading.text != "\n".join(held).strip() and held:
                yield Block("\n".join(held))
            held, size = [], 0
            yield heading
        elif not line.strip() or size > _BLOCK_CHARACTERS:
            if held:
                yield Block("\n".join(held))
            held, size = ([line], len(line)) if line.strip() else ([], 0)
        else:
            opening = _FENCE.match(line)
            fence = opening.group(1) if opening else ""
            held.append(line.rstrip())
            size += len(line)
    if held:
        yield Block("\n".join(held))


def _heading(line: str, held: list[str]) -> Block | None:
    """The heading that a line is, or that it makes of the paragraph above it."""
    atx = _ATX.match(line)
    if atx:
        return Block(atx.group(2) or "", len(atx.group(1)))
    setext = _SETEXT.match(line)
    if setext and held and len(held) <= 3 and not _FENCE.match(held[0]) and held[0][:1] not in "-*+>|":
        return Block("\n".join(held).strip(), 1 if setext.group(1)[0] == "=" else 2)
    return None


def _without_front_matter(source: Iterable[str | BadRow]) -> Iterator[str | BadRow | Block]:
    inside = False
    for number, line in enumerate(source):
        if isinstance(line, BadRow):
            yield line
        elif number == 0 and line.strip() == "---":
            inside = True
        elif inside and line.strip() in ("---", "..."):
            inside = False
        elif inside:
            name, _, value = line.partition(":")
            if name.strip().lower() == "title" and value.strip():
                yield Block(value.strip().strip("\"'"), 1, shown=False)
        else:
            yield line
