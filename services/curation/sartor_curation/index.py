"""All records of a snapshot as arrays, with their texts a look-up away: what the global steps work on."""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sartor_text.minhash import Likeness, Signatures, shingles_of
from sartor_text.shingles import Unit, jaccards, word_jaccards, word_shingles

from sartor_curation.features import SPLITS
from sartor_curation.steps.batches import Rows, concatenated, utf8

_OPEN_SHARDS = 16
_CHARACTERS_AT_ONCE = 1 << 24

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an earlier curation of this dataset decided for a record key."""

    cluster: str
    split: str


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What earlier curations of this dataset decided: record keys, each once, with cluster and code of the
    split."""

    keys: pa.Array[Any]
    clusters: pa.Array[Any]
    splits: NDArray[np.uint8]

    @classmethod
    def of(cls, remembered: Mapping[str, Remembered]) -> Memory:
        clusters = [one.cluster for one in remembered.values()]
        splits = [SPLITS.index(one.split) for one in remembered.values()]
        return cls(
            pa.array(remembered, pa.string()), pa.array(clusters, pa.string()), np.array(splits, np.uint8)
        )

    def of_keys(self, keys: pa.Array[Any]) -> tuple[NDArray[np.uint8], pa.Array[Any]]:
        """The code of the remembered split of each key, 0 where there is none, and the remembered clusters or
        nulls."""
        if not len(self.keys):
            return np.zeros(len(keys), dtype=np.uint8), pa.nulls(len(keys), pa.string())
        places = pc.index_in(keys, value_set=self.keys)
        known = places.is_valid().to_numpy(zero_copy_only=False)
        codes = np.zeros(len(keys), dtype=np.uint8)
        codes[known] = self.splits[places.drop_null().to_numpy()]
        return codes, self.clusters.take(places)


class Texts:
    """The records of prepared shards by their row in the index, a few shards mapped at a time."""

    def __init__(self, shards: Sequence[Path], counts: Sequence[int]) -> None:
        self._shards = shards
        self._starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        self._open: OrderedDict[int, pa.RecordBatch] = OrderedDict()

    def take(self, rows: Ints) -> Rows:
        """The texts of these rows of the index, which ascend."""
        parts = [self._batch(shard).take(places) for shard, places in self._places(rows)]
        return Rows.of(concatenated(parts))

    def pages(self, rows: Ints) -> pa.Array[Any]:
        """Of these rows, which ascend and are documents, the column of texts."""
        parts = [self._batch(shard).column("text").take(places) for shard, places in self._places(rows)]
        return pa.concat_arrays(parts)

    def _places(self, rows: Ints) -> Iterator[tuple[int, pa.Array[Any]]]:
        """The shards that have some of these rows, and where."""
        edges = np.searchsorted(rows, self._starts).tolist()
        for shard, (low, high) in enumerate(pairwise(edges)):
            if high > low:
                yield shard, pa.array(rows[low:high] - self._starts[shard])

    def _batch(self, shard: int) -> pa.RecordBatch:
        if shard not in self._open:
            self._open[shard] = read_batch(self._shards[shard])
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return self._open[shard]


@dataclass(slots=True)
class Index:
    """The prepared records, in the snapshot's order.

    Args:
        scalars: as `features.SCALARS`.
        signatures: uint32 [records, permutations] by name.
        alive: which records no step has dropped yet.
        remembered: code of the split that an earlier curation gave; 0 is none.
    """

    keys: pa.Array[Any]
    scalars: NDArray[Any]
    signatures: Mapping[str, Signatures]
    texts: Texts
    remembered: NDArray[np.uint8]
    clusters: pa.Array[Any]
    """Remembered cluster of a row, or null."""
    alive: Bools = field(init=False)

    def __post_init__(self) -> None:
        self.alive = np.ones(len(self.scalars), dtype=bool)

    def __len__(self) -> int:
        return len(self.scalars)

    def key(self, row: int) -> str:
        """The record key of a row."""
        return str(self.keys[row].as_py())

    def let_signatures_go(self) -> None:
        """Give the memory of mapped signatures back; whoever looks at them again has them from their file."""
        for signatures in self.signatures.values():
            mapped = getattr(signatures, "_mmap", None)
            if mapped is not None:
                mapped.madvise(mmap.MADV_DONTNEED)

    @property
    def rows(self) -> Ints:
        """Rows that are alive, ascending."""
        return np.flatnonzero(self.alive)

    @property
    def partition(self) -> NDArray[np.uint8]:
        """Records are compared for duplicates and contradictions within a partition.

        A test set that the source declares is somebody's decision: no other record may push one of its
        records out. What it shares with training is found as leakage, and there the training record goes.
        """
        declared = self.scalars["declared"]
        return np.where(declared >= SPLITS.index("validation"), declared, SPLITS.index("train")).astype(
            np.uint8
        )

    @property
    def claim(self) -> NDArray[np.uint8]:
        """Who stays of two that are alike: what was held out before comes first, then what was trained on."""
        held_out = self.remembered >= SPLITS.index("validation")
        return np.where(held_out, 0, np.where(self.remembered > 0, 1, 2)).astype(np.uint8)

    def in_order_of_claim(self) -> Ints:
        """Rows that are alive, by claim and then in the snapshot's order: the older stays."""
        rows = self.rows
        return rows[np.argsort(self.claim[rows], kind="stable")]

    @property
    def unit(self) -> Unit:
        """What n-grams are made of: words where all records are documents."""
        return "characters" if "question" in self.signatures else "words"

    def likeness(self, text_of: Callable[[Rows, int], str]) -> Likeness:
        """The exact Jaccard similarity of pairs of rows in what `text_of` gives of each; of documents in
        their texts."""

        def likeness(pairs: Ints) -> NDArray[np.float64]:
            lengths = self.scalars["length"][pairs].sum(axis=1, dtype=np.int64)
            piece = np.cumsum(lengths) // _CHARACTERS_AT_ONCE
            edges = [0, *(np.flatnonzero(np.diff(piece)) + 1).tolist(), len(pairs)]
            found = [self._likeness(pairs[low:high], text_of) for low, high in pairwise(edges) if high > low]
            return np.concatenate(found) if found else np.empty(0)

        return likeness

    def _likeness(self, pairs: Ints, text_of: Callable[[Rows, int], str]) -> NDArray[np.float64]:
        needed, places = np.unique(pairs, return_inverse=True)
        if self.unit == "words":
            return word_jaccards(word_shingles(utf8(self.texts.pages(needed))), places.reshape(-1, 2))
        rows = self.texts.take(needed)
        shingles = shingles_of([text_of(rows, row) for row in range(len(rows))])
        return jaccards(shingles, places.reshape(-1, 2))


def read_batch(path: Path) -> pa.RecordBatch:
    """The one batch of a shard, mapped rather than read."""
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    return reader.get_batch(0)


def write_batch(path: Path, batch: pa.RecordBatch) -> None:
    """A shard of one batch, there whole or not at all, whoever else writes it at the same time."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    partial.replace(path)
