"""Plain text: the file is one document, in the field `text`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sartor_ingestion.formats.rows import MAX_ROW_BYTES, BadRow, Row
from sartor_ingestion.rejection import Reason, excerpt


def read(path: Path) -> Iterator[Row | BadRow]:
    """One row, or none where the file is empty. `end` counts bytes."""
    with path.open("rb") as file:
        data = file.read(MAX_ROW_BYTES + 1)
    if len(data) > MAX_ROW_BYTES:
        message = (
            f"the file is larger than {MAX_ROW_BYTES} bytes; split it into documents, or send JSON Lines"
        )
        yield BadRow(1, Reason.TOO_LARGE, message, excerpt(data))
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8; save the file as UTF-8"
        yield BadRow(1, Reason.NOT_UTF8, message, excerpt(data))
        return
    if text.strip():
        yield Row(1, {"text": text}, len(data))
