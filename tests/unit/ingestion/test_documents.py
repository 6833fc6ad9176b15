"""Facts about documents: text, Markdown, HTML, PDF and Word, and how long ones are cut."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.enum.text import WD_BREAK
from hypothesis import given
from hypothesis import strategies as st
from sartor_ingestion.formats import detection, sections
from sartor_ingestion.formats.rows import FileUnreadable, Row
from sartor_ingestion.formats.sections import Block, passages, sentences

from tests.unit.ingestion.pdf_files import a_pdf

LOREM = "Die Anlage wird einmal im Jahr geprüft. Das Ergebnis steht im Protokoll. "


def rows_of(folder: Path, name: str, content: bytes, limit: int = 8000) -> list[dict[str, Any]]:
    path = folder / name
    path.write_bytes(content)
    found = list(detection.read(path, detection.decide(path, file_name=name), limit))
    assert all(isinstance(row, Row) for row in found)
    return [dict(row.fields) for row in found if isinstance(row, Row)]


def test_a_document_that_fits_is_one_passage_and_a_longer_one_is_cut_before_headings() -> None:
    blocks = [
        Block("Handbook", 1),
        *(Block(each, level) for part in "AB" for each, level in ((f"Part {part}", 2), (LOREM * 5, 0))),
    ]
    (whole,) = passages(blocks, 10_000)
    assert whole.section == "Handbook"
    first, second = passages(blocks, 500)
    assert (first.section, second.section) == ("Handbook", "Handbook > Part B")
    assert second.text.startswith("Part B\n\nDie Anlage")


def test_nothing_is_lost_and_no_sentence_is_cut() -> None:
    text = "".join(f"Satz Nummer {n} endet z. B. am 3. Mai um 5.30 Uhr bei Dr. Müller. " for n in range(200))
    found = list(passages([Block(text)], 400))
    assert len(found) > 20
    assert all(len(passage.text) <= 400 for passage in found)
    assert " ".join(passage.text for passage in found) == text.strip()
    assert all(p.text.startswith("Satz Nummer") and p.text.endswith("Müller.") for p in found)


BLOCKS = st.lists(
    st.builds(
        Block,
        text=st.lists(
            st.sampled_from(["Ein Wort", "endet.", "Noch", "z. B. eins", "Ja!", "\n"]), max_size=30
        ).map(" ".join),
        level=st.sampled_from([0, 0, 0, 1, 2, 3]),
    ),
    max_size=12,
)


@given(BLOCKS, st.integers(40, 400))
def test_whatever_a_document_holds_its_passages_hold_it_in_order(blocks: list[Block], limit: int) -> None:
    found = list(passages(blocks, limit))
    words = " ".join(block.text for block in blocks).split()
    assert " ".join(passage.text for passage in found).split() == words
    for passage in found:
        longest = max(len(sentence) for sentence in sentences(passage.text))
        assert len(passage.text) <= limit or len(list(sentences(passage.text))) == 1 or longest > limit


def test_a_sentence_longer_than_a_passage_stays_whole() -> None:
    long = "ein Wort " * 200 + "."
    found = [passage.text for passage in passages([Block(f"Kurz. {long} Ende.")], 100)]
    assert any(text.rstrip(".").count("ein Wort") == 200 for text in found)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Hello there. How are you? Fine!", 3),
        ("The price is 3.50 Euro, i.e. cheap. Buy it.", 2),
        ("Am 24. Dezember ist zu. Danach offen.", 2),
        ("“Stop.” He stopped.", 2),
        ("これは文です。次の文です。", 2),
        ("no end", 1),
    ],
)
def test_sentences_end_where_people_see_it(text: str, count: int) -> None:
    found = list(sentences(text))
    assert len(found) == count
    assert "".join(found) == text


def test_a_heading_goes_with_what_stands_below_it() -> None:
    blocks = [Block("One", 1), Block("x" * 300), Block("Two", 1), Block("y" * 300), Block("z" * 300)]
    texts = [passage.text for passage in passages(blocks, 420)]
    assert not any(text.endswith(("One", "Two")) for text in texts)


def test_markdown_keeps_title_and_sections_and_leaves_listings_whole(tmp_path: Path) -> None:
    content = (
        "---\ntitle: The Manual\nauthor: x\n---\nIntro.\n\n## Set up\n\n"
        "```python\n# no heading\n\nx = 1\n```\n\n"
        "Use\n---\n\n" + LOREM * 8
    )
    first, second = rows_of(tmp_path, "a.md", content.encode(), 600)
    assert first["title"] == second["title"] == "The Manual"
    assert (
        first["text"]
        == "Intro.\n\n## Set up".replace("## ", "") + "\n\n```python\n# no heading\n\nx = 1\n```"
    )
    assert second["section"] == "The Manual > Use"
    assert second["text"].startswith("Use\n\nDie Anlage")


PAGE = """<!DOCTYPE html><html><head><title>Rückgabe | Shop</title><meta charset="{}"></head><body>
<nav><a href="/">Start</a><a href="/kasse">Zur Kasse</a></nav>
<article><h1>Rückgabe von Ware</h1><p>Sie können Ware innerhalb von dreißig Tagen zurückgeben, wenn sie
unbenutzt ist und die Rechnung beiliegt. Wir erstatten den vollen Preis.</p><h2>Ausnahmen</h2>
<p>Versiegelte Ware ist ausgenommen, sobald das Siegel gebrochen wurde. Das gilt auch für Gutscheine.</p>
<table><tr><th>Art</th><th>Frist</th></tr><tr><td>Helm</td><td>30 Tage</td></tr></table></article>
<footer>© Shop GmbH – Impressum</footer><script>alert("x")</script></body></html>"""


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1", "windows-1252"])
def test_html_gives_its_main_text_whatever_its_encoding(tmp_path: Path, encoding: str) -> None:
    content = PAGE.format(encoding).replace("–", "-").encode(encoding)
    (row,) = rows_of(tmp_path, "a.html", content)
    assert "dreißig Tagen" in row["text"]
    assert "Ausnahmen" in row["text"]
    assert "30 Tage" in row["text"]
    assert not any(word in row["text"] for word in ("Kasse", "Impressum", "alert"))
    assert row["title"].startswith("Rückgabe")


def test_html_nested_without_end_is_read_or_refused(tmp_path: Path) -> None:
    text = "<p>Ein Absatz, der lang genug ist, um als Text einer Seite zu gelten.</p>"
    for content in ("<div>" * 50_000 + text, "<b>" * 50_000, "<!--" * 50_000):
        try:
            rows_of(tmp_path, "a.html", f"<html><body>{content}".encode())
        except FileUnreadable as error:
            assert error.reason == "NO_TEXT"  # noqa: PT017 - either is well


def test_html_without_text_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable) as error:
        rows_of(tmp_path, "a.html", b"<html><body><script>x()</script></body></html>")
    assert error.value.reason == "NO_TEXT"


def test_a_pdf_keeps_its_pages_title_and_bookmarks_and_loses_running_heads(tmp_path: Path) -> None:
    pages = [
        ["Acme Manual", f"Chapter {n}", f"This is the text of chapter {n} of the manual.", f"page {n}"]
        for n in range(1, 6)
    ]
    pages[0][2] = "A sentence that goes on over the end of the"
    pages[1][2] = "page is one sentence."
    pages[1][1] = ""
    content = a_pdf(pages, title="Acme Manual 2026", bookmarks=[(f"Chapter {n}", n) for n in (1, 3, 4, 5)])
    (whole,) = rows_of(tmp_path, "a.pdf", content)
    assert (whole["title"], whole["page"]) == ("Acme Manual 2026", "1-5")
    assert "page 3" not in whole["text"]
    assert "over the end of the page is one sentence." in whole["text"]
    found = rows_of(tmp_path, "a.pdf", content, 80)
    assert found[-1]["section"] == "Acme Manual 2026 > Chapter 5"
    assert found[-1]["page"] == "5"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"%PDF-1.4 nonsense", "MALFORMED_PDF"), (a_pdf([[]]), "NO_TEXT")],
)
def test_a_pdf_without_text_is_unreadable(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(FileUnreadable) as error:
        rows_of(tmp_path, "a.pdf", content)
    assert error.value.reason == reason


def a_word_document() -> bytes:
    document = docx.Document()
    document.core_properties.title = "Wartung"
    document.add_heading("Pumpe", 1)
    document.add_paragraph(LOREM * 4)
    document.add_heading("Filter", 2)
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(
        (c for row in table.rows for c in row.cells), ("Teil", "Frist", "F1", "1 Jahr"), strict=True
    ):
        cell.text = text
    document.add_paragraph("Ende.").add_run().add_break(WD_BREAK.PAGE)
    content = io.BytesIO()
    document.save(content)
    return content.getvalue()


def test_word_documents_keep_title_sections_and_tables(tmp_path: Path) -> None:
    (whole,) = rows_of(tmp_path, "a.docx", a_word_document())
    assert whole["title"] == "Wartung"
    assert "Teil | Frist\nF1 | 1 Jahr" in whole["text"]
    found = rows_of(tmp_path, "noname", a_word_document(), 320)
    assert found[-1]["section"] == "Wartung > Pumpe > Filter"


def test_a_broken_word_document_is_unreadable(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as package:
        package.writestr("word/document.xml", "<nonsense")
    for data in (b"PK\x03\x04 nonsense", content.getvalue()):
        with pytest.raises(FileUnreadable) as error:
            rows_of(tmp_path, "a.docx", data)
        assert error.value.reason == "MALFORMED_DOCX"


def test_the_default_passage_is_what_the_contract_says() -> None:
    proto = Path(__file__).parents[3] / "protos/sartor/ingestion/v1/source.proto"
    assert f"default {sections.MAX_CHARACTERS}." in proto.read_text("utf-8")
