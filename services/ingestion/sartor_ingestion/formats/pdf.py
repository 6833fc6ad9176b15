"""PDF by PDFium: the text by page, under the document's own bookmarks, without running heads and feet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sartor_ingestion.formats.rows import BadRow, FileUnreadable
from sartor_ingestion.formats.sections import Block

MAX_PAGES = 20_000
MAX_CHARACTERS = 67_108_864
_RUNNING_PAGES = 4
_RUNNING_SHARE = 0.5
_NUMBERING = re.compile(r"^[\dIVX.]+[.\s]+")
_DIGITS = re.compile(r"\d+")
_BROKEN_WORD = re.compile(r"(\w)[\u00ad\ufffe-]\n(?=[a-zäöüßéèàç])")


def blocks(path: Path) -> Iterator[Block | BadRow]:
    """The paragraphs of a document with their pages.

    Raises:
        FileUnreadable: MALFORMED_PDF, ENCRYPTED, NO_TEXT (a scan), FILE_TOO_LARGE.
    """
    pages, bookmarks, title = _contents(path)
    if not any("".join(lines).strip() for lines in pages):
        raise FileUnreadable("NO_TEXT", "the PDF holds pictures only; recognise its text (OCR) first")
    if title:
        yield Block(title, 1, shown=False)
    yield from _over_page_ends(_pages(pages, bookmarks, bool(title)))


def _pages(
    pages: Sequence[Sequence[str]], bookmarks: Sequence[tuple[int, str, int]], titled: bool
) -> Iterator[Block]:
    running = _running_lines(pages)
    for number, lines in enumerate(pages, start=1):
        kept = [line for i, line in enumerate(lines) if not _is_edge(i, lines) or _form(line) not in running]
        headings = [(level + 1 + titled, text) for level, text, page in bookmarks if page == number]
        yield from _page(kept, headings, number)


def _over_page_ends(blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks, a paragraph that goes on over a page's end put together again."""
    held: Block | None = None
    for block in blocks:
        goes_on = held is not None and not held.level and not block.level and block.page > held.page
        if held is not None and goes_on and held.text[-1] not in '.!?:;”“")':
            joined = _BROKEN_WORD.sub(r"\1", f"{held.text}\n{block.text}").replace("\n", " ")
            held = Block(joined, page=held.page)
            continue
        if held is not None:
            yield held
        held = block
    if held is not None:
        yield held


def _contents(path: Path) -> tuple[list[list[str]], list[tuple[int, str, int]], str]:
    """Lines of each page; level, title and page of each bookmark; the title."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        encrypted = "password" in str(error).lower()
        reason = "ENCRYPTED" if encrypted else "MALFORMED_PDF"
        advice = "it is locked by a password; save it without" if encrypted else str(error)
        raise FileUnreadable(reason, f"the file is not readable as PDF: {advice}") from error
    try:
        if len(document) > MAX_PAGES:
            raise FileUnreadable("FILE_TOO_LARGE", f"the PDF has more than {MAX_PAGES} pages; split it")
        pages, size = [], 0
        for index in range(len(document)):
            text = _page_text(document, index)
            size += len(text)
            if size > MAX_CHARACTERS:
                raise FileUnreadable(
                    "FILE_TOO_LARGE", f"its text has over {MAX_CHARACTERS} characters; split it"
                )
            pages.append([line.strip() for line in text.splitlines()])
        return pages, _bookmarks(document), _title(document)
    finally:
        document.close()


def _page_text(document: Any, index: int) -> str:
    import pypdfium2

    try:
        page = document[index]
        try:
            text_page = page.get_textpage()
            text = str(text_page.get_text_bounded())
            text_page.close()
            return text
        finally:
            page.close()
    except pypdfium2.PdfiumError:
        return ""  # a page that is damaged has no text; the others have theirs


def _bookmarks(document: Any) -> list[tuple[int, str, int]]:
    found = []
    for item in document.get_toc(max_depth=6):
        destination = item.get_dest()
        index = destination.get_index() if destination is not None else None
        if index is not None and item.get_title():
            found.append((int(item.level), " ".join(str(item.get_title()).split()), int(index) + 1))
    return found


def _title(document: Any) -> str:
    title = " ".join(str(document.get_metadata_dict().get("Title") or "").split())
    return "" if title.lower().endswith((".doc", ".docx", ".tex", ".indd")) or title == "untitled" else title


def _form(line: str) -> str:
    """A line without its numbers: how page 7's foot is the same as page 8's."""
    return _DIGITS.sub("#", line).lower()


def _is_edge(index: int, lines: Sequence[str]) -> bool:
    return index < 2 or index >= len(lines) - 2


def _running_lines(pages: Sequence[Sequence[str]]) -> set[str]:
    """Forms of lines that stand at the edge of most pages."""
    if len(pages) < _RUNNING_PAGES:
        return set()
    counts: Counter[str] = Counter()
    for lines in pages:
        counts.update({_form(line) for i, line in enumerate(lines) if line and _is_edge(i, lines)})
    return {
        form for form, count in counts.items() if count >= max(len(pages) * _RUNNING_SHARE, _RUNNING_PAGES)
    }


def _page(lines: Sequence[str], headings: list[tuple[int, str]], number: int) -> Iterator[Block]:
    """The paragraphs of a page. A bookmark becomes a heading where its line is, else at the page's top."""
    at = {}
    for level, title in headings:
        index = next((i for i, text in enumerate(lines) if i not in at and _same(text, title)), None)
        if index is None:
            yield Block(title, level, number, shown=False)
        else:
            at[index] = Block(lines[index], level, number)
    width = max((len(line) for line in lines), default=0)
    held: list[str] = []
    for i, line in enumerate(lines):
        if i in at or not line:
            yield from _paragraph(held, number)
            held = []
            if i in at:
                yield at[i]
            continue
        held.append(line)
        if line[-1] in ".!?:" and len(line) < 0.75 * width:  # the last line of a paragraph is short
            yield from _paragraph(held, number)
            held = []
    yield from _paragraph(held, number)


def _same(line: str, title: str) -> bool:
    """Whether a line is the heading of a bookmark: alike but for the numbering."""
    plain, wanted = (_NUMBERING.sub("", text).casefold() for text in (line, title))
    return bool(line) and (line.casefold() == title.casefold() or (bool(plain) and plain == wanted))


def _paragraph(lines: list[str], number: int) -> Iterator[Block]:
    text = _BROKEN_WORD.sub(r"\1", "\n".join(lines))
    if text.strip():
        yield Block(" ".join(text.split()), page=number)
