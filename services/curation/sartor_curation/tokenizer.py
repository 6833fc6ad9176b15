"""Counts tokens with a base model's own tokenizer.json, without loading the model."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from sartor_curation.steps.lengths import CountTokens


def load_token_counter(path: Path) -> CountTokens:
    """A function that gives the number of tokens of each text, without special tokens at its ends."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def count(texts: Sequence[str]) -> list[int]:
        return [
            len(encoding.ids)
            for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    return count
