"""Check: are questions as people really ask them covered by what is trained on?

The sample of real questions is what the source marks as its test set, and what the policy gives. They are
compared by what they mean (multilingual E5-small) where the embedding model is installed, else by latent
semantic analysis of character n-grams: similar word parts, not meaning. The figures say which it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sartor_text import embeddings

from sartor_curation.features import SPLITS
from sartor_curation.index import Index, Ints
from sartor_curation.steps.excerpts import excerpt
from sartor_curation.steps.outcome import Verdict

_LEAST = 10  # real questions
_CLUSTER = 5  # real questions of a cluster, about
_EXAMPLES = 3
_NEAREST = 3  # training questions, by their wording, whose meaning is compared

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How questions are compared: its name, when a training question is near enough, and most questions."""

    method: str
    covered: float
    real: int
    known: int


# 0.855: of 14 pairs of one meaning in different words, German and English, 13 are above it, and none of 14
# questions about other things; the pairs are in tests/unit/text/test_embeddings.py. A vector takes 13 ms.
MEANING = Comparison("meaning", 0.855, 500, 1_000)
WORDING = Comparison("wording", 0.35, 20_000, 20_000)


def check_representativeness(index: Index, real_questions: Sequence[str] = ()) -> Verdict:
    """Clusters of real questions, with the share that has a training question near it.

    Args:
        real_questions: further ones, as people asked them.
    `figures["uncovered"]` lists the clusters of which less than half is covered, the largest first.
    """
    how = MEANING if embeddings.available() else WORDING
    rows = index.rows
    declared = index.scalars["declared"][rows]
    asked = [*real_questions, *_questions(index, rows[declared == SPLITS.index("test")][: WORDING.real])]
    train = _evenly(rows[declared <= SPLITS.index("train")], WORDING.known)
    if len(asked) < _LEAST or len(train) < _LEAST:
        return Verdict(figures={"real_questions": len(asked), "uncovered": []})
    asked = [asked[at] for at in _evenly(np.arange(len(asked)), how.real).tolist()]
    mine, near = _compared(asked, _questions(index, train), how)
    clusters = _clusters(mine)
    uncovered: list[dict[str, Any]] = []
    for number in np.unique(clusters).tolist():
        members = np.flatnonzero(clusters == number)
        share = float((near[members] >= how.covered).mean())
        if share < 0.5 and len(members) > 1:
            farthest = members[np.argsort(near[members])][:_EXAMPLES]
            examples = [excerpt(asked[at], 120) for at in farthest.tolist()]
            uncovered.append({"questions": len(members), "covered": round(share, 2), "examples": examples})
    uncovered.sort(key=lambda one: -one["questions"])
    figures = {
        "method": how.method,
        "real_questions": len(asked),
        "covered_questions": int((near >= how.covered).sum()),
        "uncovered": uncovered,
    }
    return Verdict(figures=figures)


def _questions(index: Index, rows: Ints) -> list[str]:
    if not len(rows):
        return []
    texts = index.texts.take(rows)
    return [texts.question(row) for row in range(len(texts))]


def _evenly(values: Ints, most: int) -> Ints:
    return values[:: -(-len(values) // most)] if len(values) > most else values


def _compared(asked: list[str], known: list[str], how: Comparison) -> tuple[Vectors, Vectors]:
    """The vectors of the real questions, and of each the greatest similarity to a known one."""
    mine, theirs = _by_wording(asked, known)
    if how is WORDING:
        return mine, _nearest(mine, theirs)[0][:, 0]
    # Vectors of meaning are dear: compared are an even sample and what is nearest to somebody's wording.
    _, places = _nearest(mine, theirs)
    chosen = np.unique([*places.reshape(-1).tolist(), *_evenly(np.arange(len(known)), how.known).tolist()])
    mine = embeddings.embed(asked)
    return mine, _nearest(mine, embeddings.embed([known[at] for at in chosen.tolist()]))[0][:, 0]


def _nearest(mine: Vectors, theirs: Vectors) -> tuple[Vectors, Ints]:
    """Similarities and places of the few of `theirs` that are nearest to each of `mine`, nearest first."""
    count = min(_NEAREST, len(theirs))
    values, places = [], []
    for part in np.array_split(mine, -(-len(mine) // 512)):
        similar = part @ theirs.T
        best = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        ranked = np.take_along_axis(best, np.argsort(-np.take_along_axis(similar, best, 1), axis=1), 1)
        values.append(np.take_along_axis(similar, ranked, 1))
        places.append(ranked)
    return np.concatenate(values), np.concatenate(places)


def _by_wording(asked: list[str], known: list[str]) -> tuple[Vectors, Vectors]:
    """Vectors of both: TF-IDF of character n-grams, reduced by SVD."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, min_df=2, max_features=20_000
    )
    with threadpool_limits(1):  # more threads than cores are slower than one
        matrix = vectorizer.fit_transform([*asked, *known])
        size = min(64, matrix.shape[0] - 1, matrix.shape[1] - 1)
        vectors = normalize(TruncatedSVD(size, n_iter=3, random_state=1).fit_transform(matrix))
    return vectors[: len(asked)].astype(np.float32), vectors[len(asked) :].astype(np.float32)


def _clusters(vectors: Vectors) -> Any:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    count = max(2, min(40, len(vectors) // _CLUSTER))
    with threadpool_limits(1):
        return KMeans(count, n_init=1, random_state=1).fit_predict(vectors)
