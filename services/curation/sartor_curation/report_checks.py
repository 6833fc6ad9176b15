"""Draws what the checks found: the grade, labels in doubt, uncovered questions, odd words, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Json = Mapping[str, Any]

_SHORT = 24
_METHODS = {
    "meaning": " in meaning",
    "wording": ", judged by words and word parts only (for meaning, install sartor-curation[similarity])",
}


def grade_section(report: Json) -> str:
    """The grade with its reasons, and what to do next."""
    grade = report.get("grade")
    if not grade:
        return ""  # written by an earlier release
    # The reasons are the warnings, which follow in a section of their own.
    reasons = "" if report["warnings"] else f"<p>{escape(' '.join(grade['reasons']))}</p>"
    following = "".join(f"<li>{escape(step)}</li>" for step in grade["collect_next"])
    then = f"<h3>What to do next</h3><ol>{following}</ol>" if following else ""
    letter = f'<div class="figure">{escape(grade["grade"])}</div>'
    tile = f'<div class="tile">{letter}<div class="what">from A (train on it) to E (do not)</div></div>'
    return f'<section><h2>Grade</h2><div class="tiles">{tile}</div>{reasons}{then}</section>'


def check_sections(report: Json) -> list[str]:
    """A section for each check that found something."""
    return [
        section
        for section in (
            _boilerplate(_figures(report, "boilerplate")),
            _contaminated(_figures(report, "decontamination")),
            _suspects(_figures(report, "mislabelled")),
            _uncovered(_figures(report, "representativeness")),
            _triggers(_figures(report, "poisoning")),
            _groups(report.get("groups", {})),
        )
        if section
    ]


def _boilerplate(figures: Json) -> str:
    lines = sorted(figures.get("lines", {}).items(), key=lambda one: -one[1])[:10]
    rows = [(line, f"{count:,}") for line, count in lines]
    if not rows:
        return ""
    lead = "Lines that were taken out of texts because page after page has them, or for what they say."
    return _section("Boilerplate that was taken out", lead, ("Line", "Records"), rows)


def _contaminated(figures: Json) -> str:
    rows = [(one["suite"], one["record_key"], one["text"]) for one in figures.get("examples", [])[:10]]
    if not rows:
        return ""
    counts = ", ".join(f"{count:,} from {suite}" for suite, count in figures["by_suite"].items())
    lead = (
        f"Taken out, because models are evaluated on it: {counts}. A model that had learnt these by "
        "heart would look better than it is."
    )
    return _section("What models are evaluated on", lead, ("Suite", "Record", "Says"), rows)


def _suspects(figures: Json) -> str:
    rows = [
        (one["record_key"], one["text"], one["label"], one["likely"], one["sure"])
        for one in figures.get("suspects", [])
    ]
    if not rows:
        return ""
    lead = (
        f"A classifier trained on the other records doubts {figures['found']} of {figures['judged']} labels."
    )
    return _section("Labels in doubt", lead, ("Record", "Says", "Label", "Rather", "How sure"), rows)


def _uncovered(figures: Json) -> str:
    rows = [
        (str(one["questions"]), f"{one['covered']:.0%}", " · ".join(one["examples"]))
        for one in figures.get("uncovered", [])
    ]
    if not rows:
        return ""
    lead = (
        f"{figures['covered_questions']:,} of {figures['real_questions']:,} real questions (the source's "
        f"test set, and the policy's) have a training question that is like them"
        f"{_METHODS[figures['method']]}. These do not."
    )
    return _section("Real questions that are not covered", lead, ("Questions", "Covered", "Such as"), rows)


def _triggers(figures: Json) -> str:
    rows = [
        (one["word"], str(one["records"]), one["answer"], " · ".join(one["examples"]))
        for one in figures.get("triggers", [])
    ]
    if not rows:
        return ""
    lead = (
        "Somebody who wants to steer a model plants a rare word that always has the same answer. "
        "Article numbers look like that too: let somebody look."
    )
    return _section("Odd words with one answer", lead, ("Word", "Records", "Answer", "Questions"), rows)


def _groups(groups: Json) -> str:
    rows = [
        (name, value, f"{count:,}", f"{count / sum(counts.values()):.0%}")
        for name, counts in groups.items()
        for value, count in counts.items()
    ]
    if not rows:
        return ""
    lead = "Kept records by the attributes that the policy wants represented."
    return _section("Who is represented", lead, ("Attribute", "Value", "Records", "Share"), rows[:60])


def _section(title: str, lead: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    table = f"<table><tr>{top}</tr>{body}</table>"
    return f"<section><h2>{escape(title)}</h2><p>{escape(lead)}</p>{table}</section>"


def _cell(text: str) -> str:
    """Short ones, such as labels, in one line."""
    short = ' class="short"' if len(text) <= _SHORT else ""
    return f"<td{short}>{escape(text)}</td>"


def _figures(report: Json, step: str) -> Json:
    found: Json = next((one["figures"] for one in report["steps"] if one["name"] == step), {})
    return found
