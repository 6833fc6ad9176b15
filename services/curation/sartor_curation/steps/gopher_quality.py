"""Step: drops texts that do not read like prose, by the quality rules of Gopher.

Rae et al., Scaling Language Models: Methods, Analysis & Insights from Training Gopher, 2021 (arXiv
2112.11446), appendix A1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sartor_text.language import UNSURE
from sartor_text.stop_words import STOP_WORDS
from sartor_text.words import Ints, Pieces, lexicon

from sartor_curation.steps.batches import Rows, strings
from sartor_curation.steps.outcome import Found, Outcome, Reason, broken_rules

_LANGUAGES = list(STOP_WORDS)


@dataclass(frozen=True, slots=True)
class Gopher:
    """The thresholds of Gopher's quality rules."""

    least_words: int = 50
    most_words: int = 100_000
    least_mean_length: float = 3
    most_mean_length: float = 10
    most_symbols_a_word: float = 0.1
    most_bullet_lines: float = 0.9
    most_ellipsis_lines: float = 0.3
    least_alphabetic: float = 0.8
    least_stop_words: int = 2


DEFAULTS = Gopher()


def drop_low_quality(
    batch: pa.RecordBatch, expected: Sequence[str] = (), limits: Gopher = DEFAULTS
) -> Outcome:
    """Documents that keep all rules; other kinds of records pass.

    Args:
        expected: languages that the policy asks for; where it is one, texts of no known language are in it.
    """
    texts = Rows.of(batch).texts
    assumed = expected[0] if len(expected) == 1 else UNSURE
    languages = [assumed if code == UNSURE else code for code in strings(batch, "language")]
    found = gopher_quality(texts, lexicon().split(texts), languages, limits)
    return broken_rules(batch, found, Reason.LOW_QUALITY, "Gopher")


def gopher_quality(
    texts: Sequence[str], pieces: Pieces, languages: Sequence[str], limits: Gopher = DEFAULTS
) -> Found:
    """Word count, mean word length, symbols, bullet points, ellipses, alphabetic words, stop words.

    Args:
        languages: ISO 639-1 code of each text; stop words are asked of languages whose words we have.
    """
    words, spoken = pieces.sums("words"), pieces.sums("spoken")
    hashes = np.fromiter((text.count("#") for text in texts), dtype=np.int64, count=len(texts))
    dots = np.fromiter((t.count("...") + t.count("…") for t in texts), dtype=np.int64, count=len(texts))
    stops = _stop_words(pieces, languages)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = pieces.sums("spoken_length") / spoken
        rules: list[tuple[str, NDArray[np.bool_]]] = [
            ("fewer than 50 words", spoken < limits.least_words),
            ("more than 100,000 words", spoken > limits.most_words),
            ("words too short on average", mean < limits.least_mean_length),
            ("words too long on average", mean > limits.most_mean_length),
            ("too many hash signs", hashes / words > limits.most_symbols_a_word),
            ("too many ellipses", dots / words > limits.most_symbols_a_word),
            ("most lines are bullet points", _share_of_lines(texts, _is_bullet) > limits.most_bullet_lines),
            ("lines break off in ellipses", _share_of_lines(texts, _breaks_off) > limits.most_ellipsis_lines),
            ("too few words with letters", pieces.sums("alphabetic") / words < limits.least_alphabetic),
            ("hardly any common words", stops < limits.least_stop_words),
        ]
    return _first_broken(rules)


def _stop_words(pieces: Pieces, languages: Sequence[str]) -> Ints:
    """How many different stop words each text has; as many as asked where we have none of its language."""
    masks = pieces.stop_words()
    known = np.array(
        [_LANGUAGES.index(code) if code in _LANGUAGES else -1 for code in languages], dtype=np.int64
    )
    of_language = (masks >> (8 * np.maximum(known, 0)).astype(np.uint64)) & np.uint64(255)
    return np.where(known >= 0, np.bitwise_count(of_language).astype(np.int64), 8)


def _share_of_lines(texts: Sequence[str], test: Callable[[str], bool]) -> NDArray[np.float64]:
    shares = np.zeros(len(texts))
    for place, text in enumerate(texts):
        if test is _is_bullet and "•" not in text and "-" not in text:
            continue
        if test is _breaks_off and "..." not in text and "…" not in text:
            continue
        lines = text.splitlines()
        if lines:
            shares[place] = sum(map(test, lines)) / len(lines)
    return shares


def _is_bullet(line: str) -> bool:
    return line.lstrip().startswith(("•", "-"))


def _breaks_off(line: str) -> bool:
    return line.rstrip().endswith(("...", "…"))


def _first_broken(rules: Sequence[tuple[str, NDArray[np.bool_]]]) -> Found:
    found: dict[int, str] = {}
    for name, broken in rules:
        for place in np.flatnonzero(broken).tolist():
            found.setdefault(place, name)
    return found
