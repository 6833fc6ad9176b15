"""Counts the lines that documents of a whole snapshot repeat, before its shards are worked on one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sartor_text.normalise import normalise

from sartor_curation.index import read_batch
from sartor_curation.policy import Policy
from sartor_curation.shards import Workspace
from sartor_curation.steps.batches import strings
from sartor_curation.steps.boilerplate import KINDS, LOOKED_AT, SAMPLED, repeated_lines


def repeated_in_shards(workspace: Workspace, sizes: Sequence[int], policy: Policy) -> Mapping[str, float]:
    """The lines, for the step `boilerplate`; none where the policy leaves it out.

    A sample that is spread evenly over the snapshot decides, so this takes seconds however large it is.
    """
    if "boilerplate" in policy.skipped_steps:
        return {}
    return repeated_lines(_sampled(workspace, sizes))


def _sampled(workspace: Workspace, sizes: Sequence[int]) -> Iterator[str]:
    stride = max(1, sum(sizes) // SAMPLED)
    first = 0
    for number, size in enumerate(sizes):
        rows = range(-first % stride, size, stride)
        first += size
        if not rows:
            continue
        shard = read_batch(workspace.shard("input", number)).select(["kind", "text"]).take(list(rows))
        for kind, text in zip(strings(shard, "kind"), strings(shard, "text"), strict=True):
            if kind in KINDS:
                yield normalise(text[:LOOKED_AT]).text
