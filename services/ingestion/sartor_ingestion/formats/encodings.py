"""Whatever encoding a text file has, its readers see UTF-8: byte order marks, UTF-16, UTF-32, code pages."""

from __future__ import annotations

import codecs
import io
from pathlib import Path
from typing import Any, BinaryIO, cast

SAMPLE_BYTES = 1_048_576
_CHUNK_BYTES = 65_536
_GUESS_BYTES = 131_072
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = frozenset(
    "ÄÖÜäöüßÀÁÂÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕØŒÙÚÛÝàáâãåæçèéêëìíîïñòóôõøœùúûýÿ€£§©®°²³µ·½¼¾«»‚„“”‘’‹›–—…•¿¡\xa0"
)
_CODE_PAGES = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "iso8859_2", "koi8_r", "cp437",
    "cp850", "mac_roman", "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr",
]  # fmt: skip


def detect(path: Path) -> str:
    """The encoding of a text file as Python names it; "utf-8" also where a few bytes of UTF-8 are damaged.

    A byte order mark decides; then whether the beginning is UTF-8; then the code page that fits it best.
    """
    with path.open("rb") as file:
        return detect_in(file.read(SAMPLE_BYTES))


def detect_in(sample: bytes) -> str:
    """As `detect`, from the beginning of a file."""
    for mark, name in _MARKS:
        if sample.startswith(mark):
            return name
    if wide := _wide(sample[:4096]):
        return wide
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(sample, final=False)
        return "utf-8"
    except UnicodeDecodeError:
        return "utf-8" if _is_damaged_utf8(sample) else _code_page(sample)


def is_text(sample: bytes) -> bool:
    """Whether the beginning of a file can be text: control bytes are none in any encoding known here."""
    if any(sample.startswith(mark) for mark, _ in _MARKS) or _wide(sample):
        return True
    return not any(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in sample)


def open_utf8(path: Path) -> BinaryIO:
    """The bytes of a text file as UTF-8, made on the way where it is in another encoding."""
    name = detect(path)
    if name == "utf-8":
        return path.open("rb")
    return cast(BinaryIO, io.BufferedReader(_Recoded(path, name), _CHUNK_BYTES))


def _wide(sample: bytes) -> str:
    """UTF-16 without a mark: in Latin text every other byte is zero."""
    if len(sample) < 4:
        return ""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    enough = len(sample) // 2 * 0.4
    if odd > enough and even <= odd // 20:
        return "utf-16-le"
    return "utf-16-be" if even > enough and odd <= even // 20 else ""


def _is_damaged_utf8(sample: bytes) -> bool:
    """Whether most of what is not ASCII is well-formed UTF-8: then single rows are at fault, not the file."""
    text = sample.decode("utf-8", "surrogateescape")
    broken = sum("\udc80" <= c <= "\udcff" for c in text)
    return sum(c > "\x7f" for c in text) - broken > broken


def _code_page(sample: bytes) -> str:
    western = sample.decode("cp1252", "replace")
    if all(c in _WESTERN for c in western if c > "\x7f"):
        return "cp1252"
    import charset_normalizer

    best = charset_normalizer.from_bytes(_about_the_first_of_it(sample), cp_isolation=_CODE_PAGES).best()
    return best.encoding if best is not None else "latin-1"


def _about_the_first_of_it(sample: bytes) -> bytes:
    """The part of a sample that tells most: from the first byte that is not ASCII."""
    first = next((i for i, byte in enumerate(sample) if byte > 0x7F), 0)
    return sample[max(first - 1024, 0) : first + _GUESS_BYTES]


class _Recoded(io.RawIOBase):
    """A file's bytes, decoded and encoded as UTF-8 in pieces. What cannot be decoded becomes U+FFFD."""

    def __init__(self, path: Path, encoding: str) -> None:
        self._file = path.open("rb")
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._rest = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and not self._ended:
            chunk = self._file.read(_CHUNK_BYTES)
            self._ended = not chunk
            self._rest = self._decoder.decode(chunk, final=self._ended).encode("utf-8", "replace")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()
