"""Headers of archives made to exhaust memory before a single member is read."""

from __future__ import annotations

import struct
import tarfile
from pathlib import Path

from sartor_ingestion.formats.limits import Limits
from sartor_ingestion.formats.rows import FileUnreadable

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY_BYTES = 512
"""Of a member in a zip file's directory: 46, its path, and what packers add."""
_TAR_HEADER_BYTES = 1_048_576
_TAR_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def check_zip_directory(path: Path, limits: Limits) -> None:
    """See that the directory at a zip file's end, which is read whole, is no larger than our members need.

    Raises:
        FileUnreadable: DECOMPRESSION_BOMB.
    """
    if _directory_bytes(path) > limits.members * _ENTRY_BYTES:
        raise _too_much("its directory lists too many members")


class BoundedHeaders(tarfile.TarInfo):
    """A tar member whose extended header, which is read whole, may not be larger than any path needs."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _TAR_HEADERS and self.size > _TAR_HEADER_BYTES:
            raise _too_much("a header in it is larger than 1 MiB")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return,unused-ignore]


def _directory_bytes(path: Path) -> int:
    """The size of the directory as a reader will believe it (APPNOTE 4.3.14 to 4.3.16)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 65_557, 0))
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < _END.size:
            return 0
        found = int(_END.unpack_from(tail, at)[5])
        place = size - len(tail) + at - _LOCATOR.size - _END64.size
        if place >= 0:
            file.seek(place)
            record = file.read(_END64.size + _LOCATOR.size)
            if record.startswith(b"PK\6\6") and record[_END64.size :].startswith(b"PK\6\7"):
                found = max(found if found < 2**32 - 1 else 0, int(_END64.unpack_from(record)[8]))
        return found


def _too_much(problem: str) -> FileUnreadable:
    return FileUnreadable("DECOMPRESSION_BOMB", f"the file was not unpacked: {problem}; send it in parts")
