"""Step: finds labels that are probably wrong, by confident learning with cross-validation.

Northcutt, Jiang, Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70 (2021); the
implementation is cleanlab's, the classifier a logistic regression over TF-IDF of character n-grams.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from sartor_curation.features import KINDS
from sartor_curation.index import Index, Ints
from sartor_curation.policy import MislabelledAction
from sartor_curation.steps.excerpts import excerpt
from sartor_curation.steps.outcome import Dropped, Reason, Verdict

_LEAST = 40  # records: with fewer, a classifier knows too little to doubt anybody
_LEAST_OF_A_LABEL = 5
_MOST = 50_000  # records that are looked at
_LISTED = 50
_FOLDS = 5
_SURE = 0.5  # of the other label, for on small data confident learning alone doubts too many
_TIMES = 4.0  # as sure as of the given one


def find_mislabelled(index: Index, action: MislabelledAction) -> Verdict:
    """Labelled records that a classifier trained on the others would label otherwise, and is sure of.

    Nothing is done with fewer than 40 labelled records. Labels of fewer than five are not judged.
    `figures["suspects"]` lists the surest fifty.
    """
    rows = index.rows[index.scalars["kind"][index.rows] == KINDS.index("labelled")][:_MOST]
    if len(rows) < _LEAST:
        return Verdict(figures={"judged": 0, "action": action.value, "suspects": []})
    texts = index.texts.take(rows)
    counts = Counter(texts.labels)
    judged = [at for at, label in enumerate(texts.labels) if counts[label] >= _LEAST_OF_A_LABEL]
    labels = sorted({texts.labels[at] for at in judged})
    if len(labels) < 2:
        return Verdict(figures={"judged": 0, "action": action.value, "suspects": []})
    given = np.array([labels.index(texts.labels[at]) for at in judged], dtype=np.int64)
    found, shares = _issues([texts.texts[at] for at in judged], given)
    suspects: list[dict[str, Any]] = []
    dropped: list[Dropped] = []
    for at in found.tolist():
        likely, row = labels[int(shares[at].argmax())], int(rows[judged[at]])
        said = labels[given[at]]
        sure = f"{shares[at].max():.0%} sure of {likely}, {shares[at][given[at]]:.0%} of {said}"
        if len(suspects) < _LISTED:
            text = excerpt(texts.texts[judged[at]])
            suspects.append(
                {"record_key": index.key(row), "label": said, "likely": likely, "sure": sure, "text": text}
            )
        if action is MislabelledAction.DROP:
            dropped.append(Dropped(row, Reason.MISLABELLED, f"the classifier is {sure}"))
    figures = {"judged": len(judged), "found": len(found), "action": action.value, "suspects": suspects}
    return Verdict(dropped, figures)


def _issues(texts: list[str], given: Ints) -> tuple[Ints, Any]:
    """Places of suspects, the surest first, and out-of-sample probabilities of the labels."""
    from cleanlab.filter import find_label_issues
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    # The weights of words come from all texts, labels apart: only the classifier must not see what it judges.
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, min_df=2, max_features=20_000
    )
    model = LogisticRegression(max_iter=60, tol=1e-2, C=10.0)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=1)
    with threadpool_limits(1):  # more threads than cores are slower than one
        matrix = vectorizer.fit_transform(texts)
        shares = cross_val_predict(model, matrix, given, cv=folds, method="predict_proba")
    found = find_label_issues(
        given, shares, filter_by="both", return_indices_ranked_by="self_confidence", n_jobs=1
    )
    ranked = np.asarray(found, dtype=np.int64)
    likely, said = shares[ranked].max(axis=1), shares[ranked, given[ranked]]
    return ranked[(likely >= _SURE) & (likely >= _TIMES * said)], shares
