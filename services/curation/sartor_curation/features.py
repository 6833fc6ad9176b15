"""What the steps that see all records at once need of each: hashes and signatures instead of texts."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sartor_text.minhash import Signatures, sign_texts
from sartor_text.shingles import fold, fold_slots

from sartor_curation.steps.batches import Rows

SPLITS = ("", "train", "validation", "test")
"""By how strictly they are held out; the place in this tuple is the code in the arrays."""
KINDS = ("chat", "labelled", "document")

SCALARS = np.dtype(
    [
        ("place", np.int64),
        ("kind", np.uint8),
        ("declared", np.uint8),  # the split that the source asks for
        ("content", "S16"),
        ("frame", np.uint64),
        ("label", np.uint64),
        ("question", np.uint64),
        ("slotless", np.uint64),
        ("answer", np.uint64),
        ("group", np.uint64),  # 0 is none
        ("length", np.int32),  # of question and answer, in characters
    ]
)


@dataclass(frozen=True, slots=True)
class Features:
    """Of one shard: a row of SCALARS for each record, and signatures uint32 [records, permutations] by name.

    Signatures: `question`, `slotless` (the question without order numbers and the like) and `both` (question
    and answer); of documents `both` alone.
    """

    scalars: NDArray[Any]
    signatures: dict[str, Signatures]


def features_of(batch: pa.RecordBatch, *, documents_only: bool) -> Features:
    """The features of a batch of ITEM_SCHEMA.

    Args:
        documents_only: no record asks anything, so only whole texts are compared, by five words.
    """
    rows = Rows.of(batch)
    count = len(rows)
    scalars = np.zeros(count, dtype=SCALARS)
    scalars["place"] = batch.column("place").to_numpy()
    attributes: Any = batch.column("attributes")
    questions: list[str] = []
    answers: list[str] = []
    slotless: list[str] = []
    for row, pairs in enumerate(attributes.to_pylist()):
        carried = dict(pairs)
        asked, said = rows.question(row), rows.answer(row)
        question, answer = (asked, said) if documents_only else (fold(asked), fold(said))
        questions.append(question)
        answers.append(answer)
        slotless.append(question if documents_only else fold_slots(asked))
        one = scalars[row]
        one["kind"] = KINDS.index(rows.kinds[row])
        split = carried.get("split", "")
        one["declared"] = SPLITS.index(split) if split in SPLITS else 0
        one["content"] = _content(rows, row)
        one["frame"] = hashed(rows.frame(row))
        one["label"] = hashed(rows.labels[row])
        one["question"] = hashed(question)
        one["answer"] = hashed(answer)
        one["slotless"] = hashed(slotless[row])
        one["group"] = hashed(carried["group"]) if carried.get("group") else 0
        one["length"] = len(question) + len(answer)
    if documents_only:
        return Features(scalars, {"both": sign_texts(questions, unit="words")})
    return Features(
        scalars,
        {
            "question": sign_texts(questions),
            "slotless": sign_texts(slotless),
            "both": sign_texts(questions, answers),
        },
    )


def hashed(text: str) -> int:
    """64 bits of BLAKE2b: the same in every process and release."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _content(rows: Rows, row: int) -> bytes:
    """128 bits of all that a reader could learn from; never ends in NUL, which numpy would cut off."""
    roles = [rows.roles[turn] for turn in rows.turns(row)]
    parts = "\x1f".join((rows.kinds[row], *rows.written(row), *roles, rows.labels[row]))
    return blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=15).digest() + b"."
