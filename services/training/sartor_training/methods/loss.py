"""The loss of supervised fine-tuning: cross-entropy of the assistant's tokens, made in slices of the
vocabulary product."""

from __future__ import annotations

from typing import Any

import torch

_ROWS_AT_ONCE = 128


class _SlicedCrossEntropy(torch.autograd.Function):
    """Mean over rows of -log softmax(states W^T)[target]; float32 inside.

    The scores of all positions over the whole vocabulary never exist at once: each slice's gradient is made
    while the slice is in the cache, as in Liger kernels (Hsu et al. 2024).
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        learn_states, learn_weight = ctx.needs_input_grad[:2]
        grad_states = torch.empty_like(states) if learn_states else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if learn_weight else None
        total = states.new_zeros((), dtype=torch.float64)
        for start in range(0, states.shape[0], _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            rows, wanted = states[part], targets[part, None]
            scores = (rows @ weight.T).float()
            # Not logsumexp: on a CPU it takes ten times as long as its parts.
            highest = scores.amax(1, keepdim=True)
            hit = scores.gather(1, wanted).sub_(highest)
            sums = scores.sub_(highest).exp_().sum(1, keepdim=True)
            total += (sums.log() - hit).sum(dtype=torch.float64)
            if not (learn_states or learn_weight):
                continue
            slope = scores.div_(sums * states.shape[0])
            slope.scatter_add_(1, wanted, torch.full_like(hit, -1.0 / states.shape[0]))
            rounded = slope.to(states.dtype)
            if grad_states is not None:
                grad_states[part] = rounded @ weight
            if grad_weight is not None:
                grad_weight += (rounded.T @ rows).float()
        ctx.grads = grad_states, None if grad_weight is None else grad_weight.to(weight.dtype)
        return (total / states.shape[0]).float()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_states, grad_weight = ctx.grads
        scale = grads[0]
        return (
            None if grad_states is None else grad_states * scale.to(grad_states.dtype),
            None if grad_weight is None else grad_weight * scale.to(grad_weight.dtype),
            None,
        )


def cross_entropy(states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean negative log-probability of `targets`, in nats.

    Args:
        states: [positions, width] hidden states before the output layer.
        weight: [vocabulary, width] the output layer.
        targets: int64 [positions].
    """
    apply: Any = _SlicedCrossEntropy.apply
    loss: torch.Tensor = apply(states, weight, targets)
    return loss
