"""What each choice of our training brings: each taken away alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.training_rows import TOKENS_PER_BATCH
from benchmarks.training_timing import RANK, chats, lora_recipe, timed


def ablation(work: Path) -> dict[str, Any]:
    """Each choice taken away alone; three steps each."""
    import torch
    from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora
    from sartor_models.load import load_model
    from sartor_training.methods import plan
    from sartor_training.methods.fast_layers import speed_up
    from sartor_training.methods.next_token import NextToken

    train, _ = chats(work)
    recipe = lora_recipe(max_training_tokens=TOKENS_PER_BATCH * 3)

    def run(
        dtype: Any = None, fast: bool = True, wide: bool = False, head: bool = True, mixed: bool = False
    ) -> Any:
        model = add_lora(load_model(work / "base", dtype), LoraAdapter(RANK, 32.0), 0)
        parameters = adapter_weights(model)
        if wide:
            for parameter in parameters.values():
                parameter.data = parameter.data.float()
        if fast:
            speed_up(model)
        objective: Any = NextToken(model) if head else _WholeHead(model)
        shuffled: AbstractContextManager[Any] = (
            mock.patch.object(plan, "length_bucketed", _shuffled) if mixed else nullcontext()
        )
        mixer = torch.autocast("cpu", torch.bfloat16) if wide else nullcontext()
        with shuffled, mixer:
            return timed(model, parameters, objective, train, recipe)

    return {
        "all of it": run(),
        "library's layers": run(fast=False),
        "head on all positions": run(head=False),
        "rows in random batches": run(mixed=True),
        "adapters in float32": run(wide=True, fast=False),
        "everything in float32": run(torch.float32),
    }


class _WholeHead:
    """Scores of every position at once, as libraries make them."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def length(self, row: Any) -> int:
        """Tokens."""
        return len(row.ids)

    def positions(self, row: Any) -> int:
        """Supervised tokens."""
        return sum(row.supervised[1:])

    def loss(self, rows: Sequence[Any]) -> Any:
        """Cross-entropy with labels of -100."""
        import torch
        from sartor_models.batches import padded

        ids, _ = padded([row.ids for row in rows], 0)
        learned, _ = padded([row.supervised for row in rows], 0)
        scores = self.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        labels = ids[:, 1:].masked_fill(~learned[:, 1:].bool(), -100)
        return torch.nn.functional.cross_entropy(scores.transpose(1, 2), labels), {}


def _shuffled(lengths: Sequence[int], tokens_per_batch: int, *, seed: int | None = None) -> list[list[int]]:
    """Batches of rows as they come, each padded to its longest."""
    order = list(range(len(lengths)))
    random.Random(seed).shuffle(order)
    batches: list[list[int]] = [[]]
    for index in order:
        longest = max([lengths[index], *(lengths[other] for other in batches[-1])])
        if batches[-1] and longest * (len(batches[-1]) + 1) > tokens_per_batch:
            batches.append([])
        batches[-1].append(index)
    return batches
