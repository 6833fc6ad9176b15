"""Facts about boilerplate: what page after page repeats goes, what people wrote stays."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from sartor_curation.pipeline import Curated, Pipeline, curate
from sartor_curation.report_page import render
from sartor_curation.shards import Inline
from sartor_curation.steps.batches import items as as_items
from sartor_curation.steps.boilerplate import repeated_lines, take_out_boilerplate
from sartor_datasets.arrow import records_to_batch
from sartor_datasets.records import Record

from tests.unit.curation.desk import chat, count_words, policy, reasons, record, ticket

BODIES = [
    "The mill at the bend was rebuilt after the flood, by hand and without any money from the town.",
    "Anyone who wants to fish here needs a permit, which the office in the market square sells.",
    "Winter closes the upper road from November on; the lower one is cleared every morning at six.",
    "Our library lends games too, three at a time, and nobody has ever asked for a late fee.",
    "The choir meets on Thursdays and takes everybody who can hold a note for longer than a breath.",
    "Bees were brought back to the orchard in spring, and two of the five hives have swarmed already.",
    "A bus goes to the station every twenty minutes, on Sundays only once an hour and never at night.",
    "Whoever finds a hedgehog in daylight should call the shelter, since something is wrong with it.",
]
OPEN = {"languages": (), "test_share": 0.0, "validation_share": 0.0, "min_characters": 0}


def page(number: int, body: str, *, head: str = "Muster GmbH | Stadt am Fluss", foot: str = "") -> Record:
    foot = foot or f"Seite {number} von 80\n© 20{number:02d} Muster GmbH"
    return record(f"page-{number}", "document", text=f"{head}\n\n{body}\n\n{foot}")


def pages() -> list[Record]:
    return [page(number, body) for number, body in enumerate(BODIES)]


def texts(curated: Curated) -> dict[str, str]:
    return {one.record.record_key: one.record.text for one in curated.records}


def test_headers_and_footers_of_all_pages_go_and_bodies_stay() -> None:
    """Page numbers and years differ from page to page, and are the same line all the same."""
    curated = curate(pages(), policy(**OPEN), count_words)
    assert sorted(texts(curated).values()) == sorted(BODIES)
    step = next(one for one in curated.report.steps if one.name == "boilerplate")
    assert step.changed == {"boilerplate": len(BODIES)}
    assert "Muster GmbH | Stadt am Fluss" in step.figures["lines"]
    assert curated.report.changed_by_kind["boilerplate"] == len(BODIES)


def test_what_only_a_few_pages_say_stays() -> None:
    """Four of eight are too few to tell a footer from chance."""
    four = [*pages()[:4], *(record(f"p{n}", "document", text=body) for n, body in enumerate(BODIES[4:]))]
    curated = curate(four, policy(**OPEN), count_words)
    assert sum("Muster GmbH" in text for text in texts(curated).values()) == 4


@pytest.mark.parametrize(
    "line",
    [
        "Skip to main content",
        "Zum Hauptinhalt springen",
        "We use cookies to improve your experience on our website.",
        "Diese Website verwendet Cookies, um Ihnen den bestmöglichen Service zu bieten.",
        "Alle Cookies akzeptieren",
        "© 2024 Brot & Butter AG. Alle Rechte vorbehalten.",
        "Sent from my iPhone",
        "Share on Facebook",
        "Jetzt Newsletter abonnieren",
        "Nous utilisons des cookies pour améliorer votre visite.",
        "Impressum | Datenschutz | AGB",
    ],
)
def test_phrases_of_every_web_page_go_without_being_repeated(line: str) -> None:
    batch = items([record("a", "document", text=f"{line}\n{BODIES[0]}\n{line}")])
    assert take_out_boilerplate(batch, {}).kept.column("text").to_pylist() == [BODIES[0]]


@pytest.mark.parametrize(
    "text",
    [
        "How do I delete the cookies of one site only, without losing those of all others?",
        "Unsere Datenschutzerklärung erwähnt Cookies in Absatz vier; stimmt das noch?",
        "Please share the file with Anna.",
        "My newsletter never arrives although I have subscribed to it twice.",
        "All rights to the photographs remain with their authors.",
    ],
)
def test_what_people_write_about_such_things_stays(text: str) -> None:
    batch = items([record("a", "document", text=text)])
    assert take_out_boilerplate(batch, {}).kept.column("text").to_pylist() == [text]


def test_a_page_of_nothing_else_is_dropped_with_its_reason() -> None:
    empty = record("empty", "document", text="Skip to content\nAccept all cookies\nToggle navigation")
    curated = curate([*pages(), empty], policy(**OPEN), count_words)
    assert reasons(curated) == {"empty": "BOILERPLATE"}


def test_menus_in_the_middle_go_where_three_lines_repeat_and_single_lines_stay() -> None:
    menu = "Home\nProducts\nContact us"
    texts = [f"{body}\n{menu}\n{body[::-1]}\nSummary\n{body.upper()}" for body in BODIES]
    batch = items([record(str(number), "document", text=text) for number, text in enumerate(texts)])
    kept = take_out_boilerplate(batch, repeated_lines(texts)).kept.column("text").to_pylist()
    assert kept == [text.replace(menu + "\n", "") for text in texts]


def test_equal_tickets_and_the_greetings_of_chats_stay() -> None:
    """People do ask the same in the same words, and an answer that always ends the same is meant to."""
    same = [ticket(f"t{number}", "Reset my password", "it") for number in range(9)]
    chats = [
        chat(f"c{n}", f"Question about {body}", f"{body}\nBest regards\nYour team")
        for n, body in enumerate(BODIES)
    ]
    batch = items([*same, *chats])
    lines = repeated_lines(["Reset my password"] * 9)
    assert take_out_boilerplate(batch, lines).kept.equals(batch)


def test_lines_are_counted_over_all_shards(tmp_path: Path) -> None:
    """A shard alone has too few pages to tell."""
    many = [page(number, f"{body} {body[::-1]}") for number, body in enumerate(BODIES)]
    pipeline = Pipeline(policy(**OPEN), tmp_path, count_words, "t", executor=Inline(), shard_bytes=600)
    finished = pipeline.run(records_to_batch([one]) for one in many)
    assert len(finished.notes) > 3
    found = [text for batch in finished.batches() for text in batch.column("text").to_pylist()]
    assert len(found) == len(BODIES)
    assert not [text for text in found if "Muster" in text]


def test_the_report_shows_what_was_taken_out() -> None:
    curated = curate(pages(), policy(**OPEN), count_words)
    html = render(json.loads(curated.report.to_json()))
    assert "Boilerplate that was taken out" in html
    assert "Muster GmbH | Stadt am Fluss" in html


def items(records: list[Record]) -> pa.RecordBatch:
    return as_items(records_to_batch(records), 0)
