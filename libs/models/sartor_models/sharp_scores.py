"""What a model says of tokens, from an output layer in the model's own precision that is made exact where it
matters.

A bfloat16 layer rounds its results to 8 bits: near 20 they lie on a grid of 1/8, so the most probable
token would often be decided by a tie. A float32 layer costs five times as much. So the layer is applied
in bfloat16, and the tokens that may decide, the most probable ones and the expected one, are computed
again in float32 from the same weights; the rest is too improbable for its rounding to show.
"""

from typing import Any

import torch

_CANDIDATES = 8
_ROWS = 256
_CHUNK = 32


def compare(model: Any, states: torch.Tensor, expected: torch.Tensor) -> tuple[list[float], list[int]]:
    """Natural log-probability of each expected token, and the most probable token there.

    Args:
        states: [positions, width], after the final norm.
        expected: int64 [positions].
    """
    chosen: list[float] = []
    best: list[int] = []
    for part, targets in zip(states.split(_ROWS), expected.split(_ROWS), strict=True):
        scores, tokens, exact = _sharp(model, part, targets)
        # In small pieces: float32 copies of the whole would be larger than the processor's cache.
        for start in range(0, len(part), _CHUNK):
            piece = slice(start, start + _CHUNK)
            wide = scores[piece].float().scatter_(1, tokens[piece], exact[piece])
            chosen += (exact[piece, -1] - wide.logsumexp(1)).tolist()
        best += _best(tokens, exact)
    return chosen, best


def most_probable(model: Any, states: torch.Tensor) -> tuple[list[int], bool]:
    """The most probable token after each of `states` [positions, width], and whether all scores are finite.

    (NaN counts as larger than any number, so one among the scores is among the most probable.)
    """
    best: list[int] = []
    finite = True
    for part in states.split(_ROWS):
        _, tokens, exact = _sharp(model, part, None)
        best += _best(tokens, exact)
        finite = finite and bool(exact.isfinite().all())
    return best, finite


def _best(tokens: torch.Tensor, exact: torch.Tensor) -> list[int]:
    found: list[int] = tokens.gather(1, exact.argmax(1, keepdim=True))[:, 0].tolist()
    return found


def _sharp(
    model: Any, states: torch.Tensor, expected: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(all scores as the layer gives them, candidates' tokens [rows, n], their scores in float32); the
    expected token comes last."""
    head = model.lm_head
    scores = torch.nn.functional.linear(states, head.weight, head.bias)
    tokens = scores.topk(min(_CANDIDATES, scores.shape[1]), 1).indices
    if expected is not None:
        tokens = torch.cat([tokens, expected[:, None]], 1)
    if scores.dtype == torch.float32:
        return scores, tokens, scores.gather(1, tokens)
    exact = (head.weight[tokens].float() @ states.float()[:, :, None])[:, :, 0]
    if head.bias is not None:
        exact += head.bias[tokens].float()
    return scores, tokens, exact
