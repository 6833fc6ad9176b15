"""The best few-shot prompt of a model, searched on the validation split: the strongest rival that tuning must
beat.

Successive halving: with many prompts all are first compared by the likelihood of the reference answers on
half of the items, which needs no generation; the best few then answer all items, and the best answers win.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from sartor_evaluation.asking import Answers
from sartor_evaluation.items import Item, Outcome
from sartor_evaluation.metrics.compute import item_score
from sartor_evaluation.prompts import DEFAULT_SHOTS, Choice, NoExamples, Prompt

DEFAULT_ITEMS = 24
_FINALISTS = 2


@dataclass(frozen=True, slots=True)
class FewShotSearch:
    """Which prompts are tried, on how many validation items."""

    shots: tuple[int, ...] = DEFAULT_SHOTS
    choices: tuple[Choice, ...] = tuple(Choice)
    items: int = DEFAULT_ITEMS

    def prompts(self) -> list[Prompt]:
        return [Prompt(shots, choice) for choice in self.choices for shots in self.shots]


@dataclass(frozen=True, slots=True)
class Tried:
    """A prompt with what it got: loss an answer token, and the mean item score where it wrote answers."""

    prompt: Prompt
    loss: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """The winner and everything that was tried, the best first."""

    best: Prompt
    tried: tuple[Tried, ...]
    items: int


def search_prompt(
    answers: Answers,
    validation: Sequence[Item],
    search: FewShotSearch,
    *,
    seed: int = 0,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Found:
    """Try the prompts of `search` on a sample of `validation`.

    Raises:
        NoExamples: there is no validation item to search on.
    """
    items = _sample(validation, search.items, seed)
    if not items:
        raise NoExamples(
            "the validation split is empty, so no prompt can be searched on it; give a number of shots"
        )
    prompts = search.prompts()
    steps = (len(prompts) if len(prompts) > _FINALISTS else 0) + min(_FINALISTS, len(prompts))
    done = 0
    tried: list[Tried] = []
    if len(prompts) > _FINALISTS:
        half = items[: max(len(items) // 2, 1)]
        for prompt in prompts:
            tried.append(Tried(prompt, _loss(answers.outcomes(half, prompt, generate=False)), None))
            done += 1
            progress(done / steps)
        tried.sort(key=lambda one: one.loss)
        prompts = [one.prompt for one in tried[:_FINALISTS]]
    finalists = []
    for prompt in prompts:
        outcomes = answers.outcomes(items, prompt)
        finalists.append(Tried(prompt, _loss(outcomes), sum(map(item_score, outcomes)) / len(outcomes)))
        done += 1
        progress(done / steps)
    finalists.sort(key=lambda one: (-(one.score or 0.0), one.loss))
    return Found(finalists[0].prompt, (*finalists, *tried[_FINALISTS:]), len(items))


def _loss(outcomes: Sequence[Outcome]) -> float:
    total = sum(outcome.loss_sum for outcome in outcomes)
    return total / sum(outcome.loss_tokens for outcome in outcomes)


def _sample(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """At most `count` items, kinds and languages in turn, so that half of the sample is like the whole."""
    sorts: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in random.Random(seed).sample(list(items), len(items)):
        sorts[item.kind.value, item.language].append(item)
    turns = zip_longest(*(sorts[sort] for sort in sorted(sorts)))
    return [item for turn in turns for item in turn if item is not None][:count]
