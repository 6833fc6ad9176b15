"""Recall and precision by kind of personal data; `python -m tests.unit.text.pii_scores` prints them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from sartor_text.pii import PERSONAL, find_pii

from tests.unit.text import fresh_pii, labelled_pii

_MARK = re.compile(r"\{([A-Z_]+):([^}]+)\}")
SETS = {
    "first": (labelled_pii.MARKED, labelled_pii.CLEAN),
    "mended with": (fresh_pii.FIRST + fresh_pii.SECOND, fresh_pii.CLEAN),
    "unseen": (fresh_pii.THIRD, fresh_pii.CLEAN),
}
"""Sentences with marks, and clean ones, by the name of the set."""


@dataclass(slots=True)
class Scores:
    """Counts by kind. A finding is right if it overlaps data of its kind."""

    wanted: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)

    def recall(self, kind: str) -> float:
        return self.hit[kind] / max(self.wanted[kind], 1)

    def precision(self, kind: str) -> float:
        return self.right[kind] / max(self.found[kind], 1)


def score(name: str) -> Scores:
    """The scores on one set."""
    marked, clean = SETS[name]
    scores = Scores()
    for line in (*marked.splitlines(), *clean.splitlines()):
        text, marks = _unmarked(line.replace("\\n", "\n"))
        findings = [(one.kind.value, one.start, one.end) for one in find_pii(text, PERSONAL)]
        for kind, start, end in marks:
            scores.wanted[kind] += 1
            scores.hit[kind] += any(k == kind and s < end and start < e for k, s, e in findings)
        for kind, start, end in findings:
            scores.found[kind] += 1
            scores.right[kind] += any(k == kind and s < end and start < e for k, s, e in marks)
    return scores


def _unmarked(line: str) -> tuple[str, list[tuple[str, int, int]]]:
    """The sentence without marks, and kind, start and end of each datum."""
    marks: list[tuple[str, int, int]] = []
    text = ""
    position = 0
    for mark in _MARK.finditer(line):
        text += line[position : mark.start()]
        marks.append((mark[1], len(text), len(text) + len(mark[2])))
        text += mark[2]
        position = mark.end()
    return text + line[position:], marks


if __name__ == "__main__":
    print(f"{'set':12} {'kind':16} {'data':>4} {'recall':>7} {'found':>6} {'precision':>10}")
    for of_set in SETS:
        result = score(of_set)
        for of_kind in sorted(result.wanted):
            figures = (
                f"{result.recall(of_kind):7.0%} {result.found[of_kind]:6} {result.precision(of_kind):10.0%}"
            )
            print(f"{of_set:12} {of_kind:16} {result.wanted[of_kind]:4} {figures}")
