"""Draws the JSON report as one self-contained HTML page: no scripts, no fonts, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from html import escape
from importlib.resources import files
from typing import Any

from sartor_curation.charts import bars, histogram, paired_bars, stacked_bar
from sartor_curation.report_checks import check_sections, grade_section
from sartor_curation.report_words import CHANGES, LANGUAGES, REASONS, SPLITS, STEPS, explain

Json = Mapping[str, Any]


def render(report: Json) -> str:
    """The page for a report as `Report.to_json` writes it."""
    sections = [
        _header(report),
        grade_section(report),
        _warnings(report),
        _outcome(report),
        _dropped(report),
        _changed(report),
        _contradictions(report),
        *check_sections(report),
        _splits(report),
        '<div class="two">' + _languages(report) + _labels(report) + "</div>",
        _lengths(report),
        _how(report),
    ]
    style = files("sartor_curation").joinpath("report_style.css").read_text(encoding="utf-8")
    title = f"Curation of {report['about'].get('dataset') or report['policy']['dataset']}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _header(report: Json) -> str:
    read, kept = report["read"], report["kept"]
    train = _split(report, "train")
    names = "".join(
        f"<span>{escape(name.replace('_', ' '))} <b>{escape(value)}</b></span>"
        for name, value in report["about"].items()
        if value
    )
    tiles = [
        (f"{read:,}", "records read"),
        (f"{kept:,}", f"kept ({_percent(kept, read)})"),
        (f"{report['dropped']:,}", f"dropped ({_percent(report['dropped'], read)})"),
        (f"{report['changed']:,}", "kept, but mended or masked"),
        (f"{train['records']:,}", "to train on"),
        (f"{train['tokens']:,}", "training tokens"),
    ]
    boxes = "".join(
        f'<div class="tile"><div class="figure">{figure}</div><div class="what">{what}</div></div>'
        for figure, what in tiles
    )
    lead = "What came in, what was taken out and why, and what the model will learn from."
    return (
        f'<h1>Curation report</h1><p class="lead">{lead}</p><div class="names">{names}</div>'
        f'<div class="tiles">{boxes}</div>'
    )


def _warnings(report: Json) -> str:
    signs = report["warnings"]
    if not signs:
        return _section(
            "Worth knowing", "", '<p class="fine">Nothing about this data gives reason to worry.</p>'
        )
    boxes = "".join(f'<p class="warning">{escape(sign["message"])}</p>' for sign in signs)
    return _section("Worth knowing", "", boxes)


def _outcome(report: Json) -> str:
    parts = [(SPLITS[s["split"]], s["records"], _COLOURS[s["split"]]) for s in report["splits"]]
    parts.append(("Dropped", report["dropped"], "gone"))
    chart = stacked_bar(parts, "Where the records went")
    return _section(
        "Where the records went", "Every record that was read is in exactly one part.", chart + _key(parts)
    )


def _dropped(report: Json) -> str:
    counts = report["dropped_by_reason"]
    if not counts:
        return _section("What was dropped", "Nothing: every record stayed.", "")
    chart = bars(
        {explain(REASONS, reason).title: n for reason, n in counts.items()}, "gone", "Dropped by reason"
    )
    details = "".join(_reason(report, reason, count) for reason, count in counts.items())
    lead = "Each dropped record has one reason: that of the first step that would not let it pass."
    return _section("What was dropped", lead, chart + details)


def _reason(report: Json, reason: str, count: int) -> str:
    words = explain(REASONS, reason)
    samples = [sample for sample in report["drop_samples"] if sample["reason"] == reason]
    rows = [(s["record_key"], s["excerpt"], s["detail"]) for s in samples]
    shown = f"{len(samples)} of {count:,} shown" if len(samples) < count else "all shown"
    return (
        f"<details><summary>{escape(words.title)} <span>· {count:,} · {shown}</span></summary>"
        f"<p>{escape(words.meaning)}</p>"
        f"{_table(('Record', 'Says', 'Why'), rows)}</details>"
    )


def _changed(report: Json) -> str:
    counts = report["changed_by_kind"]
    samples = [sample for step in report["steps"] for sample in step["samples"]]
    if not counts:
        return _section("What was mended or masked", "Nothing: the texts stayed as they were.", "")
    chart = bars(
        {explain(CHANGES, kind).title: n for kind, n in counts.items()}, "accent", "Changed records by kind"
    )
    details = ""
    for kind in counts:
        words = explain(CHANGES, kind)
        pairs = "".join(_before_and_after(sample) for sample in samples if sample["kind"] == kind)
        if pairs:
            details += (
                f"<details{'' if details else ' open'}>"
                f"<summary>{escape(words.title)} <span>· {counts[kind]:,} records</span></summary>"
                f"<p>{escape(words.meaning)}</p>{pairs}</details>"
            )
    lead = (
        "These records are kept. Personal data is blotted out (█) in the samples, and replaced in the data."
    )
    return _section("What was mended or masked", lead, chart + details)


def _before_and_after(sample: Json) -> str:
    before, after = _marked(sample["before"], sample["after"])
    key = escape(sample["record_key"])
    return (
        f'<div class="pair"><div><small>{key} · before</small>{before}</div>'
        f"<div><small>after</small>{after}</div></div>"
    )


def _marked(before: str, after: str) -> tuple[str, str]:
    """Both texts as HTML, with what went and what came marked."""
    left: list[str] = []
    right: list[str] = []
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = escape(before[a:b]), escape(after[c:d])
        left.append(old if kind == "equal" or not old else f"<del>{old}</del>")
        right.append(new if kind == "equal" or not new else f"<ins>{new}</ins>")
    return "".join(left), "".join(right)


def _contradictions(report: Json) -> str:
    figures = _figures(report, "contradictions")
    if not figures.get("contradictions"):
        return ""
    cards: list[str] = []
    for one in figures["contradictions"]:
        sides = "".join(map(_side, one["sides"]))
        cards.append(f'<h3>{escape(one["question"])}</h3><div class="pair">{sides}</div>')
    lead = (
        f"{figures['count']:,} questions have answers that differ. A model would learn to waver: let "
        "somebody who knows decide, and correct the source."
    )
    return _section("Contradictions", lead, "".join(cards))


def _side(side: Json) -> str:
    fate = "kept" if side["kept"] else "dropped"
    keys = escape(", ".join(side["record_keys"][:4]))
    head = f"<small>{side['records']} × · {fate} · {keys}</small>"
    return f'<div class="{fate}">{head}{escape(side["answer"])}</div>'


def _splits(report: Json) -> str:
    rows = [(SPLITS[s["split"]], s["records"], s["clusters"], s["tokens"]) for s in report["splits"]]
    remembered = _figures(report, "splits").get("remembered", 0)
    lead = (
        "Questions that resemble each other share a split, and keep it in every later snapshot: what is held "
        f"out today is never trained on. {remembered:,} records had theirs before."
    )
    table = _table(("Split", "Records", "Clusters", "Tokens"), rows)
    return _section("Training, validation, test", lead, table)


def _languages(report: Json) -> str:
    counts = report["languages"]
    named = [
        {LANGUAGES.get(code, code): n for code, n in counts[when].items()} for when in ("before", "after")
    ]
    return _section(
        "Languages", "Found by reading the texts.", paired_bars(named[0], named[1], "Languages") + _KEY
    )


def _labels(report: Json) -> str:
    labels = report["labels"]
    if not labels["before"]:
        return _section("Kinds of records", "", paired_bars(**report["kinds"], title="Kinds") + _KEY)
    return _section("Labels", "Of the labelled records.", paired_bars(**labels, title="Labels") + _KEY)


def _lengths(report: Json) -> str:
    parts: list[str] = []
    for name, unit in (("characters", "characters"), ("tokens", "tokens of the base model")):
        distributions = report[name]
        if not distributions:
            continue
        series = [
            (when, distributions[key]["counts"], colour)
            for key, when, colour in (("before", "read", "faint"), ("after", "kept", "accent"))
            if key in distributions
        ]
        edges = next(iter(distributions.values()))["edges"]
        parts.append(f"<h3>In {unit}</h3>{histogram(series, edges, unit, f'Lengths in {unit}')}")
        after = distributions.get("after")
        if after:
            parts.append(
                f'<p class="key">Kept: median {after["median"]:,.0f}, mean {after["mean"]:,.0f}, '
                f"95 % below {after['p95']:,.0f}, longest {after['most']:,}, together {after['total']:,}</p>"
            )
    return _section("Lengths", "Question and answer together.", "".join(parts) + _KEY)


def _how(report: Json) -> str:
    steps = []
    for step in report["steps"]:
        words = explain(STEPS, step["name"])
        took = round(step["seconds"] * 1000)
        steps.append((words.title, words.meaning, step["read"], step["kept"], took))
    policy = [(name.replace("_", " "), _plain(value)) for name, value in report["policy"].items()]
    table = _table(("Step", "", "Read", "Kept", "Milliseconds"), steps)
    body = f"{table}<details><summary>The policy</summary>{_table(('Setting', 'Value'), policy)}</details>"
    return _section("How it was done", "The steps in their order.", body)


_COLOURS = {"train": "accent", "validation": "val", "test": "test"}
_KEY = (
    '<div class="key"><span><i style="background:var(--faint)"></i>read</span>'
    '<span><i style="background:var(--accent)"></i>kept</span></div>'
)


def _section(title: str, lead: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{f'<p>{escape(lead)}</p>' if lead else ''}{body}</section>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """A table; columns of numbers are set to the right."""
    numeric = [isinstance(cell, int) for cell in rows[0]] if rows else [False] * len(head)
    kinds = [' class="n"' if number else "" for number in numeric]
    top = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, head, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_cell(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else escape(value)


def _key(parts: Sequence[tuple[str, int, str]]) -> str:
    shown = "".join(
        f'<span><i style="background:var(--{colour})"></i>{escape(name)} {count:,}</span>'
        for name, count, colour in parts
    )
    return f'<div class="key">{shown}</div>'


def _split(report: Json, name: str) -> Json:
    found: Json = next(split for split in report["splits"] if split["split"] == name)
    return found


def _figures(report: Json, step: str) -> Json:
    found: Json = next((one["figures"] for one in report["steps"] if one["name"] == step), {})
    return found


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
