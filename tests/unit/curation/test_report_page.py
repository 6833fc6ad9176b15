"""Facts about the report page: self-contained, complete, and safe whatever the records say."""

import json
from dataclasses import replace
from html.parser import HTMLParser

from sartor_curation.pipeline import curate
from sartor_curation.policy import Preset
from sartor_curation.report_page import render
from sartor_curation.report_words import CHANGES, REASONS, STEPS
from sartor_curation.steps.outcome import Reason
from sartor_text.normalise import Change
from sartor_text.pii import PiiKind

from tests.unit.curation.desk import chat, count_words, desk, policy, ticket

VOID = {"meta", "br", "rect", "line"}


class Structure(HTMLParser):
    """Fails on a tag that is closed wrongly, and collects what the page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID or tag == "rect":
            self.open.append(tag)
        self.fetched += [tag] if tag in ("script", "link", "img", "iframe") else []
        self.fetched += [name for name, _ in attrs if name in ("src", "href") or name.startswith("on")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(*records: object) -> tuple[str, Structure]:
    curated = curate([*desk(), *records], policy(), count_words)  # type: ignore[list-item]
    report = replace(curated.report, about={"curation": "projects/desk/curations/one", "run": "r1"})
    page = render(json.loads(report.to_json()))
    structure = Structure()
    structure.feed(page)
    return page, structure


def test_the_page_shows_every_part_and_fetches_nothing() -> None:
    _, page = page_of(
        chat("a", "Is the museum open on Mondays?", "Yes, from ten o'clock."),
        chat("b", "Is the museum open on Mondays?", "No, it is closed."),
        chat("c", "FÃ¼r wen gilt der <b>Rabatt</b>?", "Für alle; schreib an eva.kern@example.de."),
        ticket("d", "", "billing"),
    )
    assert page.open == []
    assert page.fetched == []
    for words in (
        "Curation report",
        "Where the records went",
        "Contradiction",
        "Something is missing",
        "Broken characters",
        "E-mail addresses",
        "Yes, from ten o'clock.",
        "German",
        "technical",
        "Training, validation, test",
        "In tokens of the base model",
        "projects/desk/curations/one",
        "little can be learnt",
    ):
        assert words in page.text, words
    assert "eva.kern" not in page.text


def test_what_records_say_is_text_and_never_markup() -> None:
    attack = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    source, page = page_of(
        chat("<script>key</script>", f"Was macht {attack} mit der Seite?", ""),
        ticket("e", "The invoice shows the wrong company name again", attack),
    )
    assert page.fetched == []
    assert "<script" not in source
    assert "<script>key</script>" in page.text


def test_a_report_on_nothing_can_be_drawn() -> None:
    curated = curate([], policy(), count_words)
    page = Structure()
    page.feed(render(json.loads(curated.report.to_json())))
    assert page.open == []


def test_everything_that_can_happen_has_words() -> None:
    assert set(REASONS) == {reason.value for reason in Reason}
    kinds = {change.value for change in Change} | {kind.value for kind in PiiKind} | {"boilerplate"}
    assert set(CHANGES) == kinds
    reports = [
        curate(
            desk(), policy(preset=preset, evaluation_texts=["A question of an examination"]), count_words
        ).report
        for preset in Preset
    ]
    assert set(STEPS) == {step.name for report in reports for step in report.steps}
