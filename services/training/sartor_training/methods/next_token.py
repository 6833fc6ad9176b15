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
        ids, _ = padded([row.ids for row in rows], 0)
        learned, _ = padded([row.supervised for row in rows], 0)
        device = self.model.device
        states = hidden_states(self.model, ids.to(device))[:, :-1]
        chosen = learned[:, 1:].bool().to(device)
        head = self.model.lm_head.weight
        return cross_entropy(states[chosen], head, ids[:, 1:].to(device)[chosen]), {}
