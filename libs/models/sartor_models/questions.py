"""Put questions to a model in one pass that shares all it can: how likely it finds given answers, and its own
answer.

What is shared, compared with scoring and generating apart:
- what all prompts begin with (system text, fixed examples) is read once, and each prompt once for all its
  answers;
- the output layer is applied only where a token is scored or chosen, in float32: ties between bfloat16 scores
  would make the most probable token arbitrary;
- the reference answer is a free draft of the model's own: greedy generation agrees with it up to the first
  position where the model's most probable token differs, so generation begins there (Leviathan et al. 2023,
  with acceptance by equality).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sartor_models.batches import length_bucketed, padded
from sartor_models.errors import ModelError
from sartor_models.generate import Answer
from sartor_models.growing_cache import GrowingCache
from sartor_models.scoring import Score

_LEAST_PREFIX_TOKENS = 16
_COMPACT_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, answers to score after it (end token included), and how long the model's own answer may be.

    `answer_ids[0]` is the reference. With `max_new_tokens` 0 the model does not answer itself; without
    answers it
    only does that. Its answer also ends where it contains one of `stops`.
    """

    prompt_ids: Sequence[int]
    answer_ids: Sequence[Sequence[int]]
    max_new_tokens: int = 0
    stops: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """One score for each given answer; `answer` is None where none was asked for."""

    scores: tuple[Score, ...]
    answer: Answer | None


def ask(
    model: Any,
    questions: Sequence[Question],
    *,
    eos_ids: Sequence[int],
    pad_id: int,
    tokens_per_batch: int = 12_288,
    max_rows: int = 64,
    progress: Callable[[float], None] = lambda fraction: None,
    decode: Callable[[Sequence[int]], str] | None = None,
) -> list[Response]:
    """Responses in the order of `questions`. Batches are of like length, so an answer does not depend on its
    neighbours beyond rounding.

    Args:
        decode: token ids to text; needed where questions have stops.
    Raises:
        ValueError: a question without prompt, with an empty answer to score, or with nothing to do.
    """
    for question in questions:
        if not question.prompt_ids or not all(question.answer_ids):
            raise ValueError("a question needs a prompt, and no answer to score may be empty")
        if not question.answer_ids and not question.max_new_tokens:
            raise ValueError("a question needs an answer to score, or room for one of the model's own")
        if question.stops and decode is None:
            raise ValueError("to stop at a text, the way from tokens to text must be given")
    if not questions:
        return []
    prefix = _common_prefix([question.prompt_ids for question in questions])
    reader = _Reader(model, frozenset(eos_ids), pad_id, prefix, decode)
    responses: list[Response | None] = [None] * len(questions)
    done = 0
    for bucket in length_bucketed([_length(question) for question in questions], tokens_per_batch):
        for start in range(0, len(bucket), max_rows):
            batch = bucket[start : start + max_rows]
            for index, response in zip(batch, reader.read([questions[i] for i in batch]), strict=True):
                responses[index] = response
            done += len(batch)
            progress(done / len(questions))
    return [response for response in responses if response is not None]


def _length(question: Question) -> int:
    longest = max((len(answer) for answer in question.answer_ids), default=0)
    return len(question.prompt_ids) + longest + question.max_new_tokens // 2


def _common_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """What all begin with, leaving each at least one token; nothing where it is not worth a pass."""
    if len(prompts) < 2:
        return []
    first, last = min(map(list, prompts)), max(map(list, prompts))  # all others lie between them
    end = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    shared = first[: min(end, min(map(len, prompts)) - 1)]
    return shared if len(shared) >= _LEAST_PREFIX_TOKENS else []


class _Reader:
    """Reads batches of questions with one model after one common prefix."""

    def __init__(
        self,
        model: Any,
        eos_ids: frozenset[int],
        pad_id: int,
        prefix: Sequence[int],
        decode: Callable[[Sequence[int]], str] | None,
    ) -> None:
        self._model = model
        self._decode = decode
        self._eos_ids = eos_ids
        self._pad_id = pad_id
        self._head = model.lm_head.weight.detach().float()
        self._bias = None if model.lm_head.bias is None else model.lm_head.bias.detach().float()
        self._prefix = len(prefix)
        self._prefix_cache = GrowingCache(model)
        if prefix:
            with torch.inference_mode():
                self._states(torch.tensor([list(prefix)]), None, None, self._prefix_cache)

    @torch.inference_mode()
    def read(self, questions: Sequence[Question]) -> list[Response]:
        """Prompts first, then each round of answers on top of them, the references last; then generation goes
        on.
        """
        batch = _Batch(self, questions)
        rounds = max(len(question.answer_ids) for question in questions)  # 0 where all only answer
        scores: list[dict[int, Score]] = [{} for _ in questions]
        for turn in reversed(range(rounds)):
            for row, score in batch.score(turn).items():
                scores[row][turn] = score
            if turn:
                batch.forget_answers()
        top1 = [
            found[0].top1_ids if found else first for found, first in zip(scores, batch.first(), strict=True)
        ]
        answers = batch.generate(top1)
        return [
            Response(tuple(found[turn] for turn in sorted(found)), answer)
            for found, answer in zip(scores, answers, strict=True)
        ]

    def new_cache(self, rows: int) -> GrowingCache:
        return self._prefix_cache.with_rows(rows) if self._prefix else GrowingCache(self._model)

    def _states(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        positions: torch.Tensor | None,
        cache: GrowingCache,
    ) -> torch.Tensor:
        device = self._model.device
        output = self._model.model(
            input_ids=ids.to(device),
            attention_mask=None if mask is None else mask.to(device),
            position_ids=None if positions is None else positions.to(device),
            past_key_values=cache,
            use_cache=True,
        )
        states: torch.Tensor = output.last_hidden_state
        return states

    def _logits(self, states: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(states.float(), self._head, self._bias)


class _Batch:
    """Rows of cached columns: [prefix | prompt, padded on the right | answer, padded on the right |
    generated].
    """

    def __init__(self, reader: _Reader, questions: Sequence[Question]) -> None:
        self._reader = reader
        self._questions = questions
        rests = [question.prompt_ids[reader._prefix :] for question in questions]
        ids, mask = padded(rests, reader._pad_id)
        self._cache = reader.new_cache(len(questions))
        # Real tokens never see the padding behind them, so the prompts need no mask of their own.
        states = reader._states(ids, None, None, self._cache)
        ends = torch.tensor([len(rest) - 1 for rest in rests])
        self._prompt_states = states[torch.arange(len(rests)), ends]
        self._mask = torch.cat([mask.new_ones(len(rests), reader._prefix), mask], dim=1)
        self._prompt_columns = self._mask.shape[1]
        self._lengths = torch.tensor([len(question.prompt_ids) for question in questions])

    def score(self, turn: int) -> dict[int, Score]:
        """Scores of every question's answer number `turn`, by row; leaves the answers in the cache."""
        reader = self._reader
        answers = [list(q.answer_ids[turn]) if turn < len(q.answer_ids) else [] for q in self._questions]
        fed = [answer[:-1] or [] for answer in answers]
        states = None
        if any(fed):
            ids, mask = padded([row or [reader._pad_id] for row in fed], reader._pad_id)
            positions = self._lengths[:, None] + torch.arange(ids.shape[1])
            states = reader._states(ids, torch.cat([self._mask, mask], dim=1), positions, self._cache)
        rows = [row for row, answer in enumerate(answers) if answer]
        wanted = [self._wanted(row, len(answers[row]), states) for row in rows]
        chosen, best = self._compare(torch.cat(wanted), [token for row in rows for token in answers[row]])
        scores, start = {}, 0
        for row in rows:
            end = start + len(answers[row])
            scores[row] = Score(tuple(chosen[start:end]), tuple(best[start:end]))
            start = end
        return scores

    def _wanted(self, row: int, length: int, states: torch.Tensor | None) -> torch.Tensor:
        first = self._prompt_states[row : row + 1]
        return first if states is None else torch.cat([first, states[row, : length - 1]])

    def _compare(self, states: torch.Tensor, expected: Sequence[int]) -> tuple[list[float], list[int]]:
        """Log-probability of each expected token, and the most probable token there."""
        chosen: list[float] = []
        best: list[int] = []
        targets = torch.tensor(expected, device=states.device)
        for part, target in zip(states.split(256), targets.split(256), strict=True):
            logits = self._reader._logits(part)
            chosen += (logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(1)).tolist()
            best += logits.argmax(1).tolist()
        return chosen, best

    def first(self) -> list[tuple[int, ...]]:
        """The most probable first token of each question that has no answer to score."""
        alone = [row for row, question in enumerate(self._questions) if not question.answer_ids]
        found: list[tuple[int, ...]] = [()] * len(self._questions)
        if alone:
            logits = self._reader._logits(self._prompt_states[alone])
            if not logits.isfinite().all():  # no score will show it
                raise ModelError(
                    "The model's scores are not finite: its weights are damaged, or its training diverged.",
                    reason="SCORES_NOT_FINITE",
                )
            for row, token in zip(alone, logits.argmax(1).tolist(), strict=True):
                found[row] = (token,)
        return found

    def forget_answers(self) -> None:
        self._cache.drop_columns(self._cache.columns - self._prompt_columns)

    def generate(self, top1: Sequence[Sequence[int]]) -> list[Answer | None]:
        """Greedy answers, begun with as much of each reference as the model would have written itself.

        Args:
            top1: the most probable token at each of the reference's positions, a row each.
        """
        drafts = [self._accepted(*pair) for pair in zip(self._questions, top1, strict=True)]
        tokens = [list(draft.tokens) for draft in drafts]
        finished = [draft.finished for draft in drafts]
        alive = [row for row, draft in enumerate(drafts) if draft.goes_on]
        if alive:
            self._decode(alive, tokens, finished)
        return [
            Answer(tuple(ids[: question.max_new_tokens]), ended) if question.max_new_tokens else None
            for question, ids, ended in zip(self._questions, tokens, finished, strict=True)
        ]

    def _accepted(self, question: Question, best: Sequence[int]) -> "_Draft":
        """The model's own tokens as far as the scored reference shows them: agreement, and the first that
        differs.
        """
        reference = question.answer_ids[0] if question.answer_ids else ()
        agreed = next(
            (i for i, (a, b) in enumerate(zip(best, reference, strict=False)) if a != b), len(reference)
        )
        own = list(best[: agreed + 1])
        ended = next((i for i, token in enumerate(own) if token in self._reader._eos_ids), None)
        if question.stops:
            stopped = next((n for n in range(1, len(own) + 1) if self._stops(question, own[:n])), None)
            if stopped is not None and (ended is None or stopped <= ended):
                return _Draft(tuple(own[:stopped]), finished=True, goes_on=False)
        if ended is not None and ended < question.max_new_tokens:
            return _Draft(tuple(own[:ended]), finished=True, goes_on=False)
        # A reference that the model agrees with to its end, but which has no end token, goes on after its
        # last token: that token is not in the cache, so it is the next one to feed.
        return _Draft(tuple(own), finished=False, goes_on=len(own) < question.max_new_tokens)

    def _decode(self, alive: list[int], tokens: list[list[int]], finished: list[bool]) -> None:
        reader = self._reader
        rows = torch.tensor(alive)
        kept = torch.tensor([len(tokens[row]) - 1 for row in alive])
        columns = int(kept.max())
        self._cache.drop_columns(self._cache.columns - self._prompt_columns - columns)
        self._cache.batch_select_indices(rows)
        mask = torch.cat([self._mask[rows], (torch.arange(columns)[None, :] < kept[:, None]).long()], dim=1)
        positions = (self._lengths[rows] + kept)[:, None]
        step = torch.tensor([[tokens[row][-1]] for row in alive])
        going = set(alive)
        while going:
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
            states = reader._states(step, mask, positions, self._cache)
            chosen = reader._logits(states[:, -1]).argmax(-1).cpu()
            for row, token in zip(alive, chosen.tolist(), strict=True):
                if row in going and not self._takes(row, token, tokens, finished):
                    going.remove(row)
            step, positions = chosen[:, None], positions + 1
            if len(going) <= _COMPACT_SHARE * len(alive):  # not at every end: each copies the cache
                left = torch.tensor([i for i, row in enumerate(alive) if row in going], dtype=torch.long)
                self._cache.batch_select_indices(left)
                step, mask, positions = step[left], mask[left], positions[left]
                alive = [row for row in alive if row in going]

    def _takes(self, row: int, token: int, tokens: list[list[int]], finished: list[bool]) -> bool:
        """Add a token to a row's answer; whether the row goes on."""
        if token in self._reader._eos_ids:
            finished[row] = True
            return False
        tokens[row].append(token)
        question = self._questions[row]
        if question.stops and self._stops(question, tokens[row]):
            finished[row] = True
            return False
        return len(tokens[row]) < question.max_new_tokens

    def _stops(self, question: Question, tokens: Sequence[int]) -> bool:
        """Whether the end of an answer holds a stop; what came before was looked at when it came."""
        decode = self._reader._decode
        if decode is None:
            return False
        longest = max(len(stop.encode()) for stop in question.stops)  # a token has at least one byte
        tail = decode(tokens[-longest - 1 :])
        return any(stop in tail for stop in question.stops)


@dataclass(frozen=True, slots=True)
class _Draft:
    tokens: tuple[int, ...]
    finished: bool
    goes_on: bool
