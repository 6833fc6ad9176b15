"""Step: keeps one of records that say exactly the same."""

import numpy as np

from sartor_curation.index import Index
from sartor_curation.steps.outcome import DroppedForOthers, Reason, Verdict


def find_exact_duplicates(index: Index) -> Verdict:
    """All but the first record of each content (kind, texts, roles, label) in its partition, in the order of
    their claims.

    Two records of one content but of different keys, attributes or times are duplicates.
    """
    order = index.in_order_of_claim()
    content, partition = index.scalars["content"][order], index.partition[order]
    by_content = np.lexsort((np.arange(len(order)), partition, content))  # the first of equals stays first
    ranked, content, partition = order[by_content], content[by_content], partition[by_content]
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (content[1:] == content[:-1]) & (partition[1:] == partition[:-1])
    heads = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
    found = np.flatnonzero(same)
    dropped = DroppedForOthers(
        rows=ranked[found],
        others=ranked[heads[found]],
        reason=Reason.EXACT_DUPLICATE,
        keys=index.keys,
        says=lambda key, _: f"says the same as {key}",
        likeness=np.ones(len(found)),
    )
    return Verdict(dropped)
