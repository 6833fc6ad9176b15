"""Figures of evaluations as tables: each candidate's metrics, and what differs between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from sartor.evaluation.v1.evaluation_pb2 import Comparison, Estimate, Score

from sartor_cli.output import Column, table

ORDER = ("base", "prompted", "tuned")
_TITLES = {"base": "base", "prompted": "base + best prompt", "tuned": "tuned"}


def estimate_text(estimate: Estimate) -> str:
    """A value with its 95 % interval."""
    return f"{estimate.value:.3f} [{estimate.lower:.3f}, {estimate.upper:.3f}]"


def candidates_of(scores: Iterable[Score]) -> list[str]:
    """The candidates in the order people expect: base, prompted, tuned, then the rest."""
    found = dict.fromkeys(score.candidate for score in scores)
    return [*(each for each in ORDER if each in found), *(each for each in found if each not in ORDER)]


def score_table(scores: Sequence[Score], suite: str = "") -> Table:
    """A row a metric, a column a candidate; values with 95 % intervals."""
    chosen = [score for score in scores if not suite or score.suite == suite]
    candidates = candidates_of(chosen)
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("SUITE")
    made.add_column("METRIC")
    made.add_column("ITEMS", justify="right")
    for candidate in candidates:
        made.add_column(_TITLES.get(candidate, candidate).upper(), justify="right")
    for row_suite, metric in dict.fromkeys((score.suite, score.metric) for score in chosen):
        here = {s.candidate: s.estimate for s in chosen if (s.suite, s.metric) == (row_suite, metric)}
        items = max(estimate.items for estimate in here.values())
        cells = [estimate_text(here[each]) if each in here else "" for each in candidates]
        made.add_row(row_suite, metric, str(items), *cells)
    return made


def comparison_table(comparisons: Sequence[Comparison], suite: str = "") -> Table:
    """The paired differences with 95 % intervals, and the verdict in words."""
    return table([each for each in comparisons if not suite or each.suite == suite], _COMPARISON_COLUMNS)


def _difference(comparison: Comparison) -> str:
    estimate = comparison.difference
    return f"{estimate.value:+.3f} [{estimate.lower:+.3f}, {estimate.upper:+.3f}]"


_COMPARISON_COLUMNS = (
    Column[Comparison]("SUITE", lambda each: each.suite),
    Column[Comparison]("METRIC", lambda each: each.metric),
    Column[Comparison](
        "DIFFERENCE",
        lambda each: (
            f"{_TITLES.get(each.candidate, each.candidate)} − {_TITLES.get(each.baseline, each.baseline)}"
        ),
    ),
    Column[Comparison]("95 % INTERVAL", _difference, right=True),
    Column[Comparison]("VERDICT", lambda each: each.verdict),
)
