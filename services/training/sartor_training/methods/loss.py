"""Losses over the vocabulary, made in slices of its product: cross-entropy, and the log-probability of each
token."""

from __future__ import annotations

from typing import Any

import torch

_ROWS_AT_ONCE = 128  # on a CPU: scores of so many positions stay in the cache
_SCORES_AT_ONCE = 128 << 20  # on an accelerator: the product wants to be large, and its float32 scores fit


def _rows_at_once(weight: torch.Tensor) -> int:
    if weight.device.type == "cpu":
        return _ROWS_AT_ONCE
    return max(_ROWS_AT_ONCE, _SCORES_AT_ONCE // weight.shape[0])


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
        size = _rows_at_once(weight)
        for start in range(0, states.shape[0], size):
            part = slice(start, start + size)
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


class _SlicedLogProbabilities(torch.autograd.Function):
    """log softmax(states W^T)[target] of each position; float32 inside, W frozen.

    A position's gradient is its own slope times what comes from above, so the slopes can be made while the
    slice is
    in the cache, before anybody knows the factor.
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        slopes = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        found = torch.empty(states.shape[0], dtype=torch.float32, device=states.device)
        size = _rows_at_once(weight)
        for start in range(0, states.shape[0], size):
            part = slice(start, start + size)
            wanted = targets[part, None]
            scores = (states[part] @ weight.T).float()
            highest = scores.amax(1, keepdim=True)
            hit = scores.gather(1, wanted).sub_(highest)
            sums = scores.sub_(highest).exp_().sum(1, keepdim=True)
            found[part] = (hit - sums.log())[:, 0]
            if slopes is not None:
                slope = scores.div_(-sums)
                slope.scatter_add_(1, wanted, torch.ones_like(hit))
                slopes[part] = slope.to(states.dtype) @ weight
        ctx.slopes = slopes
        return found

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        slopes = ctx.slopes
        return None if slopes is None else slopes * grads[0][:, None].to(slopes.dtype), None, None


def log_probabilities(states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log-probability of each of `targets`, float32 [positions], in nats.

    Args:
        states: [positions, width] hidden states before the output layer.
        weight: [vocabulary, width] the output layer. One that is taught takes the plain way.
        targets: int64 [positions].
    """
    if weight.requires_grad and torch.is_grad_enabled():
        scores = (states @ weight.T).float()
        return -torch.nn.functional.cross_entropy(scores, targets, reduction="none")
    apply: Any = _SlicedLogProbabilities.apply
    found: torch.Tensor = apply(states, weight, targets)
    return found
