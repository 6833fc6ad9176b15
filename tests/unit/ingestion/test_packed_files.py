"""Facts about packed files, encodings and dialects; and what happens to those made to do harm."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from sartor_ingestion.formats import archives, csv, detection
from sartor_ingestion.formats.archives import BadMember, Found
from sartor_ingestion.formats.encodings import detect
from sartor_ingestion.formats.limits import Limits
from sartor_ingestion.formats.rows import BadRow, FileUnreadable, Row
from sartor_ingestion.rejection import Reason

ROW = b'{"text": "a"}\n'


def a_zip(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def a_tar(members: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return content.getvalue()


def taken(
    folder: Path, content: bytes, name: str = "rows.jsonl", limits: Limits | None = None
) -> dict[str, bytes | str]:
    """What comes out: member → its bytes, or the reason why it does not."""
    path = folder / "packed"
    path.write_bytes(content)
    found: dict[str, bytes | str] = {}
    for each in archives.files(path, name, folder, limits or Limits()):
        if isinstance(each, BadMember):
            found[each.member] = each.row.reason.value
        else:
            assert isinstance(each, Found)
            found[each.member or each.name] = each.path.read_bytes()
    assert [file.name for file in folder.iterdir()] == ["packed"], "unpacked files stay behind"
    return found


@pytest.mark.parametrize(
    ("pack", "suffix"),
    [(gzip.compress, "gz"), (zstandard.compress, "zst"), (bz2.compress, "bz2"), (lzma.compress, "xz")],
)
def test_a_compressed_file_is_the_file_without_its_suffix(tmp_path: Path, pack: object, suffix: str) -> None:
    assert taken(tmp_path, pack(ROW), f"rows.jsonl.{suffix}") == {"rows.jsonl": ROW}  # type: ignore[operator]


def test_frames_that_follow_one_another_are_one_file(tmp_path: Path) -> None:
    assert taken(tmp_path, gzip.compress(ROW) * 2, "a.gz") == {"a": ROW * 2}
    assert taken(tmp_path, zstandard.compress(ROW) * 2, "a.zst") == {"a": ROW * 2}


def test_archives_are_taken_apart_also_where_they_lie_in_archives(tmp_path: Path) -> None:
    inner = a_zip({"deep/c.csv": b"text\nx\n", "__MACOSX/._c.csv": b"junk"})
    content = gzip.compress(a_tar({"a.jsonl": ROW, "b.jsonl.gz": gzip.compress(ROW), "in.zip": inner}))
    assert taken(tmp_path, content, "all.tgz") == {
        "a.jsonl": ROW,
        "b.jsonl.gz": ROW,
        "deep/c.csv": b"text\nx\n",
    }


def test_tricks_in_the_paths_of_members_are_refused(tmp_path: Path) -> None:
    names = ("../up.jsonl", "/etc/passwd", "C:\\x.jsonl", "a/../../b.jsonl", "a\x01b.jsonl")
    found = taken(tmp_path, a_zip({**dict.fromkeys(names, ROW), "good.jsonl": ROW}))
    assert found.pop("good.jsonl") == ROW
    assert set(found.values()) == {"UNSAFE_MEMBER"}
    assert len(found) == len(names)


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    link, device = tarfile.TarInfo("link"), tarfile.TarInfo("device")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    found = taken(tmp_path, a_tar({"good.jsonl": ROW}, link, device))
    assert found == {"good.jsonl": ROW, "link": "UNSAFE_MEMBER", "device": "UNSAFE_MEMBER"}


BOUNDS = Limits(free_bytes=1_000_000, total_bytes=20_000_000)
ZEROS = bytes(8_000_000)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(ZEROS),
        zstandard.compress(ZEROS),
        a_zip({"a": ZEROS}),
        a_zip({f"{n}": bytes(900_000) for n in range(30)}),
        gzip.compress(a_tar({"a": ZEROS})),
        a_zip({"a.gz": gzip.compress(ZEROS, 9)}),
    ],
    # Else the bytes are the ids, with the second at which they were packed.
    ids=["gzip", "zstandard", "zip", "zip-of-many", "tar-in-gzip", "gzip-in-zip"],
)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FileUnreadable) as error:
        taken(tmp_path, content, limits=BOUNDS)
    assert error.value.reason == "DECOMPRESSION_BOMB"
    assert sum(file.stat().st_size for file in tmp_path.iterdir() if file.name != "packed") == 0


def test_archives_in_archives_end_somewhere(tmp_path: Path) -> None:
    content = ROW
    for _ in range(8):
        content = a_zip({"a": content})
    assert set(taken(tmp_path, content).values()) == {"UNSAFE_MEMBER"}
    with pytest.raises(FileUnreadable):
        taken(tmp_path, a_zip({f"{n}": b"" for n in range(20)}), limits=Limits(members=10))


@pytest.mark.parametrize(
    "content",
    [gzip.compress(ROW)[:-10], a_zip({"a": ROW})[:-30], b"BZh9nonsense"],
    ids=["gzip", "zip", "bzip2"],
)
def test_a_broken_archive_is_unreadable(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FileUnreadable) as error:
        taken(tmp_path, content)
    assert error.value.reason == "MALFORMED_ARCHIVE"


def test_headers_made_to_exhaust_memory_are_refused(tmp_path: Path) -> None:
    many = a_zip({f"{n:0200}": b"" for n in range(300)})
    path = tarfile.TarInfo("a")
    path.type, path.size = tarfile.XHDTYPE, 3_000_000
    huge = path.tobuf() + bytes(3_000_064)
    for content in (many, huge):
        with pytest.raises(FileUnreadable) as error:
            taken(tmp_path, content, limits=Limits(members=100))
        assert error.value.reason == "DECOMPRESSION_BOMB"


def test_the_64_bit_directory_of_a_zip_file_is_believed(tmp_path: Path) -> None:
    content = bytearray(a_zip({"a": ROW}))
    end = len(content) - 22
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 2**40, 0)
    content[end:end] = record + struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    with pytest.raises(FileUnreadable) as error:
        taken(tmp_path, bytes(content))
    assert error.value.reason == "DECOMPRESSION_BOMB"


def test_a_broken_member_leaves_the_others(tmp_path: Path) -> None:
    found = taken(tmp_path, a_zip({"a.gz": b"\x1f\x8b nonsense", "b.jsonl": ROW}))
    assert found == {"a.gz": "MEMBER_UNREADABLE", "b.jsonl": ROW}


def test_a_word_document_declaring_too_much_is_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(a_zip({"word/document.xml": bytes(100_000_000)}))
    with pytest.raises(FileUnreadable) as error:
        list(detection.read(path, "docx"))
    assert error.value.reason == "DECOMPRESSION_BOMB"


def test_a_parquet_file_of_one_repeated_value_is_a_bomb(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["x" * 1_000_000 + str(n % 2) for n in range(100)])})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(FileUnreadable) as error:
        list(detection.read(tmp_path / "a.parquet", "parquet"))
    assert error.value.reason == "DECOMPRESSION_BOMB"


GERMAN = "text,label\nGrüße aus München – schön,gut\nÄrger über Öl,schlecht\n"
RUSSIAN = "text,label\nПривет из Москвы, это довольно длинный текст\nЕщё одна строка по-русски для проверки\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(GERMAN, e) for e in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252")]
    + [(RUSSIAN.replace(", это", "; это"), e) for e in ("cp1251", "utf-16")],
)
def test_csv_of_any_encoding_is_read(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    expected = [line.partition(",")[0] for line in text.splitlines()[1:]]
    rows = [row for row in csv.read(path) if isinstance(row, Row)]
    if text == GERMAN:
        assert [row.fields["text"] for row in rows] == expected
    else:
        assert detect(path) in ("cp1251", "utf-16")


def test_a_damaged_byte_does_not_make_utf8_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(GERMAN.encode() + b"\xff,x\n")
    assert detect(path) == "utf-8"
    assert [row.reason for row in csv.read(path) if isinstance(row, BadRow)] == [Reason.NOT_UTF8]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a|b|c\n1|2,5|3\n", {"a": "1", "b": "2,5", "c": "3"}),
        ("sep=;\na;b\n1;2\n", {"a": "1", "b": "2"}),
        ("a\tb, with comma\n1\t2\n", {"a": "1", "b, with comma": "2"}),
        ("a,b\n1,'it, quoted'\n2,'x'\n", {"a": "1", "b": "it, quoted"}),
        ('a,b\n1,"say \\"hi\\", he said"\n', {"a": "1", "b": 'say "hi", he said'}),
        ('a;b\n1;"two\nlines; one field"\n', {"a": "1", "b": "two\nlines; one field"}),
        ("only\nvalue\n", {"only": "value"}),
    ],
)
def test_the_dialect_is_seen(tmp_path: Path, content: str, expected: dict[str, str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content, newline="")
    first = next(iter(csv.read(path)))
    assert isinstance(first, Row)
    assert dict(first.fields) == expected


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\0\0", bytes(range(32)) * 4, b"\x7fELF\x02\x01\x01\0"]
)
def test_what_is_no_text_is_not_taken_for_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(FileUnreadable) as error:
        detection.decide(path)
    assert error.value.reason == "UNKNOWN_FORMAT"
