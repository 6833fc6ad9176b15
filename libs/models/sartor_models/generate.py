"""Greedy answers in batches with a key-value cache: deterministic, and the same in any batch as far as
rounding allows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sartor_models.batches import length_bucketed, padded


@dataclass(frozen=True, slots=True)
class Answer:
    """Generated token ids without the end token. `finished` is false where the length limit ended it."""

    ids: tuple[int, ...]
    finished: bool


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    eos_ids: Sequence[int],
    pad_id: int,
    max_new_tokens: int = 128,
    max_rows: int = 32,
    tokens_per_batch: int = 8192,
    progress: Callable[[float], None] = lambda fraction: None,
) -> list[Answer]:
    """The most likely next token again and again, until an end token or `max_new_tokens`; answers in the
    order of `prompts`.

    Prompts of like length go together (at most `max_rows`), padded on the left; rows that have ended leave
    the batch.
    Raises:
        ValueError: an empty prompt.
    """
    if any(not prompt for prompt in prompts):
        raise ValueError("a prompt needs at least one token")
    answers: list[Answer | None] = [None] * len(prompts)
    done = 0
    for bucket in length_bucketed([len(prompt) for prompt in prompts], tokens_per_batch):
        for start in range(0, len(bucket), max_rows):
            batch = bucket[start : start + max_rows]
            results = _generate_batch(
                model, [prompts[i] for i in batch], frozenset(eos_ids), pad_id, max_new_tokens
            )
            for index, answer in zip(batch, results, strict=True):
                answers[index] = answer
            done += len(batch)
            progress(done / len(prompts))
    return [answer for answer in answers if answer is not None]


@torch.inference_mode()
def _generate_batch(
    model: Any, prompts: Sequence[Sequence[int]], eos_ids: frozenset[int], pad_id: int, max_new_tokens: int
) -> list[Answer]:
    from transformers import DynamicCache

    step, mask = padded(prompts, pad_id, left=True)
    step, mask = step.to(model.device), mask.to(model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    tokens: list[list[int]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    alive = list(range(len(prompts)))
    for _ in range(max_new_tokens):
        output = model(
            input_ids=step,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        chosen = output.logits[:, -1].float().argmax(-1)
        keep = []
        for row, token in enumerate(chosen.tolist()):
            if token in eos_ids:
                finished[alive[row]] = True
            else:
                tokens[alive[row]].append(token)
                keep.append(row)
        if not keep:
            break
        if len(keep) < len(alive):
            rows = torch.tensor(keep, device=model.device)
            cache.batch_select_indices(rows)
            chosen, mask, positions = chosen[rows], mask[rows], positions[rows]
            alive = [alive[row] for row in keep]
        step = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        positions = positions[:, -1:] + 1
    return [Answer(tuple(ids), ended) for ids, ended in zip(tokens, finished, strict=True)]
