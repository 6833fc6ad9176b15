"""Small PDF files for tests, written by hand (ISO 32000-1, 7.5): lines on pages, a title, bookmarks."""

from __future__ import annotations

from collections.abc import Sequence


def a_pdf(
    pages: Sequence[Sequence[str]], title: str = "", bookmarks: Sequence[tuple[str, int]] = ()
) -> bytes:
    """A PDF of these pages; a bookmark is a title and its page from 1."""
    objects: list[str] = [
        "",
        "",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Title ({title}) >>",
    ]
    numbers = []
    for lines in pages:
        text = "BT /F1 12 Tf 72 760 Td 16 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
        objects.append(f"<< /Length {len(text)} >>\nstream\n{text}\nendstream")
        content = len(objects)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {content} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        numbers.append(len(objects))
    outlines = _bookmarks(objects, bookmarks, numbers)
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects[0] = f"<< /Type /Catalog /Pages 2 0 R{outlines} >>"
    objects[1] = f"<< /Type /Pages /Kids [{kids}] /Count {len(numbers)} >>"
    return _file(objects)


def _bookmarks(objects: list[str], bookmarks: Sequence[tuple[str, int]], pages: Sequence[int]) -> str:
    if not bookmarks:
        return ""
    root = len(objects) + 1
    first = root + 1
    objects.append(f"<< /Type /Outlines /First {first} 0 R /Last {first + len(bookmarks) - 1} 0 R >>")
    for index, (title, page) in enumerate(bookmarks):
        beside = f" /Next {first + index + 1} 0 R" if index + 1 < len(bookmarks) else ""
        beside += f" /Prev {first + index - 1} 0 R" if index else ""
        place = f"[{pages[page - 1]} 0 R /Fit]"
        objects.append(f"<< /Title ({title}) /Parent {root} 0 R /Dest {place}{beside} >>")
    return f" /Outlines {root} 0 R"


def _file(objects: Sequence[str]) -> bytes:
    data = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    trailer = (
        f"trailer << /Size {len(objects) + 1} /Root 1 0 R /Info 4 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    )
    return data + (end + trailer).encode("latin-1")
