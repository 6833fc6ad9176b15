"""Put questions to a model in one pass that shares all it can: how likely it finds given answers, and its own
answer.

What is shared, compared with scoring and generating apart:
- what all prompts begin with (system text, fixed examples) is read once, and each prompt once for all its
  answers;
- the output layer is applied only where a token is scored or chosen, and is exact there (sharp_scores.py):
  ties between bfloat16 scores would make the most probable token arbitrary;
- the reference answer is a free draft of the model's own: greedy generation agrees with it up to the first
  position where the model's most probable token differs, so generation begins there (Leviathan et al. 2023,
  with acceptance by equality).
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from sartor_models.batches import length_bucketed
from sartor_models.processor_speed import lanes, packed_weights, quick_attention
from sartor_models.question import Question as Question
from sartor_models.question import Response as Response
from sartor_models.question_batches import Reader

_LEAST_PREFIX_TOKENS = 16
_SCORED_TOKENS = 1024
"""So many tokens keep a processor's core busy; smaller batches share the work among them more evenly."""
_PACK_FROM_STEPS = 48
"""So many steps of generation win back the time that packing the weights takes."""


def ask(
    model: Any,
    questions: Sequence[Question],
    *,
    eos_ids: Sequence[int],
    pad_id: int,
    tokens_per_batch: int = 12_288,
    max_rows: int = 64,
    progress: Callable[[float], None] = lambda fraction: None,
    answered: Callable[[int, Response], None] = lambda number, response: None,
    decode: Callable[[Sequence[int]], str] | None = None,
) -> list[Response]:
    """Responses in the order of `questions`. Batches are of like length, so an answer does not depend on its
    neighbours beyond rounding.

    Args:
        answered: is told each question's position and response as soon as it is there.
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
    responses: list[Response | None] = [None] * len(questions)
    done = 0
    with ExitStack() as stack:
        stack.enter_context(quick_attention(model))
        if max(question.max_new_tokens for question in questions) >= _PACK_FROM_STEPS:
            stack.enter_context(packed_weights(model))
        reader = Reader(model, frozenset(eos_ids), pad_id, prefix, decode)
        threads = stack.enter_context(lanes(model, len(questions)))

        def read(batch: Sequence[int]) -> list[Response]:
            return reader.read([questions[index] for index in batch])

        rows = max(min(max_rows, -(-len(questions) // threads.count)), 1)
        tokens = max(tokens_per_batch // threads.count, 1)
        if threads.count > 1 and not any(question.max_new_tokens for question in questions):
            tokens = min(tokens, _SCORED_TOKENS)
        batches = _batches(questions, tokens, rows)
        for batch, found in zip(batches, threads.map(read, batches), strict=True):
            for index, response in zip(batch, found, strict=True):
                responses[index] = response
                answered(index, response)
            done += len(batch)
            progress(done / len(questions))
    return [response for response in responses if response is not None]


def _batches(questions: Sequence[Question], tokens: int, rows: int) -> list[list[int]]:
    """Positions of questions in batches of like length."""
    buckets = length_bucketed([_length(question) for question in questions], tokens)
    return [bucket[start : start + rows] for bucket in buckets for start in range(0, len(bucket), rows)]


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
