"""How likely a model finds given answers, and which token it would have chosen at each of their positions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sartor_models.batches import length_bucketed, padded
from sartor_models.heads import exact_logits, hidden_states


@dataclass(frozen=True, slots=True)
class ScoreItem:
    """`answer_ids` are scored after `prompt_ids` (teacher forcing). Neither may be empty."""

    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Score:
    """One item's natural log-probabilities, token by token, and the token the model ranks first at each
    position."""

    log_probabilities: tuple[float, ...]
    top1_ids: tuple[int, ...]

    @property
    def log_likelihood(self) -> float:
        return math.fsum(self.log_probabilities)


def score(
    model: Any,
    items: Sequence[ScoreItem],
    *,
    tokens_per_batch: int = 2048,
    pad_id: int = 0,
    progress: Callable[[float], None] = lambda fraction: None,
) -> list[Score]:
    """Scores in the order of `items`. The head is applied to the answers' positions only.

    Rows are padded on the right, so an item's score does not depend on its neighbours beyond rounding.
    Raises:
        ValueError: an item without prompt or answer.
    """
    if any(not item.prompt_ids or not item.answer_ids for item in items):
        raise ValueError("an item needs at least one prompt token and one answer token")
    rows = [[*item.prompt_ids, *item.answer_ids] for item in items]
    scores: list[Score | None] = [None] * len(items)
    done = 0
    for batch in length_bucketed([len(row) for row in rows], tokens_per_batch):
        for index, result in zip(
            batch,
            _score_batch(model, [items[i] for i in batch], [rows[i] for i in batch], pad_id),
            strict=True,
        ):
            scores[index] = result
        done += len(batch)
        progress(done / len(items))
    return [result for result in scores if result is not None]


@torch.inference_mode()
def _score_batch(
    model: Any, items: Sequence[ScoreItem], rows: Sequence[Sequence[int]], pad_id: int
) -> list[Score]:
    ids, _ = padded([row[:-1] for row in rows], pad_id)
    states = hidden_states(model, ids.to(model.device))
    wanted = torch.cat(
        [
            states[number, len(item.prompt_ids) - 1 : len(row) - 1]
            for number, (item, row) in enumerate(zip(items, rows, strict=True))
        ]
    )
    answers = torch.tensor([token for item in items for token in item.answer_ids], device=wanted.device)
    chosen, best = [], []
    for part, expected in zip(wanted.split(512), answers.split(512), strict=True):
        scores = exact_logits(model, part)
        chosen += (scores.gather(1, expected[:, None])[:, 0] - scores.logsumexp(1)).tolist()
        best += scores.argmax(1).tolist()
    results, start = [], 0
    for item in items:
        end = start + len(item.answer_ids)
        results.append(Score(tuple(chosen[start:end]), tuple(best[start:end])))
        start = end
    return results
