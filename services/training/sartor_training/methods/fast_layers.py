"""Faster forward and backward passes for training on a CPU: the same results to rounding, several times
sooner.

Measured on Zen 5 with bfloat16 (benchmarks of the training service): the library's attention kernel spends
26 ms on what two batched matrix products and a softmax do in 4; scaling and adding a LoRA branch as tensors
of their own costs more than the branch's products; the norms and the gated activation make a dozen passes
where few suffice. What is left is short operations, each of which wakes the other threads: fewer of them
count more than faster ones.
"""

from __future__ import annotations

import types
from functools import lru_cache
from typing import Any

import torch

from sartor_training.methods.fast_attention import LONGEST_ROW, join_attention
from sartor_training.methods.lora_linears import LoraLinears, is_plain_lora

_NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "SmolLM3RMSNorm")
_GATED = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP", "SmolLM3MLP")
ATTENTION = "sartor_training"


def speed_up(model: Any) -> None:
    """Replace what is slow in a causal language model that is trained on a CPU. Rows must be padded on the
    right.

    What is not recognised, and what is taught itself, stays as it is.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention_interface)
    plain_attention = getattr(model.config, "sliding_window", None) is None
    if plain_attention:
        model.config._attn_implementation = ATTENTION
    for module in model.modules():
        kind = type(module).__name__
        if kind in _NORMS and not module.weight.requires_grad:
            module.forward = types.MethodType(_norm_forward, module)
        elif kind in _GATED and model.config.hidden_act == "silu":
            if LoraLinears.joinable(layers := [module.gate_proj, module.up_proj]):
                module.sartor_linears = LoraLinears(layers)
            module.forward = types.MethodType(_gated_forward, module)
        elif is_plain_lora(module):
            module.sartor_linears = LoraLinears([module])
            module.forward = types.MethodType(_lora_forward, module)
        elif plain_attention:
            join_attention(module)


def _lora_forward(self: Any, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return self.sartor_linears(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)  # type: ignore[no-any-return]


class _RmsNorm(torch.autograd.Function):
    """x / rms(x) * weight, weight frozen; float32 inside (Zhang and Sennrich 2019)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        wide = x.float()
        scale = (
            torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
            .square_()
            .div_(x.shape[-1])
            .add_(epsilon)
            .rsqrt_()
        )
        normal = wide.mul_(scale) if wide is not x else wide * scale
        rounded = normal.to(x.dtype)
        ctx.save_for_backward(rounded, scale, weight)
        return rounded * weight

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        normal, scale, weight = ctx.saved_tensors
        slope = grads[0] * weight
        projection = (slope * normal).sum(-1, keepdim=True, dtype=torch.float32).div_(-normal.shape[-1])
        return (
            torch.addcmul(slope.float(), normal.float(), projection).mul_(scale).to(normal.dtype),
            None,
            None,
        )


def _norm_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    apply: Any = _RmsNorm.apply
    out: torch.Tensor = apply(x, self.weight, self.variance_epsilon)
    return out


class _SwiGlu(torch.autograd.Function):
    """silu(gate) * up (Shazeer 2020), given apart or side by side; the sigmoid is made once, for both
    passes."""

    @staticmethod
    def forward(ctx: Any, *parts: torch.Tensor) -> torch.Tensor:
        gate, up = parts if len(parts) == 2 else parts[0].chunk(2, -1)
        sigmoid = torch.sigmoid(gate)
        ctx.save_for_backward(sigmoid, *parts)
        return (gate * sigmoid).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        sigmoid, *parts = ctx.saved_tensors
        gate, up = parts if len(parts) == 2 else parts[0].chunk(2, -1)
        slopes = [torch.empty_like(part) for part in parts]
        to_gate, to_up = slopes if len(parts) == 2 else slopes[0].chunk(2, -1)
        through = grads[0] * sigmoid
        torch.mul(through, gate, out=to_up)
        # silu'(g) = s (1 + g (1 - s)) = s + g s (1 - s)
        torch.addcmul(gate, gate, sigmoid, value=-1.0, out=to_gate).add_(1.0)
        to_gate.mul_(through.mul_(up))
        return tuple(slopes)


def _gated_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    apply: Any = _SwiGlu.apply
    joined = getattr(self, "sartor_linears", None)
    if joined is None:
        return self.down_proj(apply(self.gate_proj(x), self.up_proj(x)))  # type: ignore[no-any-return]
    both = joined(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)
    return self.down_proj(apply(both))  # type: ignore[no-any-return]


class _CausalAttention(torch.autograd.Function):
    """softmax(q k^T scale + causal) v for grouped queries (Ainslie et al. 2023): the heads of a group are
    one product.

    q is [batch x groups, heads x tokens, width], k and v are [batch x groups, tokens, width].
    """

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, scale: float
    ) -> torch.Tensor:
        scores = torch.bmm(q, k.transpose(1, 2)).float().mul_(scale)
        scores.view(scores.shape[0], -1, *mask.shape).add_(mask)
        weights = torch.softmax(scores, -1).to(q.dtype)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale = scale
        return torch.bmm(weights, v)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        grad = grads[0].contiguous()
        slope = torch._softmax_backward_data(torch.bmm(grad, v.transpose(1, 2)), weights, -1, weights.dtype)
        slope.mul_(ctx.scale)
        return (
            torch.bmm(slope, k),
            torch.bmm(slope.transpose(1, 2), q),
            torch.bmm(weights.transpose(1, 2), grad),
            None,
            None,
        )


@lru_cache(maxsize=16)
def _causal_mask(tokens: int) -> torch.Tensor:
    return torch.full((tokens, tokens), float("-inf")).triu_(1)


def _attention_interface(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What the model library calls: [batch, heads, tokens, width] in, [batch, tokens, heads, width] out."""
    batch, heads, tokens, width = query.shape
    groups = key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    if tokens > LONGEST_ROW or dropout or attention_mask is not None:
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, is_causal=attention_mask is None,
            scale=scale, enable_gqa=heads != groups,
        )  # fmt: skip
        return out.transpose(1, 2).contiguous(), None
    mask = _causal_mask(tokens)
    apply: Any = _CausalAttention.apply
    out = apply(
        query.reshape(batch * groups, -1, width),
        key.reshape(batch * groups, tokens, width),
        value.reshape(batch * groups, tokens, width),
        mask,
        scale,
    )
    return out.view(batch, heads, tokens, width).transpose(1, 2).contiguous(), None
