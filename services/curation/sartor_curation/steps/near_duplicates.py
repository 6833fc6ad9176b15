"""Step: keeps one of records that say nearly the same, question and answer both."""

import numpy as np
from numpy.typing import NDArray
from sartor_text.minhash import Pairs, similar_pairs
from sartor_text.shingles import fold

from sartor_curation.index import Index, Ints
from sartor_curation.steps.outcome import DroppedForOthers, Reason, Verdict


def find_near_duplicates(index: Index, threshold: float) -> Verdict:
    """Records to drop so that no two of one partition and frame are near duplicates.

    Near duplicates have a Jaccard similarity of character 5-grams (word 5-grams where all are documents) of
    at least `threshold` in the question *and* in the answer, and the same label. So a template filled with
    other values stays as long as its question or its answer really differs. A record is dropped only for one
    that stays itself: chains of similar records do not swallow each other.
    """
    order = index.in_order_of_claim()
    asked = index.likeness(lambda rows, row: fold(rows.question(row)))
    answered = index.likeness(lambda rows, row: fold(rows.answer(row)))
    scalars, partition = index.scalars, index.partition

    def likeness(pairs: Ints) -> NDArray[np.float64]:
        first, second = pairs[:, 0], pairs[:, 1]
        result = np.zeros(len(pairs))
        fits = (
            (scalars["frame"][first] == scalars["frame"][second])
            & (scalars["label"][first] == scalars["label"][second])
            & (partition[first] == partition[second])
        )
        result[fits] = asked(pairs[fits])
        rest = (result >= threshold) & (scalars["answer"][first] != scalars["answer"][second])
        result[rest] = np.minimum(result[rest], answered(pairs[rest]))
        return result

    pairs = similar_pairs(index.signatures["both"], threshold, order, likeness)
    chosen = _for_whom(pairs, len(order))
    dropped = DroppedForOthers(
        rows=order[pairs.second[chosen]],
        others=order[pairs.first[chosen]],
        reason=Reason.NEAR_DUPLICATE,
        keys=index.keys,
        says=lambda key, alike: f"says nearly the same as {key} ({alike:.0%} alike)",
        likeness=pairs.similarity[chosen],
    )
    return Verdict(dropped, {"threshold": threshold, "pairs": len(pairs)})


def _for_whom(pairs: Pairs, count: int) -> Ints:
    """The pairs whose second goes for their first: of those that stay, the most similar, then the oldest."""
    by_second = np.lexsort((pairs.first, -pairs.similarity, pairs.second))
    gone = np.zeros(count, dtype=bool).tolist()
    found: list[int] = []
    firsts, seconds = pairs.first[by_second].tolist(), pairs.second[by_second].tolist()
    for place, first, second in zip(by_second.tolist(), firsts, seconds, strict=True):
        if not gone[second] and not gone[first]:
            gone[second] = True
            found.append(place)
    return np.array(found, dtype=np.int64)
