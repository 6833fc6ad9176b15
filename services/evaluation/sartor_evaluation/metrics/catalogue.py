"""All metrics by name, with what a reader needs to know. Imports no computation: the service checks names
with it.

A metric of your own is an entry point of the group `sartor.metrics`; see metrics/own.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from sartor_evaluation.items import ItemKind, Outcome


class Better(StrEnum):
    """Which direction is an improvement."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


class Need(StrEnum):
    """What an outcome must have for a metric to say something of it."""

    ANSWER = "answer"
    REFERENCE = "reference"
    LOSS = "loss"
    CHOICES = "choices"
    DECISION = "decision"
    NUMBER = "number"
    PATTERN = "pattern"
    SCHEMA = "schema"
    LANGUAGE = "language"
    MATCHING = "matching"
    MATCHING_2 = "matching_2"
    MATCHING_3 = "matching_3"
    VARIATIONS = "variations"
    PAIR = "pair"
    VERBATIM = "verbatim"
    TIMING = "timing"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What a metric is called, what it means to a reader, and which outcomes it is taken over.

    `family` is the module of this package that computes it, "" for one of an entry point; `kinds` are the
    items
    it is taken over, `needs` what their outcomes must have. `highest` is the greatest possible value where
    there is one. `extra` metrics are computed only where a suite or an evaluation names them: they are slow.
    """

    name: str
    title: str
    explanation: str
    family: str
    better: Better
    kinds: frozenset[ItemKind]
    highest: float | None = 1.0
    digits: int = 3
    needs: frozenset[Need] = frozenset()
    extra: bool = False

    def applies(self, outcome: Outcome) -> bool:
        """Whether this outcome counts: it did not fail, is of a kind and has what is needed."""
        if outcome.failure or outcome.item.kind not in self.kinds:
            return False
        return all(_HAS[need](outcome) for need in self.needs)


_HAS: Mapping[Need, Callable[[Outcome], bool]] = {
    Need.ANSWER: lambda outcome: outcome.answer is not None,
    Need.REFERENCE: lambda outcome: bool(outcome.item.reference),
    Need.LOSS: lambda outcome: outcome.loss_tokens > 0,
    Need.CHOICES: lambda outcome: bool(outcome.choice_losses or outcome.label_shares),
    Need.DECISION: lambda outcome: bool(outcome.choice_losses) or outcome.answer is not None,
    Need.NUMBER: lambda outcome: outcome.number is not None,
    Need.PATTERN: lambda outcome: bool(outcome.item.pattern),
    Need.SCHEMA: lambda outcome: bool(outcome.item.schema),
    Need.LANGUAGE: lambda outcome: bool(outcome.item.language),
    Need.MATCHING: lambda outcome: len(outcome.item.matching) > 0,
    Need.MATCHING_2: lambda outcome: len(outcome.item.matching) > 1,
    Need.MATCHING_3: lambda outcome: len(outcome.item.matching) > 2,
    Need.VARIATIONS: lambda outcome: outcome.family is not None and "variation" in outcome.item.attributes,
    Need.PAIR: lambda outcome: outcome.family is not None and "variation" not in outcome.item.attributes,
    Need.VERBATIM: lambda outcome: bool(outcome.item.verbatim),
    Need.TIMING: lambda outcome: outcome.timing is not None,
    Need.MEMORY: lambda outcome: outcome.timing is not None and outcome.timing.megabytes > 0,
}

_FREE = frozenset({ItemKind.ANSWER})
_LABELLED = frozenset({ItemKind.LABEL, ItemKind.LABELS})
_NUMBERS = frozenset({ItemKind.NUMBER})
_CHOICE = frozenset({ItemKind.CHOICE})
_CLOZE = frozenset({ItemKind.CLOZE})
_WRITTEN = _FREE | _LABELLED
_ALL = frozenset(ItemKind)

_TO_REFERENCE = frozenset({Need.ANSWER, Need.REFERENCE})
_DECIDED = frozenset({Need.DECISION})
_LIKELY = frozenset({Need.LOSS})
_CHOSEN = frozenset({Need.CHOICES})
_UP, _DOWN = Better.HIGHER, Better.LOWER


def _generation() -> tuple[MetricInfo, ...]:
    def free(name: str, title: str, text: str, family: str, **more: object) -> MetricInfo:
        given = {"needs": _TO_REFERENCE, "better": _UP, **more}
        return MetricInfo(name=name, title=title, explanation=text, family=family, kinds=_FREE, **given)  # type: ignore[arg-type]

    written = frozenset({Need.ANSWER})
    return (
        free("token_f1", "Token F1", "How many words answer and reference share: 1 means the same "
                                     "words, 0 none "
             "in common.", "overlap"),
        free("rouge_l", "ROUGE-L", "How much of the reference answer appears in the answer in the "
                                   "same order.",
             "rouge"),
        free("rouge_1", "ROUGE-1", "Overlap of single words with the reference.", "rouge"),
        free("rouge_2", "ROUGE-2", "Overlap of word pairs with the reference.", "rouge"),
        free("chrf", "chrF", "Overlap of short letter sequences, from 0 to 100; kind to inflected "
                             "languages such "
             "as German.", "chrf", highest=100.0, digits=1),
        free("chrf_pp", "chrF++", "As chrF, with words and word pairs counted too.", "chrf", highest=100.0,
             digits=1),
        free("bleu", "BLEU", "Overlap of word sequences over all answers together, from 0 to 100 "
                             "(sacrebleu).",
             "bleu", highest=100.0, digits=1),
        MetricInfo("exact_match", "Exact match", "Share of answers that equal the reference, apart "
                                                 "from letter "
                   "case, punctuation and spacing.", "overlap", _UP, _WRITTEN,
                   needs=frozenset({Need.REFERENCE, Need.DECISION})),
        free("regex_match", "Pattern matched", "Share of answers that the item's regular expression finds.",
             "checks", needs=written | {Need.PATTERN}),
        free("schema_valid", "Valid JSON", "Share of answers that are JSON as the item's schema wants it.",
             "checks", needs=written | {Need.SCHEMA}),
        free("refusals", "Refusals", "Share of answers that decline to answer.", "checks", needs=written,
             better=_DOWN),
        free("language_kept", "Language kept", "Share of answers in the language of the question; answers "
             "too short to tell count as kept.", "checks", needs=written | {Need.LANGUAGE}),
        free("answer_words", "Words an answer", "How long the answers are, in words.", "checks",
             needs=written, better=Better.NEITHER, highest=None, digits=1),
        free("truncated", "Cut off", "Share of answers that ended at the length limit.", "checks",
             needs=written, better=_DOWN),
        free("similarity", "Similarity", "Closeness in meaning to the reference (cosine of multilingual "
             "E5-small embeddings; unrelated texts have about 0.75).", "similarity", extra=True),
    )  # fmt: skip


def _labels() -> tuple[MetricInfo, ...]:
    def labelled(name: str, title: str, text: str, better: Better, needs: frozenset[Need]) -> MetricInfo:
        return MetricInfo(name, title, text, "labels", better, _LABELLED, needs=needs)

    return (
        labelled("label_accuracy", "Label accuracy", "Share of items given the right label, choosing "
                                                     "the most "
                 "probable of all labels.", _UP, _DECIDED),
        labelled("macro_f1", "Macro F1", "Quality of the labels, every label counting the same "
                                         "however rare it "
                 "is.", _UP, _DECIDED),
        labelled("micro_f1", "Micro F1", "Quality of the labels, every item counting the same; an "
                                         "answer that is "
                 "no label at all costs recall only.", _UP, _DECIDED),
        labelled("ece", "Calibration error", "How far the model's confidence is from its accuracy: 0 "
                                             "means it is "
                 "right as often as it is sure (15 bins).", _DOWN, _CHOSEN),
        labelled("brier", "Brier score", "Squared error of the probabilities over all labels; 0 is perfect.",
                 _DOWN, _CHOSEN),
    )  # fmt: skip


def _numbers() -> tuple[MetricInfo, ...]:
    def number(name: str, title: str, text: str, better: Better, highest: float | None) -> MetricInfo:
        needs = frozenset({Need.NUMBER})
        return MetricInfo(name, title, text, "numbers", better, _NUMBERS, highest, needs=needs)

    return (
        number("mean_absolute_error", "Mean absolute error", "How far the numbers are off on average, in "
               "the data's own unit.", _DOWN, None),
        number("root_mean_squared_error", "Root mean squared error", "The same with large errors counting "
               "more.", _DOWN, None),
        number("r_squared", "R²", "Share of the numbers' spread that is predicted; 0 is as good as always "
               "saying the mean.", _UP, 1.0),
    )  # fmt: skip


def _likelihood() -> tuple[MetricInfo, ...]:
    def likely(
        name: str, title: str, text: str, digits: int = 2, kinds: frozenset[ItemKind] = _ALL
    ) -> MetricInfo:
        return MetricInfo(name, title, text, "likelihood", _DOWN, kinds, None, digits, _LIKELY)

    def choice(name: str, title: str, text: str) -> MetricInfo:
        return MetricInfo(name, title, text, "choices", _UP, _CHOICE, needs=_CHOSEN)

    return (
        likely("perplexity", "Perplexity", "How surprised the model is by the reference answers; 1 "
                                           "means not at "
               "all."),
        likely("loss", "Loss", "Mean negative log-likelihood of the reference answers, in nats a token.", 3),
        likely("word_perplexity", "Perplexity a word", "The same for each word, so that models with "
                                                       "different "
               "tokenizers compare."),
        likely("byte_perplexity", "Perplexity a byte", "The same for each UTF-8 byte.", 3),
        likely("bits_per_byte", "Bits a byte", "Loss of the reference in bits for each UTF-8 byte.", 3),
        likely("item_perplexity", "Perplexity an item", "The exponential of the mean loss of an "
                                                        "item, as task files "
               "of lm-evaluation-harness define it.", kinds=_CLOZE),
        MetricInfo("choice_accuracy", "Choice accuracy", "Share of multiple-choice questions "
                                                         "answered right, by "
                   "probability a character.", "choices", _UP, _CHOICE, needs=_DECIDED),
        choice("choice_accuracy_sum", "Choice accuracy, not normalised", "The same by the whole choice's "
               "probability."),
        choice("choice_accuracy_bytes", "Choice accuracy a byte", "The same by probability a UTF-8 byte."),
        choice("choice_accuracy_tokens", "Choice accuracy a token", "The same by probability a token."),
        MetricInfo("cloze_accuracy", "Cloze accuracy", "Share of gaps where the model would have "
                                                       "written just "
                   "the missing text.", "choices", _UP, _CLOZE, needs=_LIKELY),
    )  # fmt: skip


def _tasks() -> tuple[MetricInfo, ...]:
    def match(name: str, title: str, need: Need) -> MetricInfo:
        text = (
            "Share of answers that are right as the task file defines it: its filters, options and targets."
        )
        needs = frozenset({Need.ANSWER, need})
        return MetricInfo(name, title, text, "harness", _UP, _FREE, needs=needs)

    return (
        match("task_exact_match", "Exact match (task file)", Need.MATCHING),
        match("task_exact_match_2", "Exact match (second filter)", Need.MATCHING_2),
        match("task_exact_match_3", "Exact match (third filter)", Need.MATCHING_3),
    )


def _families() -> tuple[MetricInfo, ...]:
    def family(name: str, title: str, text: str, need: Need, better: Better = _DOWN) -> MetricInfo:
        return MetricInfo(name, title, text, "families", better, _ALL, needs=frozenset({need}))

    varied, pair = Need.VARIATIONS, Need.PAIR
    return (
        family("variation_spread", "Spread over variations", "How far a question's best and worst variation "
               "(typing errors, case, order, wording) are apart, on average; 0: it never matters.", varied),
        family("variation_worst", "Worst variation", "Mean score of each question's worst variation.",
               varied, _UP),
        family("variation_turns", "Turned by variation", "Share of questions that are right in one "
               "variation and wrong in another.", varied),
        family("pair_gap", "Gap between groups", "How far the answers for two groups of people are apart, "
               "in the probability of yes; 0 means both are treated alike.", pair),
        family("pair_differs", "Answered differently for groups", "Share of questions that are answered "
               "differently for two groups of people.", pair),
    )  # fmt: skip


def _safety() -> tuple[MetricInfo, ...]:
    written = frozenset({Need.ANSWER})
    return (
        MetricInfo("leaked", "Training data recited", "Share of answers that go on with a training record "
                   "word for word (8 words in a row).", "safety", _DOWN, _FREE,
                   needs=written | {Need.VERBATIM}),
        MetricInfo("pii", "Personal data told", "Share of answers with personal data (e-mail, phone, IBAN, "
                   "card and identity numbers) that is neither in the question nor in the reference.",
                   "safety", _DOWN, _FREE, needs=written, extra=True),
    )  # fmt: skip


def _cost() -> tuple[MetricInfo, ...]:
    def cost(name: str, title: str, text: str, better: Better, need: Need = Need.TIMING) -> MetricInfo:
        return MetricInfo(name, title, text, "cost", better, _ALL, None, 1, frozenset({need}))

    return (
        cost("first_token_ms", "Time to first token (ms)", "From question to first token.", _DOWN),
        cost("answer_ms", "Time to answer (ms)", "From question to last token.", _DOWN),
        cost("tokens_per_second", "Tokens a second", "Written for all clients together.", _UP),
        cost("memory_mb", "Memory (MB)", "Of the process with the model.", _DOWN, Need.MEMORY),
    )  # fmt: skip


CATALOGUE: tuple[MetricInfo, ...] = (
    *_generation(),
    *_tasks(),
    *_labels(),
    *_numbers(),
    *_likelihood(),
    *_families(),
    *_safety(),
    *_cost(),
)
"""Those that come with Sartor."""


@cache
def metrics() -> Mapping[str, MetricInfo]:
    """All metrics by name: Sartor's, and those of installed entry points."""
    from sartor_evaluation.metrics.own import own_metrics

    return {info.name: info for info in CATALOGUE} | {name: one.info for name, one in own_metrics().items()}


def unknown_metrics(names: Sequence[str]) -> list[str]:
    """Those of `names` that no metric has."""
    return [name for name in names if name not in metrics()]


def known_metrics() -> str:
    """All names in a line, for messages."""
    return ", ".join(metrics())
