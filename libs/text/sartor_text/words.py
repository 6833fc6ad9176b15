"""Splits many texts into words at once: each distinct piece between white space is looked at only once.

Words follow the conventions of treebanks (punctuation, clitics and units stand alone), as the heuristics that
count words were tuned on them. Figures of words are kept by piece, so that a text costs a look-up for each.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartor_text.shingles import Hashes, mix
from sartor_text.stop_words import STOP_WORDS

Ints = NDArray[np.int64]

_MOST_PIECES = 400_000  # of a lexicon: at about 300 bytes each

_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
_SIGNS = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₸₺₼₾₿"
_UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h mph"
    " hPa Pa mbar mb MB kb KB gb GB tb TB T G M K %"
)
_LETTER = r"[^\W\d_]"


def _any_of(signs: str) -> str:
    return "[" + re.escape(signs) + "]"


_PREFIX = re.compile(
    rf"(?:[§%=—–]|\+(?![0-9])|\.\.+|{_any_of(_SIGNS)}|{_any_of(_QUOTES)}|{_any_of(_CURRENCY)})"
)
_CLITIC = re.compile(r"(?:n['’]t|['’](?:s|S|m|d|ll|re|ve))$")
_UNIT = re.compile(
    rf"(?<=[0-9])(?:{'|'.join(sorted(map(re.escape, _UNITS.split()), key=len, reverse=True))})$"
)
_SUFFIX = re.compile(
    rf"(?:\.\.+|[—–]|{_any_of(_SIGNS)}|{_any_of(_QUOTES)}|(?<=[0-9])\+|(?<=[0-9]){_any_of(_CURRENCY)}"
    rf"|(?<=[0-9a-zß-öø-ÿ%²\-+{re.escape(_SIGNS + _QUOTES)}])\.|(?<=[A-Z][A-Z])\.)$"
)
_INFIX = re.compile(
    rf"\.\.+|…|(?<=[0-9])[+\-*^](?=[0-9-])|(?<=[a-zß-öø-ÿ{re.escape(_QUOTES)}])\.(?=[A-Z{re.escape(_QUOTES)}])"
    rf"|(?<={_LETTER}),(?={_LETTER})|(?<=[^\W_])(?:--+|[-–—~])(?={_LETTER})|(?<=[^\W_])[:<>=/](?={_LETTER})"
)
_URL = re.compile(
    r"(?:https?://|www\.)\S+|[\w.+-]+@[\w-]+\.[\w.]+"
    r"|[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|de|io|edu|gov)\b\S*"
)
_ABBREVIATION_LIST = """e.g. i.e. Mr. Mrs. Ms. Dr. St. vs. Inc. Ltd. Co. Corp. Jr. Sr. Prof. Gen. Gov. Rep.
    Sen. Rev. Messrs. Mt. a.m. p.m. Ph.D. Bros. v. Jan. Feb. Mar. Apr. Jun. Jul. Aug. Sep. Sept. Oct. Nov.
    Dec. E.g. I.e. Adm. and/or w/o o'clock ma'am C++"""
_ABBREVIATIONS = frozenset(_ABBREVIATION_LIST.split())
_INITIALS = re.compile(r"(?:[A-Za-z]\.)+$")
_ENDS = frozenset(".!?։؟۔।॥᙮។៕。．！？｡⁇⁈⁉‼")  # of a sentence
_CONTROLS = "".join(map(chr, (*range(9), *range(11, 32), *range(127, 160))))
_SYMBOLS = frozenset(
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»" + _CONTROLS
)
_FACE_LIST = """:) :-) :)) (: ;) ;-) :( :-( ): )-: :* :-* :] [: :-] =) (= =( )= :/ :-/ =/ :| :-| 8) 8-) ''"""
_FACES = frozenset(_FACE_LIST.split())
_PLAIN_END = frozenset(",;:?!.")


def words_of(piece: str) -> list[str]:
    """The words of a piece of text without white space."""
    if piece.isalpha():
        return ["can", "not"] if piece == "cannot" else [piece]
    stem = piece[:-1]
    plain = piece[-1] in _PLAIN_END and stem.isalpha() and stem.isascii() and stem.islower()
    if plain and len(stem) > 1 and piece not in _ABBREVIATIONS:
        return [*words_of(stem), piece[-1]]
    return _faces_joined(_peeled(piece))


def _faces_joined(words: list[str]) -> list[str]:
    """Signs that make a face, or an empty quotation, are one word."""
    at = 0
    while at < len(words) - 1:
        for size in (3, 2):
            face = "".join(words[at : at + size])
            if len(words) - at >= size and face in _FACES:
                words[at : at + size] = [face]
                break
        at += 1
    return words


def _peeled(piece: str) -> list[str]:
    front: list[str] = []
    back: list[str] = []
    while piece:
        if piece in _ABBREVIATIONS or _INITIALS.match(piece) or _URL.fullmatch(piece):
            break
        prefix = _PREFIX.match(piece)
        if prefix:
            front.append(prefix.group())
            piece = piece[prefix.end() :]
            continue
        suffix = _SUFFIX.search(piece) or _CLITIC.search(piece) or _UNIT.search(piece)
        if suffix and suffix.start():
            back.append(suffix.group())
            piece = piece[: suffix.start()]
            continue
        break
    if piece and piece not in _ABBREVIATIONS and not _INITIALS.match(piece) and not _URL.fullmatch(piece):
        front += _split_inside(piece)
    elif piece:
        front.append(piece)
    return front + back[::-1]


def _split_inside(piece: str) -> list[str]:
    found: list[str] = []
    end = 0
    for infix in _INFIX.finditer(piece):
        found += (piece[end : infix.start()], infix.group())
        end = infix.end()
    return [word for word in (*found, piece[end:]) if word]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Texts as pieces: those of text i are ids[offsets[i] : offsets[i + 1]], each a row of the lexicon."""

    ids: Ints
    offsets: Ints
    table: NDArray[Any]
    words: Ints
    """Ids of all words of the lexicon's pieces; those of piece p begin at table["first"][p]."""
    word_lengths: Ints
    word_hashes: Hashes
    word_texts: list[str]

    def sums(self, name: str) -> Ints:
        """The sum of a figure over each text."""
        totals = np.concatenate(([0], np.cumsum(self.table[name][self.ids], dtype=np.int64)))
        sums: Ints = totals[self.offsets[1:]] - totals[self.offsets[:-1]]
        return sums

    def sentences(self) -> Ints:
        """Sentences of each text: one more than the words that follow a sentence's end, punctuation aside."""
        says = self.table["ends"][self.ids] != _NOTHING
        ids = self.ids[says]
        count = np.concatenate(([0], np.cumsum(says)))
        offsets = count[self.offsets]
        begins = self.table["begins"][ids] == _OTHER
        before = np.zeros(len(ids), dtype=bool)
        before[1:] = self.table["ends"][ids[:-1]] == _END
        firsts = offsets[:-1][offsets[:-1] < offsets[1:]]
        before[firsts] = False
        starts = (begins & before).astype(np.int64) + self.table["inside"][ids]
        totals = np.concatenate(([0], np.cumsum(starts)))
        words: NDArray[np.bool_] = np.diff(self.offsets) > 0
        found: Ints = totals[offsets[1:]] - totals[offsets[:-1]] + words
        return found

    def stop_words(self) -> NDArray[np.uint64]:
        """A bit for each stop word of each language that occurs in a text: see `stop_words.STOP_WORDS`."""
        result = np.zeros(len(self.offsets) - 1, dtype=np.uint64)
        filled = np.flatnonzero(np.diff(self.offsets))
        if len(filled):
            masks = self.table["stop"][self.ids]
            result[filled] = np.bitwise_or.reduceat(masks, self.offsets[filled])
        return result

    def flat(self) -> tuple[Ints, Ints]:
        """Ids of all words in order, and the offsets of each text's words."""
        counts = self.table["words"][self.ids].astype(np.int64)
        skipped = np.concatenate(([0], np.cumsum(counts)[:-1])) if len(counts) else counts
        starts = np.repeat(self.table["first"][self.ids] - skipped, counts)
        totals = np.concatenate(([0], np.cumsum(counts)))
        return self.words[np.arange(int(counts.sum())) + starts], totals[self.offsets]


_NOTHING, _OTHER, _END = 0, 1, 2
_TABLE = np.dtype(
    [
        ("words", np.int32),
        ("first", np.int64),
        ("spoken", np.int32),  # words that are not symbols alone
        ("spoken_length", np.int32),
        ("alphabetic", np.int32),
        ("begins", np.int8),  # class of the first word that is no punctuation: other, or a sentence's end
        ("ends", np.int8),
        ("inside", np.int32),  # sentences that begin after the first word
        ("stop", np.uint64),
    ]
)


class Lexicon:
    """The pieces met so far, with their words and figures; it starts anew when it has grown too large."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._ids: dict[str, int] = {}
        self._table = np.zeros(1024, dtype=_TABLE)
        self._word_ids: dict[str, int] = {}
        self._texts: list[str] = []
        self._words = np.zeros(4096, dtype=np.int64)
        self._filled = 0
        self._lengths = np.zeros(4096, dtype=np.int64)

    def split(self, texts: Sequence[str]) -> Pieces:
        """All texts as pieces."""
        if len(self._ids) > _MOST_PIECES:
            self._clear()
        split = [text.split() for text in texts]
        counts = np.fromiter(map(len, split), dtype=np.int64, count=len(split))
        flat = [piece for pieces in split for piece in pieces]
        for piece in set(flat).difference(self._ids):
            self._learn(piece)
        ids = np.fromiter(map(self._ids.__getitem__, flat), dtype=np.int64, count=len(flat))
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        known = len(self._word_ids)
        hashes = mix(np.arange(1, known + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        lengths = self._lengths[:known]
        return Pieces(ids, offsets, self._table, self._words, lengths, hashes, self._texts)

    def _learn(self, piece: str) -> None:
        words = words_of(piece)
        number = len(self._ids)
        if number == len(self._table):
            self._table = np.concatenate((self._table, np.zeros(number, dtype=_TABLE)))
        if self._filled + len(words) > len(self._words):
            grown = np.zeros(self._filled + len(words), dtype=np.int64)
            self._words = np.concatenate((self._words, grown))
        spoken = [word for word in words if not _SYMBOLS.issuperset(word)]
        classes = [kind for kind in map(_kind, words) if kind != _NOTHING]
        self._table[number] = (
            len(words),
            self._filled,
            len(spoken),
            sum(map(len, spoken)),
            sum(word.isalpha() or any(map(str.isalpha, word)) for word in words),
            classes[0] if classes else _NOTHING,
            classes[-1] if classes else _NOTHING,
            sum(a == _END and b == _OTHER for a, b in pairwise(classes)),
            _stop_mask(words),
        )
        for word in words:
            self._words[self._filled] = self._word(word)
            self._filled += 1
        self._ids[piece] = number

    def _word(self, word: str) -> int:
        number = self._word_ids.setdefault(word, len(self._word_ids))
        if number == len(self._texts):
            self._texts.append(word)
            if number >= len(self._lengths):
                self._lengths = np.concatenate((self._lengths, np.zeros_like(self._lengths)))
            self._lengths[number] = len(word)
        return number


def _kind(word: str) -> int:
    if word.isalnum():
        return _OTHER
    if word in _ENDS:
        return _END
    return _NOTHING if all(unicodedata.category(sign)[0] == "P" for sign in word) else _OTHER


def _stop_masks() -> dict[str, int]:
    masks: dict[str, int] = {}
    for number, listed in enumerate(STOP_WORDS.values()):
        for bit, word in enumerate(listed):
            masks[word] = masks.get(word, 0) | 1 << (8 * number + bit)
    return masks


_MASKS = _stop_masks()


def _stop_mask(words: Sequence[str]) -> int:
    mask = 0
    for word in words:
        mask |= _MASKS.get(word, 0)
    return mask


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The lexicon of this process."""
    return Lexicon()
