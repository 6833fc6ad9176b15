"""Counts tokens with a base model's own tokenizer.json, without loading the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TokenCounter:
    """Gives the number of tokens of each text, without special tokens at its ends.

    It is pickled as its path: each process loads the tokenizer itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, texts: Sequence[str]) -> list[int]:
        encodings = _load(self.path).encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]


@lru_cache(maxsize=2)
def _load(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
