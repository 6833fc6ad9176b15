"""Two evaluations side by side, and a project's versions by a metric. Standard library only: the server
does it.

Differences are of metrics that one item alone has, paired by item; their errors are clustered (Cameron and
Miller 2015), with Student's t for as many degrees of freedom as there are clusters but one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sartor_evaluation.estimates import CONFIDENCE, Estimate, holm, in_words, t_quantile
from sartor_evaluation.metrics.catalogue import Better, metrics
from sartor_evaluation.resources import Evaluation

Document = Mapping[str, Any]


def compare(
    ours: Iterable[Document], theirs: Iterable[Document]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Every shared metric's paired difference, as report.comparison_json has them, and the shared items a
    suite.

    Args:
        ours, theirs: item results of one candidate each.
    """
    other = {(row["suite"], row["item_id"]): row for row in theirs if not row.get("failure")}
    changes: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    shared: dict[str, int] = defaultdict(int)
    names = ("", "")
    for row in ours:
        found = other.get((row["suite"], row["item_id"]))
        # Items are the same only if they ask the same: ids of inline items are easily used again.
        if found is None or row.get("failure") or row["prompt"] != found["prompt"]:
            continue
        shared[row["suite"]] += 1
        names = (row["candidate"], found["candidate"])
        for metric in row["metrics"].keys() & found["metrics"].keys() & metrics().keys():
            change = row["metrics"][metric] - found["metrics"][metric]
            changes[row["suite"], metric][row.get("cluster") or row["item_id"]].append(change)
    order = {name: place for place, name in enumerate(metrics())}
    lines = [
        {"suite": suite, "metric": metric, "estimate": clustered_mean(list(groups.values()))}
        for (suite, metric), groups in sorted(changes.items(), key=lambda one: (one[0][0], order[one[0][1]]))
    ]
    return _worded(lines, names), dict(shared)


def clustered_mean(groups: Sequence[Sequence[float]]) -> Estimate:
    """The mean of all values with its interval, values of one group not being independent."""
    items = sum(map(len, groups))
    mean = math.fsum(value for group in groups for value in group) / items
    count = len(groups)
    if count < 2:
        return Estimate(mean, -math.inf, math.inf, items, count)
    squares = math.fsum(math.fsum(value - mean for value in group) ** 2 for group in groups)
    error = math.sqrt(squares * count / (count - 1)) / items
    half = t_quantile(1 - (1 - CONFIDENCE) / 2, count - 1) * error
    return Estimate(mean, mean - half, mean + half, items, count, error)


def _worded(lines: Sequence[dict[str, Any]], names: tuple[str, str]) -> list[dict[str, Any]]:
    families: dict[str, list[int]] = defaultdict(list)
    for place, line in enumerate(lines):
        families[line["suite"]].append(place)
    found: list[dict[str, Any]] = [{} for _ in lines]
    for places in families.values():
        adjusted = holm([lines[place]["estimate"].p_value for place in places])
        for place, chance in zip(places, adjusted, strict=True):
            found[place] = _line(lines[place], names, chance)
    return found


def _line(line: Mapping[str, Any], names: tuple[str, str], adjusted: float) -> dict[str, Any]:
    estimate: Estimate = line["estimate"]
    better = metrics()[line["metric"]].better
    higher = None if better is Better.NEITHER else better is Better.HIGHER
    return {
        "suite": line["suite"],
        "metric": line["metric"],
        "candidate": names[0],
        "baseline": names[1],
        "difference": {key: _finite(value) for key, value in asdict(estimate).items()},
        "verdict": in_words(estimate, higher_is_better=higher, adjusted_p=adjusted),
        "p_value": estimate.p_value,
        "adjusted_p": adjusted,
        "minimum_detectable_effect": _finite(estimate.minimum_detectable_effect),
    }


def leaderboard(
    evaluations: Iterable[Evaluation], metric: str, suite: str
) -> list[tuple[str, str, Evaluation, dict[str, Any]]]:
    """(model, candidate, evaluation, estimate), the best first; of each model and number of examples the
    newest.

    Args:
        evaluations: the newest first.
    """
    found: dict[tuple[str, int, str], tuple[str, str, Evaluation, dict[str, Any]]] = {}
    for evaluation in evaluations:
        who = evaluation.spec.crossed
        for line in evaluation.findings.get("scores", ()):
            if (line["metric"], line["suite"]) != (metric, suite) or line["estimate"]["value"] is None:
                continue
            candidate = who.get(line["candidate"])
            name = candidate and (
                candidate.model
                or candidate.endpoint
                or (candidate.service.model if candidate.service else "")
            )
            if candidate and name:
                found.setdefault(
                    (name, candidate.shots, candidate.prompt),
                    (name, candidate.id, evaluation, line["estimate"]),
                )
    sign = 1 if metrics()[metric].better is Better.LOWER else -1
    return sorted(found.values(), key=lambda one: sign * one[3]["value"])


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
