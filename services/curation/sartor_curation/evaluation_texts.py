"""What models are evaluated on, as hashes: texts of a project's suites, the general suite and a policy."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sartor_text.shingles import Utf8Texts, word_shingles

WORDS = 10
"""Of a passage. GPT-3 took 13 words (Brown et al., 2020, appendix C), Llama 2 ten tokens."""
SHORT = 5
"""Words from which a shorter question counts as a whole: below, everybody asks it."""
GENERAL = "general"
POLICY = "the policy's evaluation_texts"
MOST_PASSAGES = 5_000_000

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class EvaluationTexts:
    """Hashes of the passages and short questions of suites; `owners` are places in `names`."""

    names: tuple[str, ...] = ()
    hashes: Hashes = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    owners: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, dtype=np.int16))

    def __len__(self) -> int:
        return len(self.hashes)

    @classmethod
    def of(cls, suites: Mapping[str, Iterable[str]]) -> EvaluationTexts:
        """The texts of each suite; of a passage that several have, the first counts.

        Raises:
            ValueError: more than five million passages.
        """
        hashes: list[Hashes] = []
        owners: list[NDArray[np.int16]] = []
        for number, texts in enumerate(suites.values()):
            long_enough = [text for text in texts if len(text.split()) >= SHORT]
            found = np.unique(word_shingles(Utf8Texts.of(long_enough), WORDS).values)
            hashes.append(found)
            owners.append(np.full(len(found), number, dtype=np.int16))
        together = np.concatenate([np.zeros(0, dtype=np.uint64), *hashes])
        if len(together) > MOST_PASSAGES:
            raise ValueError(
                f"{len(together):,} passages of evaluation texts are more than {MOST_PASSAGES:,}"
            )
        values, first = np.unique(together, return_index=True)
        return cls(tuple(suites), values, np.concatenate([np.zeros(0, dtype=np.int16), *owners])[first])

    def digest(self) -> str:
        """The same for the same passages of the same suites."""
        parts = (json.dumps(self.names).encode(), self.hashes.tobytes(), self.owners.tobytes())
        return hashlib.sha256(b"\0".join(parts)).hexdigest() if len(self) else ""

    def owner(self, hashes: Hashes) -> NDArray[np.int16]:
        """The suite of each hash, or -1."""
        if not len(self):
            return np.full(len(hashes), -1, dtype=np.int16)
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self) - 1)
        return np.where(self.hashes[at] == hashes, self.owners[at], -1).astype(np.int16)


def general_texts() -> list[str]:
    """The questions of the general suite, which every gate asks unless it says otherwise."""
    text = files("sartor_datasets").joinpath("general_suite.jsonl").read_text("utf-8")
    return [json.loads(line)["question"] for line in text.split("\n") if line.strip()]


def texts_of_files(paths: Sequence[Path]) -> Iterator[str]:
    """Every text in the files of a suite: JSON, JSON lines, CSV, TSV or Parquet."""
    for path in paths:
        yield from _texts_of_file(path)


def _texts_of_file(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PAR1":
        for batch in pq.ParquetFile(path).iter_batches(1024):
            yield from _strings(batch.to_pylist())
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        yield from _strings(json.loads(text))
        return
    except ValueError:
        pass
    lines = [line for line in text.split("\n") if line.strip()]  # not at U+2028, as splitlines() does
    try:
        yield from _strings([json.loads(line) for line in lines])
    except ValueError:
        delimiter = "\t" if lines and "\t" in lines[0] else ","
        yield from _strings(list(csv.reader(lines, delimiter=delimiter)))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)
