"""HTML: the main text of a page without its navigation, by trafilatura. Nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sartor_ingestion.formats import markdown
from sartor_ingestion.formats.encodings import detect_in
from sartor_ingestion.formats.rows import BadRow, FileUnreadable
from sartor_ingestion.formats.sections import Block

MAX_BYTES = 33_554_432
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{2,40})", re.IGNORECASE)
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def blocks(path: Path) -> Iterator[Block | BadRow]:
    """The blocks of a page's main text.

    Raises:
        FileUnreadable: NO_TEXT, FILE_TOO_LARGE.
    """
    if path.stat().st_size > MAX_BYTES:
        raise FileUnreadable("FILE_TOO_LARGE", f"the page is larger than {MAX_BYTES} bytes; split it")
    page = decoded(path.read_bytes())
    text, title = _main_text(page)
    if not text.strip():
        raise FileUnreadable("NO_TEXT", "no main text was found in the page; send its text as Markdown")
    found = list(markdown.blocks_of(text.splitlines()))
    if title and not any(isinstance(block, Block) and block.level == 1 for block in found):
        yield Block(title, 1, shown=False)
    yield from found


def decoded(data: bytes) -> str:
    """The text of a page: by its byte order mark, else as it says itself, else as it looks."""
    declared = _CHARSET.search(data[:4096])
    if declared and not data.startswith(_MARKS):
        try:
            return data.decode(declared.group(1).decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            pass
    return data.decode(detect_in(data[:1_048_576]), "replace").removeprefix("\ufeff")


def _main_text(page: str) -> tuple[str, str]:
    """Markdown of the main text, and the title."""
    import trafilatura
    from trafilatura.settings import use_config

    config = use_config()
    config.set("DEFAULT", "MIN_EXTRACTED_SIZE", "0")
    config.set("DEFAULT", "MIN_OUTPUT_SIZE", "0")
    tree = trafilatura.load_html(page)
    if tree is None:
        return "", ""
    text = trafilatura.extract(
        tree,
        output_format="markdown",
        favor_recall=True,
        include_comments=False,
        include_formatting=True,
        include_tables=True,
        config=config,
    )
    metadata = trafilatura.extract_metadata(trafilatura.load_html(page))
    return text or trafilatura.html2txt(page), (metadata.title or "") if metadata else ""
