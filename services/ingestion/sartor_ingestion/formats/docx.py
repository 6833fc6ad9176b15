"""Word documents (.docx, ECMA-376) by python-docx: paragraphs under their headings, tables row by row."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sartor_ingestion.formats.archive_headers import check_zip_directory
from sartor_ingestion.formats.limits import LIMITS, Budget
from sartor_ingestion.formats.rows import BadRow, FileUnreadable
from sartor_ingestion.formats.sections import Block

MAX_UNPACKED_BYTES = 268_435_456
_HEADING = re.compile(r"heading\s*([1-9])", re.IGNORECASE)


def blocks(path: Path) -> Iterator[Block | BadRow]:
    """The blocks of a document. Pages are those that Word last laid out, where it wrote them down.

    Raises:
        FileUnreadable: MALFORMED_DOCX, DECOMPRESSION_BOMB, FILE_TOO_LARGE.
    """
    document = _opened(path)
    title = document.core_properties.title or ""
    body = list(document.iter_inner_content())
    page = 1 if any(_breaks(item) for item in body) else 0
    titled = bool(title) and not (body and _is_title(body[0]))
    if titled:
        yield Block(title, 1, shown=False)
    for item in body:
        if hasattr(item, "rows"):
            text = _table(item)
            level = 0
        else:
            text, level = item.text.strip(), _level(item)
        if text:
            yield Block(text, level + titled if level else 0, page)
        page += _breaks(item) if page else 0


def _opened(path: Path) -> Any:
    import docx
    from docx.opc.exceptions import PackageNotFoundError

    try:
        check_zip_directory(path, LIMITS)
        with zipfile.ZipFile(path) as package:
            budget = Budget(LIMITS, path.stat().st_size)
            budget.take(sum(info.file_size for info in package.infolist()))
        if budget.unpacked > MAX_UNPACKED_BYTES:
            raise FileUnreadable(
                "FILE_TOO_LARGE", f"the document unpacks to more than {MAX_UNPACKED_BYTES} bytes; split it"
            )
        return docx.Document(str(path))
    except (zipfile.BadZipFile, PackageNotFoundError, KeyError, ValueError, SyntaxError, OSError) as error:
        if isinstance(error, FileUnreadable):
            raise
        raise FileUnreadable(
            "MALFORMED_DOCX", f"the file is not readable as a Word document: {error}"
        ) from error


def _is_title(item: Any) -> bool:
    style = getattr(item, "style", None)
    return not hasattr(item, "rows") and style is not None and (style.name or "").lower() == "title"


def _level(paragraph: Any) -> int:
    """The heading's level; 0 for text."""
    if _is_title(paragraph):
        return 1
    name = paragraph.style.name if paragraph.style is not None else ""
    match = _HEADING.match(name or "")
    return int(match.group(1)) if match else 0


def _table(table: Any) -> str:
    """A row a line; a cell that spans columns comes once."""
    lines = []
    for row in table.rows:
        cells: list[str] = []
        for cell in row.cells:
            text = " ".join(cell.text.split())
            if not cells or cells[-1] != text:
                cells.append(text)
        lines.append(" | ".join(cells))
    return "\n".join(line for line in lines if line.strip(" |"))


def _breaks(item: Any) -> int:
    """How many pages end in a paragraph, as Word remembered when it was saved."""
    return len(item._element.xpath(".//w:lastRenderedPageBreak"))
