"""Hidden states and the output layer apart, so that the vocabulary-wide product is made only where it is
needed."""

from typing import Any

import torch


def hidden_states(model: Any, ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Last hidden states [rows, tokens, width] after the final norm.

    Rows are padded on the right: a causal model's real positions never see the padding, so no mask is needed.
    """
    output = model.model(input_ids=ids, attention_mask=attention_mask, use_cache=False)
    states: torch.Tensor = output.last_hidden_state
    return states


def logits(model: Any, states: torch.Tensor) -> torch.Tensor:
    """Scores over the vocabulary, float32, for `states` of any leading shape."""
    scores: torch.Tensor = model.lm_head(states)
    return scores.float()


def exact_logits(model: Any, states: torch.Tensor) -> torch.Tensor:
    """As `logits`, with the product itself in float32.

    In bfloat16 logits of 16 to 32 come in steps of 0.125: one token in fifty changes places with the next.
    """
    head = model.lm_head
    bias = None if head.bias is None else head.bias.float()
    return torch.nn.functional.linear(states.float(), head.weight.float(), bias)
