"""Causal attention with rotary positions for training on a CPU: from the joined products of queries, keys and
values to what the output projection reads, as one pass forward and one backward."""

from __future__ import annotations

import types
from functools import lru_cache
from typing import Any

import torch

from sartor_training.methods.lora_linears import LoraLinears

LONGEST_ROW = 1024  # beyond it the table of attention weights outgrows what it saves
# These turn queries and keys by the whole width of a head, in halves, and do nothing else to them.
_BLOCKS = ("LlamaAttention", "MistralAttention", "Qwen2Attention")


def join_attention(module: Any) -> bool:
    """Give an attention block of LoRA linears the faster pass; says whether it is one that can have it."""
    layers = [getattr(module, name, None) for name in ("q_proj", "k_proj", "v_proj")]
    if type(module).__name__ not in _BLOCKS or not LoraLinears.joinable(layers):
        return False
    module.sartor_plain_forward = module.forward
    module.sartor_linears = LoraLinears(layers)
    module.forward = types.MethodType(_block_forward, module)
    return True


def _block_forward(
    self: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    attention_mask: torch.Tensor | None = None,
    past_key_values: Any = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    rows, tokens, width = hidden_states.shape
    dropout = self.attention_dropout if self.training else 0.0
    if attention_mask is not None or past_key_values is not None or dropout or tokens > LONGEST_ROW:
        plain: tuple[torch.Tensor, None] = self.sartor_plain_forward(
            hidden_states, position_embeddings, attention_mask, past_key_values=past_key_values, **more
        )
        return plain
    cos, sin = position_embeddings
    joined = self.sartor_linears(hidden_states.reshape(-1, width))
    apply: Any = _RotaryAttention.apply
    out = apply(joined, cos, sin, rows, self.sartor_linears.sizes, self.head_dim, self.scaling)
    return self.o_proj(out.view(rows, tokens, -1)), None


class _RotaryAttention(torch.autograd.Function):
    """softmax(R q (R k)^T scale + causal) v for grouped queries (Su et al. 2021; Ainslie et al. 2023).

    The heads of a group are one product. `joined` is [rows x tokens, queries + keys + values]; `cos` and
    `sin` are [rows or 1, tokens, width of a head]; the scale is put into the queries' turn.
    """

    @staticmethod
    def forward(
        ctx: Any,
        joined: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        rows: int,
        sizes: list[int],
        width: int,
        scale: float,
    ) -> torch.Tensor:
        tokens = joined.shape[0] // rows
        heads, groups = sizes[0] // width, sizes[1] // width
        half = width // 2
        cos, sin = cos[:, None, :, :half], sin[:, None, :, :half]
        q_raw, k_raw, v_raw = _by_head(joined, rows, sizes, width)
        q = joined.new_empty(rows, heads, tokens, width)
        k = joined.new_empty(rows, groups, tokens, width)
        _turn(q_raw, cos * scale, sin * scale, q)
        _turn(k_raw, cos, sin, k)
        q = q.view(rows * groups, -1, width)
        k = k.view(rows * groups, tokens, width)
        v = v_raw.reshape(rows * groups, tokens, width)
        weights = torch.bmm(q, k.transpose(1, 2))
        weights.view(rows * groups, -1, tokens, tokens).add_(_causal_mask(tokens, joined.dtype))
        weights = torch.softmax(weights, -1)
        ctx.save_for_backward(q, k, v, weights, cos, sin)
        ctx.shape = rows, sizes, width, scale
        out = torch.bmm(weights, v).view(rows, heads, tokens, width).transpose(1, 2)
        return out.reshape(rows * tokens, heads * width)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, weights, cos, sin = ctx.saved_tensors
        rows, sizes, width, scale = ctx.shape
        tokens, groups = k.shape[1], sizes[1] // width
        grad = grads[0].view(rows, tokens, -1, width).transpose(1, 2).reshape(rows * groups, -1, width)
        slope = torch._softmax_backward_data(torch.bmm(grad, v.transpose(1, 2)), weights, -1, weights.dtype)
        joined = grad.new_empty(rows * tokens, sum(sizes))
        to_q, to_k, to_v = _by_head(joined, rows, sizes, width)
        _turn(torch.bmm(slope, k).view(to_q.shape), cos * scale, -sin * scale, to_q)
        _turn(torch.bmm(slope.transpose(1, 2), q).view(to_k.shape), cos, -sin, to_k)
        to_v.copy_(torch.bmm(weights.transpose(1, 2), grad).view(to_v.shape))
        return joined, None, None, None, None, None, None


def _by_head(joined: torch.Tensor, rows: int, sizes: list[int], width: int) -> list[torch.Tensor]:
    """Views [rows, heads, tokens, width] of queries, keys and values."""
    parts = joined.view(rows, -1, sum(sizes)).split(sizes, dim=-1)
    return [part.unflatten(-1, (-1, width)).transpose(1, 2) for part in parts]


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, out: torch.Tensor) -> None:
    """Each pair (x[i], x[i + half]) turned by its position's angle, into `out`."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-1.0)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin)


@lru_cache(maxsize=32)
def _causal_mask(tokens: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.full((tokens, tokens), float("-inf"), dtype=dtype).triu_(1)
