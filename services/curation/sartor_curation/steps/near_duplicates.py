"""Step: keeps one of records that say nearly the same, question and answer both."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from sartor_text.minhash import similar_pairs
from sartor_text.shingles import fold

from sartor_curation.index import Index, Ints
from sartor_curation.steps.outcome import Dropped, Reason, Verdict


def find_near_duplicates(index: Index, threshold: float) -> Verdict:
    """Records to drop so that no two of one partition and frame are near duplicates.

    Near duplicates have a Jaccard similarity of character 5-grams (word 5-grams where all are documents) of
    at least `threshold` in the question *and* in the answer, and the same label. So a template filled with
    other values stays as long as its question or its answer really differs. A record is dropped only for one
    that stays itself: chains of similar records do not swallow each other.
    """
    order = index.in_order_of_claim()
    folded = fold if index.unit == "characters" else str
    asked = index.likeness(lambda rows, row: folded(rows.question(row)))
    answered = index.likeness(lambda rows, row: folded(rows.answer(row)))
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

    similar: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
    for pair in similar_pairs(index.signatures["both"], threshold, order, likeness):
        similar[pair.second].append((pair.first, pair.similarity))
    gone: set[int] = set()
    dropped: list[Dropped] = []
    for number in sorted(similar):
        stays = [(likeness, -first) for first, likeness in similar[number] if first not in gone]
        if stays:
            best, negated = max(stays)
            other = index.key(order[-negated])
            gone.add(number)
            detail = f"says nearly the same as {other} ({best:.0%} alike)"
            dropped.append(Dropped(int(order[number]), Reason.NEAR_DUPLICATE, detail, other))
    return Verdict(dropped, {"threshold": threshold, "pairs": sum(map(len, similar.values()))})
