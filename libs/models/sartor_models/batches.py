"""Batches of about equal token count, made of rows of about equal length: little padding and steady
memory."""

import random
from collections.abc import Sequence

import torch


def length_bucketed(
    lengths: Sequence[int], tokens_per_batch: int, *, seed: int | None = None
) -> list[list[int]]:
    """Indices of `lengths` in batches whose padded size (rows x longest) is at most `tokens_per_batch`.

    Each index occurs once; a row longer than the budget makes a batch of its own. With a seed rows of about
    the same
    length (within an eighth) are mixed and the batches come in random order, the same for the same seed;
    without one the
    batches go from long to short, so that a lack of memory shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    generator = random.Random(seed)
    if seed is not None:
        jitter = [generator.uniform(1.0, 1.125) for _ in lengths]
        order = sorted(order, key=lambda index: -lengths[index] * jitter[index])
    batches: list[list[int]] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index]) if batches else lengths[index]
        if not batches or longest * (len(batches[-1]) + 1) > tokens_per_batch:
            batches.append([])
            longest = lengths[index]
        batches[-1].append(index)
    if seed is not None:
        generator.shuffle(batches)
    return batches


def padded(
    rows: Sequence[Sequence[int]], pad: int, *, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """int64 ids [rows, longest] and a mask of the same shape that is 1 on real tokens."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[number, place] = torch.tensor(row, dtype=torch.long)
        mask[number, place] = 1
    return ids, mask
