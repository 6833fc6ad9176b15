"""Check: are questions as people really ask them covered by what is trained on?

The sample of real questions is what the source marks as its test set. Questions are compared by latent
semantic analysis (TF-IDF of character n-grams, reduced by SVD): similar word parts, not meaning.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sartor_curation.features import SPLITS
from sartor_curation.index import Index, Ints
from sartor_curation.steps.excerpts import excerpt
from sartor_curation.steps.outcome import Verdict

_LEAST = 10  # real questions
_MOST = 20_000
_CLUSTER = 5  # real questions of a cluster, about
_COVERED = 0.35  # cosine similarity from which a training question is near enough
_EXAMPLES = 3


def check_representativeness(index: Index) -> Verdict:
    """Clusters of real questions, with the share that has a training question near it.

    `figures["uncovered"]` lists the clusters of which less than half is covered, the largest first.
    """
    rows = index.rows
    real = rows[index.scalars["declared"][rows] == SPLITS.index("test")][:_MOST]
    train = rows[index.scalars["declared"][rows] <= SPLITS.index("train")]
    train = train[:: max(1, len(train) // _MOST)]
    if len(real) < _LEAST or len(train) < _LEAST:
        return Verdict(figures={"real_questions": len(real), "uncovered": []})
    asked, known = _questions(index, real), _questions(index, train)
    near, cluster = _compared(asked, known)
    uncovered: list[dict[str, Any]] = []
    for number in np.unique(cluster).tolist():
        members = np.flatnonzero(cluster == number)
        share = float((near[members] >= _COVERED).mean())
        if share < 0.5 and len(members) > 1:
            farthest = members[np.argsort(near[members])][:_EXAMPLES]
            examples = [excerpt(asked[at], 120) for at in farthest.tolist()]
            uncovered.append({"questions": len(members), "covered": round(share, 2), "examples": examples})
    uncovered.sort(key=lambda one: -one["questions"])
    figures = {
        "real_questions": len(real),
        "covered_questions": int((near >= _COVERED).sum()),
        "uncovered": uncovered,
    }
    return Verdict(figures=figures)


def _questions(index: Index, rows: Ints) -> list[str]:
    texts = index.texts.take(rows)
    return [texts.question(row) for row in range(len(texts))]


def _compared(asked: list[str], known: list[str]) -> tuple[Any, Any]:
    """Of each real question the greatest similarity to a known one, and its cluster."""
    from sklearn.cluster import KMeans
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
        mine, theirs = vectors[: len(asked)].astype(np.float32), vectors[len(asked) :].astype(np.float32)
        parts = np.array_split(mine, -(-len(mine) // 512))
        near = np.concatenate([(part @ theirs.T).max(axis=1) for part in parts])
        clusters = max(2, min(40, len(asked) // _CLUSTER))
        return near, KMeans(clusters, n_init=1, random_state=1).fit_predict(mine)
