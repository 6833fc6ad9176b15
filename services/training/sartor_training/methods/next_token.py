"""The loss of every method that teaches a causal model to continue text: cross-entropy of the supervised
tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sartor_models.batches import padded
from sartor_models.chat_format import ChatTokens
from sartor_models.heads import hidden_states
from sartor_models.packed_rows import packed_states, packs

from sartor_training.methods.loss import cross_entropy


@dataclass(frozen=True, slots=True)
class NextToken:
    """Mean negative log-probability of the supervised tokens; the output layer sees no other position."""

    model: Any

    def length(self, row: ChatTokens) -> int:
        """Tokens of the row."""
        return len(row.ids)

    def positions(self, row: ChatTokens) -> int:
        """Supervised tokens, but for the first: no token stands before it."""
        return sum(row.supervised[1:])

    def loss(self, rows: Sequence[ChatTokens]) -> tuple[torch.Tensor, Mapping[str, float]]:
        """In nats a token."""
        states, targets = supervised_states(self.model, rows)
        return cross_entropy(states, self.model.lm_head.weight, targets), {}


def supervised_states(model: Any, rows: Sequence[ChatTokens]) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states [positions, width] before each supervised token of the rows, in their order, and the
    tokens [positions]. Rows are padded, or packed where the model packs."""
    device = model.device
    if packs(model):
        states = packed_states(model, [row.ids for row in rows])
        before = torch.tensor([on for row in rows for on in (*row.supervised[1:], False)], device=device)
        learned = [t for row in rows for t, on in zip(row.ids[1:], row.supervised[1:], strict=True) if on]
        return states[before], torch.tensor(learned, device=device)
    ids, _ = padded([row.ids for row in rows], 0)
    learned_at, _ = padded([row.supervised for row in rows], 0)
    chosen = learned_at[:, 1:].bool().to(device)
    return hidden_states(model, ids.to(device))[:, :-1][chosen], ids[:, 1:].to(device)[chosen]
