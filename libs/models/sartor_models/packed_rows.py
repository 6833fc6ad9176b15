"""Rows of tokens behind one another in one, without padding: each sees itself only. What training on an
accelerator runs on.

On a CUDA device attention is torch's variable-length kernel. Elsewhere the same is done with a table of who
sees whom, which is slow and there for comparison: on a CPU training pads.
"""

from collections.abc import Sequence
from typing import Any

import torch

ATTENTION = "sartor_packed"
_KERNEL_TYPES = (torch.bfloat16, torch.float16)


def pack_rows(model: Any) -> bool:
    """Let the model take packed rows from now on, and no others; says whether it can. One with a sliding
    window cannot."""
    from transformers import AttentionInterface

    if getattr(model.config, "sliding_window", None) is not None:
        return False
    AttentionInterface.register(ATTENTION, _attention)
    model.config._attn_implementation = ATTENTION
    return True


def packs(model: Any) -> bool:
    """Whether `pack_rows` was done."""
    return bool(model.config._attn_implementation == ATTENTION)


def packed_states(model: Any, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Last hidden states after the final norm, [all tokens, width], of rows behind one another."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.tensor([[token for row in rows for token in row]])
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
    bounds = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    output = model.model(
        input_ids=ids.to(model.device),
        position_ids=positions.to(model.device),
        use_cache=False,
        cu_seq_lens_q=bounds.to(model.device),
        max_length_q=int(lengths.max()),
    )
    states: torch.Tensor = output.last_hidden_state[0]
    return states


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What the model library calls: [1, heads, tokens, width] in, [1, tokens, heads, width] out."""
    if cu_seq_lens_q is None:
        raise ValueError("a model that packs rows is asked with packed_states only")
    grouped = query.shape[1] != key.shape[1]
    if query.is_cuda and query.dtype in _KERNEL_TYPES and not dropout:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (one[0].transpose(0, 1) for one in (query, key, value))
        out: Any = varlen_attn(
            q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q,
            scale=scaling, window_size=(-1, 0), enable_gqa=grouped,
        )  # fmt: skip
        return out[None], None
    out = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=_seen(cu_seq_lens_q, query.shape[2]), dropout_p=dropout, scale=scaling,
        enable_gqa=grouped,
    )  # fmt: skip
    return out.transpose(1, 2), None


def _seen(bounds: torch.Tensor, tokens: int) -> torch.Tensor:
    """bool [tokens, tokens]: position i sees j, which is of the same row and not after it."""
    places = torch.arange(tokens, device=bounds.device)
    row = torch.bucketize(places, bounds[1:], right=True)
    return (row[:, None] == row[None]) & (places[:, None] >= places[None])
