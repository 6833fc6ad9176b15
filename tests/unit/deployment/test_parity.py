"""Which items the parity check takes, and how it finds out what an engine thinks; the engine is a table."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import pytest
from sartor_datasets.reference_outputs import ReferenceOutput
from sartor_deployment.parity.check import choose, compare_tokenization, measure
from sartor_deployment.parity.forced import TIE_NATS, force
from sartor_deployment.targets.engine_api import EngineApi, EngineRefused
from sartor_platform.errors import FailedPrecondition

END = 9


class TableEngine(EngineApi):
    """Answers as llama.cpp's server does; its model prefers `(last token + 1) % 8` with probability 0.5."""

    def __init__(self, *, withheld: Sequence[int] = ()) -> None:
        self.withheld = set(withheld)
        self.requests = 0

    def likelihood(self, last: int) -> dict[int, float]:
        """Natural logarithms, best first."""
        best = (last + 1) % 8
        rest = [token for token in (*range(8), END) if token != best]
        return {best: math.log(0.5), **{token: math.log(0.5 / len(rest)) for token in rest}}

    def complete(
        self, prompt: Sequence[int], *, tokens: int = 1, probabilities: int = 0, **options: Any
    ) -> dict[str, Any]:
        """Greedy, or as the grammar says."""
        self.requests += 1
        forced = [int(token) for token in re.findall(r"<\[(\d+)\]>", options.get("grammar", ""))]
        if "grammar" in options:
            if END in forced:
                raise EngineRefused(500, "unexpected empty grammar stack")
            forced = [*forced, END][:tokens]
        else:
            forced = [next(iter(self.likelihood(prompt[-1])))]
            if options.get("logit_bias"):
                forced = [options["logit_bias"][0][0]]
        entries, last = [], prompt[-1]
        for token in forced:
            table = self.likelihood(last)
            top = [{"id": key, "logprob": value} for key, value in list(table.items())[:probabilities]]
            if token not in self.withheld:
                entries.append({"id": token, "logprob": table[token], "top_logprobs": top})
            last = token
        return {"tokens": forced, "completion_probabilities": entries}

    def prompt_text(self, messages: Any) -> str:
        """The content."""
        return str(messages[0]["content"])

    def tokenize(self, text: str) -> list[int]:
        """One token a letter."""
        return [ord(letter) - ord("a") for letter in text]


def item(name: str, prompt: Sequence[int], answer: Sequence[int], content: str = "abc") -> ReferenceOutput:
    """A reference with made-up outputs."""
    message = {"role": "user", "content": content}
    return ReferenceOutput(name, (message,), "", tuple(prompt), tuple(answer), tuple(answer), 1.0)


@pytest.mark.parametrize("answer", [[1, 2, 3, END], [1, 5, 5], [4, END, 4, END], [END], [0]])
def test_forced_answers_are_scored_token_by_token(answer: list[int]) -> None:
    """Whatever way was needed to ask."""
    engine = TableEngine()
    got = force(engine, [0], answer)
    before = [0, *answer[:-1]]
    expected = -sum(engine.likelihood(last)[token] for last, token in zip(before, answer, strict=True))
    assert got.loss_sum == pytest.approx(expected)
    assert got.top1 == tuple((last + 1) % 8 for last in before)


def test_a_usual_answer_costs_one_request() -> None:
    """That is what makes the check fast."""
    engine = TableEngine()
    force(engine, [0], [1, 2, 3, 4, 5, END])
    assert engine.requests == 1


def test_tokens_whose_probabilities_the_server_withholds_are_asked_for_one_by_one() -> None:
    """As for a character that is split over tokens."""
    engine = TableEngine(withheld=[5])
    got = force(engine, [0], [1, 5, 3, END])
    assert got.top1 == (1, 2, 6, 4)


def test_the_same_items_are_chosen_whatever_their_order() -> None:
    """The hash of their ids decides, up to the limit of tokens."""
    items = [item(f"i{number}", [1], [1] * 10) for number in range(20)]
    chosen = [one.item_id for one in choose(items, 50, 100)]
    assert len(chosen) == 5
    assert chosen == [one.item_id for one in choose(items[::-1], 50, 100)]


def test_items_beyond_the_context_are_left_out_and_none_left_is_an_error() -> None:
    """The message says what to change."""
    short, long = item("a", [1], [1]), item("b", [1] * 90, [1] * 20)
    assert choose([short, long], 50, 100) == [short]
    with pytest.raises(FailedPrecondition) as caught:
        choose([long], 50, 100)
    assert caught.value.reason == "CONTEXT_TOO_SHORT"


def test_another_tokenization_is_refused_with_its_place() -> None:
    """Position and tokens are named."""
    compare_tokenization(TableEngine(), [item("a", [0, 1, 2], [1])])
    with pytest.raises(FailedPrecondition) as caught:
        compare_tokenization(TableEngine(), [item("a", [0, 1, 3], [1])])
    assert caught.value.reason == "TOKENIZATION_DIFFERS"
    assert "position 2" in caught.value.message


def test_a_lead_below_the_tie_counts_as_agreement_and_a_real_one_does_not() -> None:
    """Precision alone changes the order of tokens of equal rank; another model changes more."""

    class NearTie(TableEngine):
        def likelihood(self, last: int) -> dict[int, float]:
            """Token 1 leads 2 by a hair, and 3 by far."""
            return {1: -1.0, 2: -1.0 - TIE_NATS / 2, 3: -1.0 - TIE_NATS * 2, END: -9.0}

    reference = item("a", [0], [1, 1, 1])
    report = Shown()
    for theirs, agreement in ((1, 1.0), (2, 1.0), (3, 0.0)):
        other = dataclasses.replace(reference, top1_token_ids=(theirs,) * 3)
        measured = measure(NearTie(), [other], slots=1, until=math.inf, report=report)
        assert measured.top1_agreement == agreement
        assert report.figures["without_ties"] == (1.0 if theirs == 1 else 0.0)


class Shown:
    """Keeps the last figures reported."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def __call__(
        self,
        fraction: float,
        *,
        stage: str = "",
        eta_seconds: float | None = None,
        message: str = "",
        **figures: float,
    ) -> None:
        self.figures = figures

    def send(self, message: dict[str, Any]) -> None:
        """Nobody listens."""
