"""Writes a dataset card: what a dataset is, how it came to be and what is wrong with it, as Markdown.

The sections follow Pushkarna, Zaldivar, Kjartansson: Data Cards, FAccT 2022, as far as curation knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sartor_curation.report_words import LANGUAGES, REASONS, SPLITS, explain

Json = Mapping[str, Any]


def render_card(report: Json) -> str:
    """The card for a report as `Report.to_json` writes it; begins with the metadata that model hubs read."""
    about, policy = report["about"], report["policy"]
    languages = [code for code in report["languages"]["after"] if code in LANGUAGES and code != "und"]
    head = [
        "---",
        "language:",
        *(f"- {code}" for code in languages),
        f"size_categories: {_size(report)}",
        "---",
    ]
    sections = [
        f"# {about.get('dataset') or policy['dataset']}",
        _facts(report),
        "## Composition\n\n" + _table(("Split", "Records", "Clusters", "Tokens"), _splits(report)),
        "## Languages, kinds and labels\n\n" + _table(("What", "Kept records"), _counts(report)),
        "## How it was curated\n\n" + _dropped(report),
        "## Personal data\n\n" + _personal(report),
        "## Known weaknesses\n\n" + _list(report["grade"]["reasons"]),
        "## What to collect next\n\n" + _list(report["grade"]["collect_next"] or ["Nothing is urgent."]),
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(sections) + "\n"


def _facts(report: Json) -> str:
    rows = [(name.replace("_", " "), value) for name, value in report["about"].items() if value]
    rows += [("grade", report["grade"]["grade"]), ("preset", report["policy"]["preset"].lower())]
    return _table(("", ""), rows)


def _size(report: Json) -> str:
    sizes = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for most, name in sizes if report["kept"] < most), "n>1M")


def _splits(report: Json) -> list[tuple[str, ...]]:
    return [
        (SPLITS[one["split"]], *(f"{one[name]:,}" for name in ("records", "clusters", "tokens")))
        for one in report["splits"]
    ]


def _counts(report: Json) -> list[tuple[str, str]]:
    named = [
        *((LANGUAGES.get(code, code), count) for code, count in report["languages"]["after"].items()),
        *report["kinds"]["after"].items(),
        *((f"label {label}", count) for label, count in report["labels"]["after"].items()),
    ]
    return [(name, f"{count:,}") for name, count in named]


def _dropped(report: Json) -> str:
    lead = f"Of {report['read']:,} records {report['kept']:,} were kept and {report['dropped']:,} dropped."
    rows = [
        (words.title, f"{count:,}", words.meaning)
        for words, count in (
            (explain(REASONS, reason), count) for reason, count in report["dropped_by_reason"].items()
        )
    ]
    return f"{lead}\n\n{_table(('Reason', 'Records', 'Meaning'), rows)}" if rows else lead


def _personal(report: Json) -> str:
    found: Json = next((s["figures"] for s in report["steps"] if s["name"] == "personal_data"), {})
    counts = ", ".join(f"{count:,} × {kind}" for kind, count in found.get("found", {}).items())
    done = {"MASK": "replaced by placeholders", "DROP": "dropped with their records"}
    action = done.get(report["policy"]["pii_action"], "left as they were")
    return f"Found and {action}: {counts}." if counts else "None was found."


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
