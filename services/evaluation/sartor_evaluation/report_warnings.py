"""What a reader of a report must know before believing it: items without an answer, suites that were learnt
by
heart; and each label's figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]
_SHOWN_LABELS = 24


def warnings(report: Json) -> str:
    """Paragraphs, or "" where nothing is wrong."""
    found = []
    for suite, candidates in report["failures"].items():
        for name, reasons in candidates.items():
            count = sum(reasons.values())
            most = max(reasons, key=reasons.__getitem__)
            found.append(
                f"{name} gave no answer to {count} items of the {suite} suite (mostly: {most}); they "
                "are in none of "
                "its scores."
            )
    for suite, ids in report["training_overlap"].items():
        found.append(
            f"{len(ids)} questions of the {suite} suite are in the training data: its scores say what "
            "was learnt by "
            "heart."
        )
    told = "".join(f"<p class='note'>{escape(text)}</p>" for text in report.get("notes", ()))
    return told + "".join(f"<p class='warning'>{escape(text)}</p>" for text in found)


def label_tables(report: Json) -> str:
    """Precision, recall and F1 of each label, a table a candidate."""
    parts = []
    for suite, candidates in report["classes"].items():
        for name, found in candidates.items():
            if not 2 <= len(found["labels"]) <= _SHOWN_LABELS:
                continue
            rows = "".join(
                f"<tr><td>{escape(label)}</td><td class='n'>{one['items']}</td>"
                + "".join(f"<td class='n'>{_number(one[key])}</td>" for key in ("precision", "recall", "f1"))
                + "</tr>"
                for label, one in found["classes"].items()
            )
            parts.append(
                f"<details><summary>Labels of {escape(name)}, "
                f"{escape(suite)}</summary><table><tr><th>Label</th>"
                "<th class='n'>Items</th><th class='n'>Precision</th><th class='n'>Recall</th>"
                f"<th class='n'>F1</th></tr>{rows}</table></details>"
            )
    return "".join(parts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
