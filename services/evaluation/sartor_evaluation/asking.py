"""Items asked of one model under one prompt: messages to tokens, tokens to outcomes."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Protocol

from sartor_datasets.records import Message
from sartor_models.chat_format import encode_answer
from sartor_models.errors import ModelError
from sartor_models.questions import Question, Response, ask
from sartor_models.tokenizer import ChatTokenizer

from sartor_evaluation.context_questions import continuation, windows
from sartor_evaluation.items import Item, ItemKind, Outcome, Timing
from sartor_evaluation.prompts import ZERO_SHOT, Choice, ExampleBook, Prompt
from sartor_evaluation.resident import resident_bytes

LONGEST_ANSWER_TOKENS = 512
_LEAST_ANSWER_TOKENS = 16
_ANSWER_TO_REFERENCE = 1.5
_LABEL_SLACK_TOKENS = 4
_KEPT_AT_ONCE = 256
_WRITTEN_ONLY = (ItemKind.LABELS, ItemKind.NUMBER)
"""No single one of the choices is the answer, so none is scored by itself."""


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


class Memory(Protocol):
    """Where responses are kept from one evaluation to the next; see answer_cache.py."""

    def find(self, model: str, questions: Sequence[Question]) -> dict[int, Response]: ...

    def keep(self, model: str, answered: Sequence[tuple[Question, Response]]) -> None: ...


class _Forgets:
    """No memory at all."""

    def find(self, model: str, questions: Sequence[Question]) -> dict[int, Response]:
        return {}

    def keep(self, model: str, answered: Sequence[tuple[Question, Response]]) -> None:
        return


@dataclass(frozen=True, slots=True)
class Forced:
    """Token ids behind an outcome: what the parity check of a deployment replays."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    top1_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    item: Item
    questions: tuple[Question, ...]
    """One; several for a text that is longer than the model's context."""
    choices: tuple[str, ...]
    """The texts of the question's `answer_ids`, the reference first."""


class Asker:
    """One model. `forced` keeps the tokens of the last call, by item id; `asked` counts the questions that
    were
    put to the model itself and not found in the memory.

    Args:
        model: loaded when the first question has to be put to it.
        digest: names the model's weights in the memory; without one nothing is remembered.
    """

    def __init__(
        self,
        model: Callable[[], Any],
        tokenizer: ChatTokenizer,
        book: ExampleBook,
        memory: Memory | None = None,
        digest: str = "",
    ) -> None:
        self._model = model
        self.tokenizer = tokenizer
        self._book = book
        self._memory: Memory = memory if memory is not None and digest else _Forgets()
        self._digest = digest
        self.forced: dict[str, Forced] = {}
        self.asked = 0
        self.finished: Callable[[Outcome], None] | None = None

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

            heard = self._telling(prepared)
            questions = [question for one in prepared for question in one.questions]
            responses = iter(self._responses(questions, advance, heard))
            for position, one in zip(positions, prepared, strict=True):
                found[position] = self._outcome(one, [next(responses) for _ in one.questions])
            done += len(positions)
        return [outcome for outcome in found if outcome is not None]

    def timed(self, items: Sequence[Item], prompt: Prompt) -> list[Timing]:
        """As cost.Timed: all at once in one batch, as clients that ask at the same time are served."""
        questions = [self._prepare(item, prompt, generate=True).questions[0] for item in items]
        questions = [replace(one, answer_ids=()) for one in questions]
        model = self._model()
        started = time.perf_counter()
        self._ask(model, [replace(one, max_new_tokens=1) for one in questions])
        first = time.perf_counter() - started
        started = time.perf_counter()
        responses = self._ask(model, questions)
        seconds = time.perf_counter() - started
        written = [
            0 if one.answer is None else len(one.answer.ids) + one.answer.finished for one in responses
        ]
        megabytes = resident_bytes() / 2**20
        return [Timing(first, seconds, tokens, len(items), megabytes) for tokens in written]

    def _ask(self, model: Any, questions: Sequence[Question], **more: Any) -> list[Response]:
        tokenizer = self.tokenizer
        eos_ids, pad_id = tokenizer.eos_ids, tokenizer.pad_id
        return ask(model, questions, eos_ids=eos_ids, pad_id=pad_id, decode=tokenizer.decode, **more)

    def question(self, item: Item) -> Question:
        """The item in tokens, without examples."""
        return self._prepare(item, ZERO_SHOT, generate=True).questions[0]

    def _telling(self, prepared: Sequence["_Prepared"]) -> Callable[[int, Response], None]:
        """What to call with each question's response, so that items are told of as they finish."""
        owners = [one for one in prepared for _ in one.questions]
        known: dict[int, Response] = {}
        firsts = [0, *accumulate(len(one.questions) for one in prepared)]
        first = {id(one): start for one, start in zip(prepared, firsts, strict=False)}

        def heard(number: int, response: Response) -> None:
            known[number] = response
            one = owners[number]
            places = range(first[id(one)], first[id(one)] + len(one.questions))
            if self.finished is not None and all(place in known for place in places):
                self.finished(self._outcome(one, [known[place] for place in places]))

        return heard

    def _responses(
        self,
        questions: Sequence[Question],
        progress: Callable[[float], None],
        heard: Callable[[int, Response], None],
    ) -> list[Response]:
        """From memory where they are known, else from the model; then they are remembered, even if the rest
        of
        the evaluation is interrupted.
        """
        known = self._memory.find(self._digest, questions)
        new = [position for position in range(len(questions)) if position not in known]
        done = len(known)
        for position, response in known.items():
            heard(position, response)
        # Questions of like prompts stay together, so that what they share is read once.
        for start in range(0, len(new), max(_KEPT_AT_ONCE, len(new) // 4)):
            some = new[start : start + max(_KEPT_AT_ONCE, len(new) // 4)]

            def advance(fraction: float, done: int = done, size: int = len(some)) -> None:
                progress((done + fraction * size) / len(questions))

            def answered(number: int, response: Response, some: Sequence[int] = some) -> None:
                heard(some[number], response)

            asked = [questions[position] for position in some]
            responses = self._ask(self._model(), asked, progress=advance, answered=answered)
            known |= dict(zip(some, responses, strict=True))
            pairs = [(questions[position], known[position]) for position in some]
            self._memory.keep(self._digest, [pair for pair in pairs if _finite(pair[1])])
            done += len(some)
            self.asked += len(some)
        progress(1.0)
        return [known[position] for position in range(len(questions))]

    def _prepare(self, item: Item, prompt: Prompt, *, generate: bool) -> _Prepared:
        if item.context is not None:
            return self._prepare_context(item)
        return self._prepare_chat(item, prompt, generate=generate)

    def _prepare_context(self, item: Item) -> _Prepared:
        """The item's exact text, tokenised as lm-evaluation-harness does."""
        tokenizer, context = self.tokenizer, item.context or ""
        if item.kind is ItemKind.TEXT:
            pieces = windows(tokenizer, item.reference)
            return _Prepared(item, tuple(Question(p, [a]) for p, a in pieces), (item.reference,))
        if item.kind is ItemKind.ANSWER:
            limit = item.most_tokens or LONGEST_ANSWER_TOKENS
            room = tokenizer.context_length - limit
            prompt = (tokenizer.encode(context) or [tokenizer.prefix_id])[-room:]
            return _Prepared(item, (Question(prompt, (), limit, item.stops),), ())
        choices = (item.reference, *(choice for choice in item.choices if choice != item.reference))
        pairs = [continuation(tokenizer, context, choice) for choice in choices]
        shared = len({tuple(prompt) for prompt, _ in pairs}) == 1
        if shared:
            return _Prepared(item, (Question(pairs[0][0], [answer for _, answer in pairs]),), choices)
        return _Prepared(item, tuple(Question(prompt, [answer]) for prompt, answer in pairs), choices)

    def _prepare_chat(self, item: Item, prompt: Prompt, *, generate: bool) -> _Prepared:
        """The item in tokens, with fewer examples where the context has no room for all of them."""
        others = item.choices if generate and item.kind not in _WRITTEN_ONLY else ()
        choices = (item.reference, *(choice for choice in others if choice != item.reference))
        if not item.reference:
            choices = ()
        for shots in range(prompt.shots, -1, -1):
            messages = self._book.messages(item, replace(prompt, shots=shots))
            pairs = [encode_answer(self.tokenizer, (*messages, Message("assistant", c))) for c in choices]
            answers = [answer for _, answer in pairs]
            asked = pairs[0][0] if pairs else self.tokenizer.prompt_ids(messages)
            limit = self._longest_answer(item, answers) if generate else 0
            question = Question(asked, answers, limit)
            if _room(self.tokenizer, question) >= 0:
                break
        return _Prepared(item, (question,), choices)

    def _longest_answer(self, item: Item, answers: Sequence[Sequence[int]]) -> int:
        if item.kind in (ItemKind.CHOICE, ItemKind.CLOZE, ItemKind.TEXT):
            return 0
        if item.most_tokens:
            return min(item.most_tokens, LONGEST_ANSWER_TOKENS)
        if item.kind is ItemKind.LABEL:
            return max(map(len, answers)) + _LABEL_SLACK_TOKENS
        if not answers:
            return LONGEST_ANSWER_TOKENS // 2
        wanted = math.ceil(len(answers[0]) * _ANSWER_TO_REFERENCE)
        return min(max(wanted, _LEAST_ANSWER_TOKENS), LONGEST_ANSWER_TOKENS)

    def _outcome(self, prepared: _Prepared, responses: Sequence[Response]) -> Outcome:
        item = prepared.item
        if not all(map(_finite, responses)):
            raise ModelError(
                f"The model's scores for item {item.item_id} are not finite: its weights are damaged, or its "
                "training diverged.",
                reason="SCORES_NOT_FINITE",
                metadata={"item": item.item_id},
            )
        scores = [score for response in responses for score in response.scores]
        if item.kind is ItemKind.TEXT:
            total = -math.fsum(score.log_likelihood for score in scores)
            return Outcome(item, None, total, sum(len(score.top1_ids) for score in scores))
        references = [tuple(ids) for question in prepared.questions for ids in question.answer_ids]
        losses = dict(zip(prepared.choices, (-score.log_likelihood for score in scores), strict=True))
        sizes = dict(zip(prepared.choices, map(len, references), strict=True))
        if references:
            asked = tuple(prepared.questions[0].prompt_ids)
            self.forced[item.item_id] = Forced(asked, references[0], scores[0].top1_ids)
        answer = responses[0].answer
        return Outcome(
            item=item,
            answer=None if answer is None else self._text(item, answer.ids),
            loss_sum=losses[item.reference] if references else 0.0,
            loss_tokens=len(references[0]) if references else 0,
            choice_losses=()
            if item.kind in _WRITTEN_ONLY
            else tuple(losses[choice] for choice in item.choices if choice in losses),
            truncated=answer is not None and not answer.finished,
            greedy=bool(references) and scores[0].top1_ids == references[0],
            choice_tokens=tuple(sizes[choice] for choice in item.choices if choice in sizes),
        )

    def _text(self, item: Item, ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(ids)
        if item.context is None:
            return text.strip()
        for stop in item.stops:
            text = text.split(stop)[0]
        return text


def fits(tokenizer: ChatTokenizer, item: Item) -> bool:
    """Whether the model's context has room for the item without examples, and for an answer to it."""
    if item.context is not None:
        return True  # cut from the left, or read in windows, as task files want it
    asker = Asker(lambda: None, tokenizer, ExampleBook(()))
    return _room(tokenizer, asker.question(item)) >= 0


def too_long(asker: Asker, item: Item) -> bool:
    """Whether the asker's model has no room for the item."""
    return not fits(asker.tokenizer, item)


def _finite(response: Response) -> bool:
    return all(math.isfinite(score.log_likelihood) for score in response.scores)


def _room(tokenizer: ChatTokenizer, question: Question) -> int:
    longest = max([*map(len, question.answer_ids), question.max_new_tokens])
    return tokenizer.context_length - len(question.prompt_ids) - longest


def _group(item: Item, prompt: Prompt) -> tuple[str, ...]:
    """Items that begin with the same examples are read together, so that these are read once."""
    if prompt.shots and prompt.choice is not Choice.RETRIEVED:
        return (item.kind.value, item.language)
    return (item.kind.value,)
