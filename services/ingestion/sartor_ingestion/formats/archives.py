"""Packed files: gzip, zstd, bzip2 and xz unpacked, zip and tar taken apart, bounded and without trust."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from sartor_ingestion.formats.archive_headers import BoundedHeaders, check_zip_directory
from sartor_ingestion.formats.limits import LIMITS, Budget, Limits
from sartor_ingestion.formats.rows import BadRow, FileUnreadable
from sartor_ingestion.rejection import Reason

_CHUNK_BYTES = 1_048_576
_PACKED_SUFFIXES = (".gz", ".zst", ".zstd", ".bz2", ".xz")
_JUNK = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
_BROKEN = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    NotImplementedError,
)


@dataclass(frozen=True, slots=True)
class Found:
    """A file to read. Unpacked ones are deleted when the next is asked for."""

    path: Path
    name: str
    """By which its format is known."""
    member: str = ""
    """Its path in the archive; empty for a file that is no archive."""
    begin: float = 0.0
    end: float = 1.0
    """Its share of the whole, for progress."""


@dataclass(frozen=True, slots=True)
class BadMember:
    """A member that is not read."""

    member: str
    row: BadRow


def packing(path: Path) -> str:
    """How a file is packed, by its first bytes: gzip, zstd, bzip2, xz, zip, tar, or empty."""
    with path.open("rb") as file:
        first = file.read(512)
    for mark, name in (
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"PK\x03\x04", "zip"),
        (b"PK\x05\x06", "zip"),
    ):
        if first.startswith(mark):
            return "" if name == "zip" and _is_document(path) else name
    return "tar" if first[257:262] == b"ustar" else ""


def files(path: Path, name: str, folder: Path, limits: Limits = LIMITS) -> Iterator[Found | BadMember]:
    """The file, or all that is in it, each unpacked under a name of our own in `folder`.

    Raises:
        FileUnreadable: DECOMPRESSION_BOMB, MALFORMED_ARCHIVE.
    """
    yield from _inside(Found(path, name), folder, Budget(limits, path.stat().st_size), 0)


def _inside(found: Found, folder: Path, budget: Budget, depth: int) -> Iterator[Found | BadMember]:
    kind = packing(found.path)
    if not kind:
        yield found
        return
    if depth == budget.limits.depth:
        message = f"archives lie in it more than {depth} deep; unpack it first"
        yield BadMember(found.member or found.name, BadRow(0, Reason.UNSAFE_MEMBER, message, ""))
        return
    try:
        if kind in ("zip", "tar"):
            members = _zip(found, budget) if kind == "zip" else _tar(found, budget)
            for member in members:
                if isinstance(member, BadMember):
                    yield member
                    continue
                name, stream, begin, end = member
                with _unpacked(stream, folder, budget) as file:
                    yield from _inside(Found(file, name, name, begin, end), folder, budget, depth + 1)
        else:
            name = found.name
            if PurePosixPath(name).suffix.lower() in _PACKED_SUFFIXES:
                name = name[: -len(PurePosixPath(name).suffix)]
            elif name.lower().endswith(".tgz"):
                name = name[:-4] + ".tar"
            with _open(kind, found.path) as stream, _unpacked(stream, folder, budget) as file:
                inner = Found(file, name, found.member, found.begin, found.end)
                yield from _inside(inner, folder, budget, depth + 1)
    except _BROKEN as error:
        if depth == 0:
            raise FileUnreadable("MALFORMED_ARCHIVE", f"the {kind} file is broken: {error}") from error
        message = f"it is a broken {kind} file: {error}"
        yield BadMember(found.member or found.name, BadRow(0, Reason.MEMBER_UNREADABLE, message, ""))


@contextmanager
def _unpacked(stream: IO[bytes], folder: Path, budget: Budget) -> Iterator[Path]:
    """The bytes of a stream as a file; its name is ours, never the archive's."""
    path = folder / f"unpacked-{budget.members}-{budget.unpacked}"
    try:
        with path.open("wb") as file:
            while chunk := stream.read(_CHUNK_BYTES):
                budget.take(len(chunk))
                file.write(chunk)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _zip(found: Found, budget: Budget) -> Iterator[tuple[str, Any, float, float] | BadMember]:
    check_zip_directory(found.path, budget.limits)
    with zipfile.ZipFile(found.path) as archive:
        members = archive.infolist()
        for index, info in enumerate(members):
            budget.member()
            if info.is_dir() or _is_junk(info.filename):
                continue
            linked = stat.S_ISLNK(info.external_attr >> 16)
            if problem := _problem(info.filename, linked):
                yield _unsafe(info.filename, problem)
            elif info.flag_bits & 1:
                message = "the member is encrypted; pack it without a password"
                yield BadMember(info.filename, BadRow(0, Reason.MEMBER_UNREADABLE, message, ""))
            else:
                with archive.open(info) as stream:
                    share = (found.end - found.begin) / len(members)
                    begin = found.begin + index * share
                    yield info.filename, stream, begin, begin + share


def _tar(found: Found, budget: Budget) -> Iterator[tuple[str, Any, float, float] | BadMember]:
    size = max(found.path.stat().st_size, 1)
    with tarfile.open(found.path, "r:", tarinfo=BoundedHeaders) as archive:
        for info in archive:
            budget.member()
            if info.isdir() or _is_junk(info.name):
                continue
            if problem := _problem(info.name, not info.isfile()):
                yield _unsafe(info.name, problem)
                continue
            stream = archive.extractfile(info)
            if stream is not None:
                begin, end = info.offset_data / size, (info.offset_data + info.size) / size
                span = found.end - found.begin
                yield info.name, stream, found.begin + min(begin, 1) * span, found.begin + min(end, 1) * span


def _open(kind: str, path: Path) -> Any:
    if kind == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(
            path.open("rb"), read_across_frames=True, closefd=True
        )
    openers: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    return openers[kind](path, "rb")


def _problem(name: str, special: bool) -> str:
    """What is wrong with a member's path; empty where nothing is."""
    if special:
        return "it is a link or a device, not a file"
    return path_problem(name)


def path_problem(name: str) -> str:
    """What makes a path or object key a trick; empty where nothing does."""
    parts = name.replace("\\", "/").split("/")
    if not name or len(name) > 1024:
        return "its path is empty or longer than 1024 characters"
    if "\0" in name or any(ord(c) < 32 for c in name):
        return "its path holds control characters"
    if parts[0] == "" or (len(parts[0]) == 2 and parts[0][1] == ":"):
        return "its path is absolute"
    return "its path leads out of its folder" if ".." in parts else ""


def _unsafe(name: str, problem: str) -> BadMember:
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:200])
    return BadMember(shown, BadRow(0, Reason.UNSAFE_MEMBER, f"the member was not read: {problem}", shown))


def _is_junk(name: str) -> bool:
    last = PurePosixPath(name).name
    return name.startswith(_JUNK[0]) or last in _JUNK or last.startswith("._")


def _is_document(path: Path) -> bool:
    """Whether a zip file is a Word document."""
    try:
        check_zip_directory(path, LIMITS)
        with zipfile.ZipFile(path) as package:
            return "word/document.xml" in package.namelist()
    except _BROKEN:
        return False
    except FileUnreadable:
        return False  # it is refused when its members are asked for
