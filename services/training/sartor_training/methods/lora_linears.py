"""Linear layers with LoRA branches that read the same input, as one product: forward and backward passes for
training on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def is_plain_lora(module: Any) -> bool:
    """Whether this is a frozen linear layer with one LoRA adapter and nothing else about it."""
    adapters = getattr(module, "lora_A", None)
    if adapters is None or list(adapters) != ["default"] or not hasattr(module, "base_layer"):
        return False
    plain_dropout = isinstance(module.lora_dropout["default"], torch.nn.Identity)
    magnitudes = getattr(module, "lora_magnitude_vector", None)
    base = module.base_layer
    return (
        plain_dropout
        and not magnitudes
        and type(base) is torch.nn.Linear
        and not base.weight.requires_grad
        and not module.merged
    )


class LoraLinears:
    """Linear layers of one input as one: their frozen weights lie behind one another, and the layers' own
    weights become views of that, so that nothing is held twice."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._layers = layers
        self.sizes = [layer.base_layer.weight.shape[0] for layer in layers]
        self._ranks = [layer.lora_A["default"].weight.shape[0] for layer in layers]
        self._scales = {layer.scaling["default"] for layer in layers}
        with torch.no_grad():
            self._weight, self._bias = self._joined()

    def _joined(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        bases = [layer.base_layer for layer in self._layers]
        if len(bases) == 1:
            return bases[0].weight.data, None if bases[0].bias is None else bases[0].bias.data
        weight = torch.cat([base.weight for base in bases])
        for base, part in zip(bases, weight.split(self.sizes), strict=True):
            base.weight.data = part
        if any(base.bias is None for base in bases):
            return weight, None
        return weight, torch.cat([base.bias for base in bases])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[tokens, all outputs] of `x` [tokens, width]."""
        downs = [layer.lora_A["default"].weight for layer in self._layers]
        ups = [layer.lora_B["default"].weight for layer in self._layers]
        apply: Any = _LoraProduct.apply
        scale = next(iter(self._scales))
        out: torch.Tensor = apply(x, self._weight, self._bias, scale, len(downs), *downs, *ups)
        return out

    @classmethod
    def joinable(cls, layers: Sequence[Any]) -> bool:
        """Whether these layers can be one: plain LoRA, of one scale, and all or none with a bias."""
        if not all(is_plain_lora(layer) for layer in layers):
            return False
        scales = {layer.scaling["default"] for layer in layers}
        biases = {layer.base_layer.bias is None for layer in layers}
        return len(scales) == 1 and len(biases) == 1


class _LoraProduct(torch.autograd.Function):
    """x W^T + scale (x A^T) B^T (+ bias), W and bias frozen. x is [tokens, width].

    Of several layers A is one behind the other and B block-diagonal: two small products instead of many.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        scale: float,
        count: int,
        *both: torch.Tensor,
    ) -> torch.Tensor:
        downs, ups = both[:count], both[count:]
        down = downs[0] if count == 1 else torch.cat(downs)
        up = ups[0] if count == 1 else torch.block_diag(*ups)
        inner = x @ down.T
        out = torch.nn.functional.linear(x, weight, bias)
        out.addmm_(inner, up.T, alpha=scale)
        ctx.save_for_backward(x, weight, down, up, inner)
        ctx.scale = scale
        ctx.shapes = [tuple(one.shape) for one in ups]
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, down, up, inner = ctx.saved_tensors
        grad = grads[0]
        grad_inner = (grad @ up).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(grad_inner, down)
        grad_down = grad_inner.T @ x
        grad_up = (grad.T @ inner).mul_(ctx.scale)
        if len(ctx.shapes) == 1:
            return grad_x, None, None, None, None, grad_down, grad_up
        grad_downs = grad_down.split([rank for _, rank in ctx.shapes])
        return grad_x, None, None, None, None, *grad_downs, *_diagonal_blocks(grad_up, ctx.shapes)


def _diagonal_blocks(table: torch.Tensor, shapes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
    found, row, column = [], 0, 0
    for rows, columns in shapes:
        found.append(table[row : row + rows, column : column + columns].contiguous())
        row, column = row + rows, column + columns
    return found
