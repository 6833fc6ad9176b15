"""Says which language a text is in, offline; says UNSURE where a short text does not tell."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from sartor_text.language_codes import LANGUAGE_CODES

UNSURE = "und"  # BCP 47 for undetermined
MAIN = ("de", "en", "fr", "es", "it")
"""What short texts are taken for where no language is expected in particular."""

# Languages that the model takes short texts of the first one for. They count for it, unless asked for
# themselves.
_RELATIVES = {
    "en": ("pcm",),
    "de": ("lb",),
    "nl": ("af", "fy"),
    "fr": ("wa", "oc"),
    "es": ("gl", "ext"),
    "it": ("vec", "lij"),
    "pt": ("gl",),
    "no": ("nn",),
}
_LIKELY = 6  # of the other languages, only so many of the likeliest are looked at
_NO_LANGUAGE = "zxx"  # the model's own word for code, numbers and the like
# Things without a language: placeholders, addresses, code, numbers, identifiers such as INV-2024-0012.
_WITHOUT_LANGUAGE = re.compile(
    r"```.*?```|`[^`\n]+`|https?://\S+|www\.\S+|\S+@\S+|\[[A-Z]+_\d+\]|<[^<>\n]{1,40}>|\{[^{}\n]{1,40}\}"
    r"|\S*[\d_\\/=]\S*",
    re.DOTALL,
)
# Chinese, Japanese, Thai and neighbours: a sign says as much as several letters, and words have no gaps.
_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@dataclass(frozen=True, slots=True)
class Language:
    """An ISO 639-1 code, or UNSURE, with the model's probability."""

    code: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Sureness:
    """When to believe the model; measured on the sentences of tests/unit/text/test_language.py.

    A configured language is believed sooner than one that nobody expects: the second costs a record.
    """

    words: int = 3
    letters: int = 12
    configured: float = 0.5
    other: float = 0.75
    other_words: int = 4
    other_letters: int = 20
    short_words: int = 2
    short_share: float = 0.7
    """Of a text too short for all that: the likeliest expected language's share of what all expected have."""
    short_mass: float = 0.1
    """And what all expected have together: the rest is of languages that nobody expects."""


DEFAULT_SURENESS = Sureness()


def identify(text: str, languages: Sequence[str], sureness: Sureness = DEFAULT_SURENESS) -> Language:
    """The language of `text`: one of `languages`, another one where the model is sure of it, or UNSURE.

    A short text is only ever taken for one that is expected: two words of Dutch look German to any model.

    Args:
        languages: ISO 639-1 codes that are expected. All others compete, so that a wrong one is found.
    Raises:
        ValueError: a language the model does not know.
    """
    unknown = set(languages) - LANGUAGE_CODES
    if unknown:
        raise ValueError(f"unknown language codes {sorted(unknown)}: use ISO 639-1 codes such as en, de, fr")
    prose = _WITHOUT_LANGUAGE.sub(" ", text)
    runs = _WORD.findall(prose)
    dense = len(_WITHOUT_SPACES.findall(prose))
    words = len(runs) + dense // 2
    letters = sum(map(len, runs)) + dense
    if words < sureness.words or letters < sureness.letters:
        return _of_few_words(prose, words, languages, sureness)
    code, share = _identifier().classify(prose)
    if code in languages and share >= sureness.configured:
        return Language(code, share)
    ranking = dict(_identifier().rank(prose))
    expected = {code: _with_relatives(code, ranking, languages) for code in languages}
    code = max(expected, key=expected.__getitem__, default=UNSURE)
    if expected.get(code, 0.0) >= sureness.configured:
        return Language(code, expected[code])
    other, share = _best_other(ranking, languages)
    enough = words >= sureness.other_words and letters >= sureness.other_letters
    if enough and share >= sureness.other:
        return Language(other, share)
    found = _of_few_words(prose, words, languages, sureness)
    return found if found.code != UNSURE else Language(UNSURE, max(share, expected.get(code, 0.0)))


def _of_few_words(prose: str, words: int, languages: Sequence[str], sureness: Sureness) -> Language:
    """The expected language that stands out among the expected ones, or UNSURE."""
    if words < sureness.short_words:
        return Language(UNSURE, 0.0)
    ranking = dict(_identifier().rank(prose))
    shares = {code: ranking.get(code, 0.0) for code in languages or MAIN}
    together = sum(shares.values())
    best = max(shares, key=shares.__getitem__)
    if together < sureness.short_mass or shares[best] < sureness.short_share * together:
        return Language(UNSURE, shares[best])
    return Language(best, shares[best] / together)


def _best_other(ranking: dict[str, float], languages: Sequence[str]) -> tuple[str, float]:
    """The likeliest language that is neither expected nor counts for one that is; `ranking` is best first."""
    counted = {relative for code in languages for relative in _RELATIVES.get(code, ())}
    taken = (*languages, *counted)
    rest = (code for code in ranking if code not in taken and code != _NO_LANGUAGE)
    shares = {code: _with_relatives(code, ranking, taken) for code in islice(rest, _LIKELY)}
    other = max(shares, key=shares.__getitem__)
    return other, shares[other]


def _with_relatives(code: str, ranking: dict[str, float], but_not: Sequence[str]) -> float:
    relatives = (relative for relative in _RELATIVES.get(code, ()) if relative not in but_not)
    return ranking.get(code, 0.0) + sum(ranking.get(relative, 0.0) for relative in relatives)


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    # Loaded at the first question (0.8 s), not at import: most who import this package never ask for one.
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
