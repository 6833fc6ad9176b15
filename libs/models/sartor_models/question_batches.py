"""Batches of questions read with one model: prompts, the answers to score on top of them, then generation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sartor_models.batches import padded
from sartor_models.errors import ModelError
from sartor_models.generate import Answer
from sartor_models.growing_cache import GrowingCache
from sartor_models.heads import hidden_states
from sartor_models.question import Question, Response
from sartor_models.scoring import Score
from sartor_models.sharp_scores import compare, most_probable

_COMPACT_SHARE = 0.75


class Reader:
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
        if not self._prefix and all(_only_scored(question) for question in questions):
            return self._whole(questions)
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

    def _whole(self, questions: Sequence[Question]) -> list[Response]:
        """Each prompt and its one answer as one causal row: no mask, and no keys and values are kept."""
        rows = [[*question.prompt_ids, *question.answer_ids[0]] for question in questions]
        ids, _ = padded([row[:-1] for row in rows], self._pad_id)
        states = hidden_states(self._model, ids.to(self._model.device))
        wanted = [
            states[number, len(question.prompt_ids) - 1 : len(row) - 1]
            for number, (question, row) in enumerate(zip(questions, rows, strict=True))
        ]
        answers = [question.answer_ids[0] for question in questions]
        return [Response((score,), None) for score in self._scores(torch.cat(wanted), answers)]

    def _scores(self, states: torch.Tensor, answers: Sequence[Sequence[int]]) -> list[Score]:
        """Scores of answers whose positions' states follow each other."""
        expected = torch.tensor([token for answer in answers for token in answer], device=states.device)
        chosen, best = compare(self._model, states, expected)
        scores, start = [], 0
        for answer in answers:
            end = start + len(answer)
            scores.append(Score(tuple(chosen[start:end]), tuple(best[start:end])))
            start = end
        return scores

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


class _Batch:
    """Rows of cached columns: [prefix | prompt, padded on the right | answer, padded on the right |
    generated].
    """

    def __init__(self, reader: Reader, questions: Sequence[Question]) -> None:
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
        found = reader._scores(torch.cat(wanted), [answers[row] for row in rows])
        return dict(zip(rows, found, strict=True))

    def _wanted(self, row: int, length: int, states: torch.Tensor | None) -> torch.Tensor:
        first = self._prompt_states[row : row + 1]
        return first if states is None else torch.cat([first, states[row, : length - 1]])

    def first(self) -> list[tuple[int, ...]]:
        """The most probable first token of each question that has no answer to score."""
        alone = [row for row, question in enumerate(self._questions) if not question.answer_ids]
        found: list[tuple[int, ...]] = [()] * len(self._questions)
        if alone:
            tokens, finite = most_probable(self._reader._model, self._prompt_states[alone])
            if not finite:  # no score will show it
                raise ModelError(
                    "The model's scores are not finite: its weights are damaged, or its training diverged.",
                    reason="SCORES_NOT_FINITE",
                )
            for row, token in zip(alone, tokens, strict=True):
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
            chosen, _ = most_probable(reader._model, states[:, -1])
            for row, token in zip(alive, chosen, strict=True):
                if row in going and not self._takes(row, token, tokens, finished):
                    going.remove(row)
            step, positions = torch.tensor(chosen)[:, None], positions + 1
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


def _only_scored(question: Question) -> bool:
    return len(question.answer_ids) == 1 and not question.max_new_tokens
