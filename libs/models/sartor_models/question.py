"""What can be asked of a model in one pass, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass

from sartor_models.generate import Answer
from sartor_models.scoring import Score


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
