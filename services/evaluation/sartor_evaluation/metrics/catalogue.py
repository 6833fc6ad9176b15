"""Every metric's name and meaning, stdlib only: what servers validate against and reports explain."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sartor_evaluation.items import ItemKind


class Better(StrEnum):
    """Which direction is an improvement."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What a metric is called, what it means to a reader, and which items it is taken over.

    `family` is the module of this package that computes it; `kinds` are the items it is taken over, in every
    suite that has such items. `highest` is the greatest possible value where there is one.
    """

    name: str
    title: str
    explanation: str
    family: str
    better: Better
    kinds: frozenset[ItemKind]
    highest: float | None = 1.0
    digits: int = 3


_FREE = frozenset({ItemKind.ANSWER})
_LABELLED = frozenset({ItemKind.LABEL})
_CHOICE = frozenset({ItemKind.CHOICE})
_WRITTEN = _FREE | _LABELLED
_ALL = _WRITTEN | _CHOICE

CATALOGUE: tuple[MetricInfo, ...] = (
    MetricInfo(
        "token_f1",
        "Token F1",
        "How many words answer and reference share: 1 means the same words, 0 none in common.",
        "overlap",
        Better.HIGHER,
        _FREE,
    ),
    MetricInfo(
        "rouge_l",
        "ROUGE-L",
        "How much of the reference answer appears in the answer in the same order.",
        "rouge",
        Better.HIGHER,
        _FREE,
    ),
    MetricInfo(
        "chrf",
        "chrF",
        "Overlap of short letter sequences, from 0 to 100; kind to inflected languages such as German.",
        "chrf",
        Better.HIGHER,
        _FREE,
        highest=100.0,
        digits=1,
    ),
    MetricInfo(
        "exact_match",
        "Exact match",
        "Share of answers that equal the reference, apart from letter case, punctuation and spacing.",
        "overlap",
        Better.HIGHER,
        _WRITTEN,
    ),
    MetricInfo(
        "label_accuracy",
        "Label accuracy",
        "Share of items given the right label, choosing the most probable of all labels.",
        "labels",
        Better.HIGHER,
        _LABELLED,
    ),
    MetricInfo(
        "macro_f1",
        "Macro F1",
        "Quality of the labels, every label counting the same however rare it is.",
        "labels",
        Better.HIGHER,
        _LABELLED,
    ),
    MetricInfo(
        "perplexity",
        "Perplexity",
        "How surprised the model is by the reference answers; 1 means not at all.",
        "likelihood",
        Better.LOWER,
        _ALL,
        highest=None,
        digits=2,
    ),
    MetricInfo(
        "loss",
        "Loss",
        "Mean negative log-likelihood of the reference answers, in nats a token.",
        "likelihood",
        Better.LOWER,
        _ALL,
        highest=None,
    ),
    MetricInfo(
        "choice_accuracy",
        "Choice accuracy",
        "Share of multiple-choice questions answered right.",
        "labels",
        Better.HIGHER,
        _CHOICE,
    ),
)
METRICS = {info.name: info for info in CATALOGUE}


def unknown_metrics(names: Sequence[str]) -> list[str]:
    """Those of `names` that no metric has."""
    return [name for name in names if name not in METRICS]


def known_metrics() -> str:
    """All names in a line, for messages."""
    return ", ".join(METRICS)
