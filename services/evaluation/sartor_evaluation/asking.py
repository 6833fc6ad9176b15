"""Items asked of one model under one prompt: messages to tokens, tokens to outcomes."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sartor_datasets.records import Message
from sartor_models.chat_format import encode_answer
from sartor_models.errors import ModelError
from sartor_models.questions import Question, Response, ask
from sartor_models.tokenizer import ChatTokenizer

from sartor_evaluation.items import Item, ItemKind, Outcome
from sartor_evaluation.prompts import ZERO_SHOT, Choice, ExampleBook, Prompt

LONGEST_ANSWER_TOKENS = 512
_LEAST_ANSWER_TOKENS = 16
_ANSWER_TO_REFERENCE = 1.5
_LABEL_SLACK_TOKENS = 4


class Answers(Protocol):
    """Whoever answers items under a prompt. `Asker` is one; tests have others."""

    def outcomes(
        self,
        items: Sequence[Item],
        prompt: Prompt,
        *,
        generate: bool = True,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> list[Outcome]:
        """One outcome an item, in their order; without `generate` only the references are scored."""
        ...


@dataclass(frozen=True, slots=True)
class Forced:
    """Token ids behind an outcome: what the parity check of a deployment replays."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    top1_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    item: Item
    question: Question
    choices: tuple[str, ...]
    """The texts of `question.answer_ids`, the reference first."""


class Asker:
    """One loaded model. `forced` keeps the tokens of the last call, by item id."""

    def __init__(self, model: Any, tokenizer: ChatTokenizer, book: ExampleBook) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._book = book
        self.forced: dict[str, Forced] = {}

    def outcomes(
        self,
        items: Sequence[Item],
        prompt: Prompt,
        *,
        generate: bool = True,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> list[Outcome]:
        """As Answers.outcomes. Greedy; an answer may be half as long again as its reference, for every
        candidate alike.

        Raises:
            ModelError: SCORES_NOT_FINITE, the model's scores are not numbers.
            NoExamples: the prompt wants examples and there are none.
        """
        self.forced = {}
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for position, item in enumerate(items):
            groups[_group(item, prompt)].append(position)
        found: list[Outcome | None] = [None] * len(items)
        done = 0
        for positions in groups.values():
            prepared = [self._prepare(items[position], prompt, generate=generate) for position in positions]

            def advance(fraction: float, done: int = done, size: int = len(positions)) -> None:
                progress((done + fraction * size) / len(items))

            responses = ask(
                self._model,
                [one.question for one in prepared],
                eos_ids=self._tokenizer.eos_ids,
                pad_id=self._tokenizer.pad_id,
                progress=advance,
            )
            for position, one, response in zip(positions, prepared, responses, strict=True):
                found[position] = self._outcome(one, response)
            done += len(positions)
        return [outcome for outcome in found if outcome is not None]

    def question(self, item: Item) -> Question:
        """The item in tokens, without examples."""
        return self._prepare(item, ZERO_SHOT, generate=True).question

    def _prepare(self, item: Item, prompt: Prompt, *, generate: bool) -> _Prepared:
        """The item in tokens, with fewer examples where the context has no room for all of them."""
        others = item.choices if generate else ()
        choices = (item.reference, *(choice for choice in others if choice != item.reference))
        for shots in range(prompt.shots, -1, -1):
            messages = self._book.messages(item, replace(prompt, shots=shots))
            pairs = [encode_answer(self._tokenizer, (*messages, Message("assistant", c))) for c in choices]
            answers = [answer for _, answer in pairs]
            limit = self._longest_answer(item, answers) if generate else 0
            question = Question(pairs[0][0], answers, limit)
            if _room(self._tokenizer, question) >= 0:
                break
        return _Prepared(item, question, choices)

    def _longest_answer(self, item: Item, answers: Sequence[Sequence[int]]) -> int:
        if item.kind is ItemKind.CHOICE:
            return 0
        if item.kind is ItemKind.LABEL:
            return max(map(len, answers)) + _LABEL_SLACK_TOKENS
        wanted = math.ceil(len(answers[0]) * _ANSWER_TO_REFERENCE)
        return min(max(wanted, _LEAST_ANSWER_TOKENS), LONGEST_ANSWER_TOKENS)

    def _outcome(self, prepared: _Prepared, response: Response) -> Outcome:
        item, scores = prepared.item, response.scores
        losses = dict(zip(prepared.choices, (-score.log_likelihood for score in scores), strict=True))
        if not all(map(math.isfinite, losses.values())):
            raise ModelError(
                f"The model's scores for item {item.item_id} are not finite: its weights are damaged, or its "
                "training diverged.",
                reason="SCORES_NOT_FINITE",
                metadata={"item": item.item_id},
            )
        reference = tuple(prepared.question.answer_ids[0])
        prompt_ids = tuple(prepared.question.prompt_ids)
        self.forced[item.item_id] = Forced(prompt_ids, reference, scores[0].top1_ids)
        answer = response.answer
        return Outcome(
            item=item,
            answer=None if answer is None else self._tokenizer.decode(answer.ids).strip(),
            loss_sum=losses[item.reference],
            loss_tokens=len(reference),
            choice_losses=tuple(losses[choice] for choice in item.choices if choice in losses),
            truncated=answer is not None and not answer.finished,
        )


def fits(tokenizer: ChatTokenizer, item: Item) -> bool:
    """Whether the model's context has room for the item without examples, and for an answer to it."""
    asker = Asker(None, tokenizer, ExampleBook(()))
    return _room(tokenizer, asker.question(item)) >= 0


def _room(tokenizer: ChatTokenizer, question: Question) -> int:
    longest = max(max(map(len, question.answer_ids)), question.max_new_tokens)
    return tokenizer.context_length - len(question.prompt_ids) - longest


def _group(item: Item, prompt: Prompt) -> tuple[str, ...]:
    """Items that begin with the same examples are read together, so that these are read once."""
    if prompt.shots and prompt.choice is not Choice.RETRIEVED:
        return (item.kind.value, item.language)
    return (item.kind.value,)
