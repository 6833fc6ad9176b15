"""What the steps that see all records at once need of each: hashes and signatures instead of texts."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sartor_text.minhash import Signatures, sign_pages, sign_texts
from sartor_text.shingles import fold, fold_slots

from sartor_curation.steps.batches import Rows, strings, utf8

SPLITS = ("", "train", "validation", "test")
"""By how strictly they are held out; the place in this tuple is the code in the arrays."""
KINDS = ("chat", "labelled", "document", "preference")

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
    scalars = np.zeros(batch.num_rows, dtype=SCALARS)
    scalars["place"] = batch.column("place").to_numpy()
    _carried(batch, scalars)
    if documents_only:
        return _features_of_documents(batch, scalars)
    rows = Rows.of(batch)
    for row in range(len(rows)):
        scalars[row]["content"] = _content(rows, row)
    questions = [fold(rows.question(row)) for row in range(len(rows))]
    answers = [fold(rows.answer(row)) for row in range(len(rows))]
    slotless = [fold_slots(rows.question(row)) for row in range(len(rows))]
    for row, one in enumerate(scalars):
        one["kind"] = KINDS.index(rows.kinds[row])
        one["frame"] = hashed(rows.frame(row))
        one["label"] = hashed(rows.labels[row])
        one["question"] = hashed(questions[row])
        one["answer"] = hashed(answers[row])
        one["slotless"] = hashed(slotless[row])
        one["length"] = len(questions[row]) + len(answers[row])
    signatures = {
        "question": sign_texts(questions),
        "slotless": sign_texts(slotless),
        "both": sign_texts(questions, answers),
    }
    return Features(scalars, signatures)


def _features_of_documents(batch: pa.RecordBatch, scalars: NDArray[Any]) -> Features:
    texts: Any = batch.column("text")
    held = utf8(texts)
    data, ends = memoryview(held.data), held.offsets.tolist()  # type: ignore[arg-type]  # it is a buffer
    scalars["kind"] = KINDS.index("document")
    scalars["content"] = [
        _digest(b"\x1f".join((b"document", data[start:end], label.encode("utf-8", "surrogatepass"))))
        for (start, end), label in zip(pairwise(ends), strings(batch, "label"), strict=True)
    ]
    scalars["question"] = np.ascontiguousarray(scalars["content"]).view(np.uint64)[::2]
    scalars["slotless"] = scalars["question"]
    scalars["length"] = pc.utf8_length(texts).to_numpy()
    return Features(scalars, {"both": sign_pages(held)})


def _carried(batch: pa.RecordBatch, scalars: NDArray[Any]) -> None:
    """Fill in what the attributes say: the split asked for, and the group."""
    attributes: Any = batch.column("attributes")
    if attributes.offsets[0] == attributes.offsets[len(attributes)]:
        return
    for row, pairs in enumerate(attributes.to_pylist()):
        if pairs:
            carried = dict(pairs)
            split = carried.get("split", "")
            scalars[row]["declared"] = SPLITS.index(split) if split in SPLITS else 0
            scalars[row]["group"] = hashed(carried["group"]) if carried.get("group") else 0


def hashed(text: str) -> int:
    """64 bits of BLAKE2b: the same in every process and release."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _content(rows: Rows, row: int) -> bytes:
    """128 bits of all that a reader could learn from; never ends in NUL, which numpy would cut off."""
    roles = [rows.roles[turn] for turn in rows.turns(row)]
    parts = "\x1f".join((rows.kinds[row], *rows.written(row), *roles, rows.labels[row]))
    return _digest(parts.encode("utf-8", "surrogatepass"))


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=15).digest() + b"."
