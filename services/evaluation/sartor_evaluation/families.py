"""Families of items: one question asked in several ways, or for several groups of people. What a family says
together (how far its answers are apart) is written to the outcome of its first item.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from sartor_evaluation.items import Family, Outcome
from sartor_evaluation.metrics.overlap import words

_RIGHT = 0.5


def with_families(outcomes: Sequence[Outcome], score: Callable[[Outcome], float]) -> list[Outcome]:
    """The outcomes, the first of each family with what the family says. A family with a failed member says
    nothing: its spread would be that of others.

    Args:
        score: what an outcome is worth, 0 to 1.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, outcome in enumerate(outcomes):
        if outcome.item.family:
            members[outcome.item.family].append(position)
    found = list(outcomes)
    for positions in members.values():
        family = [outcomes[position] for position in positions]
        if len(family) > 1 and not any(outcome.failure for outcome in family):
            first = positions[0]
            found[first] = replace(found[first], family=_of(family, [score(one) for one in family]))
    return found


def _of(outcomes: Sequence[Outcome], scores: Sequence[float]) -> Family:
    pairs = [_gap(outcomes[0], other) for other in outcomes[1:]]
    return Family(
        size=len(outcomes),
        spread=max(scores) - min(scores),
        worst=min(scores),
        turns=len({one >= _RIGHT for one in scores}) > 1,
        gap=sum(pairs) / len(pairs),
        differs=any(_differs(outcomes[0], other) for other in outcomes[1:]),
    )


def _gap(one: Outcome, other: Outcome) -> float:
    """How far two answers are apart: in the probability of the first choice, else in the words they share."""
    if one.confidence and other.confidence:
        return abs(one.confidence[0] - other.confidence[0])
    if one.item.choices:
        return float(one.chosen != other.chosen)
    mine, theirs = set(words(one.answer or "")), set(words(other.answer or ""))
    return 1 - len(mine & theirs) / len(mine | theirs) if mine | theirs else 0.0


def _differs(one: Outcome, other: Outcome) -> bool:
    if one.item.choices:
        return one.chosen != other.chosen
    return words(one.answer or "") != words(other.answer or "")
