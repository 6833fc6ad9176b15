"""Probabilities that mean what they say: one temperature for all scores, and the error that remains (Guo et
al. 2017)."""

from __future__ import annotations

import math

import torch

_BINS = 10
_LOW, _HIGH = 0.05, 20.0
_ROUNDS = 60


def fit_temperature(scores: torch.Tensor, target: torch.Tensor, kind: str) -> float:
    """The temperature by which `scores` [rows, labels] are to be divided so that the loss on these rows is
    least. The loss has one minimum in it, so halving the range finds it."""
    low, high = math.log(_LOW), math.log(_HIGH)
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(_ROUNDS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(scores / math.exp(left), target, kind) < _loss(scores / math.exp(right), target, kind):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2.0)


def calibration_error(scores: torch.Tensor, target: torch.Tensor, kind: str) -> float:
    """Expected calibration error over ten bins: by how much the confidence misses the share that is right."""
    if kind == "single_label":
        confidence, said = torch.softmax(scores, 1).max(1)
        right = (said == target[:, 0].long()).float()
    else:
        confidence = torch.sigmoid(scores).flatten()
        right = (target > 0.5).float().flatten()
    bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
    error = 0.0
    for number in range(_BINS):
        inside = bins == number
        if inside.any():
            gap = (confidence[inside].mean() - right[inside].mean()).abs().item()
            error += gap * inside.float().mean().item()
    return error


def _loss(scores: torch.Tensor, target: torch.Tensor, kind: str) -> float:
    if kind == "single_label":
        return torch.nn.functional.cross_entropy(scores, target[:, 0].long()).item()
    return torch.nn.functional.binary_cross_entropy_with_logits(scores, target).item()
