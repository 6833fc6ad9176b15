"""Facts about words: how pieces of text are split, and what is counted of many texts at once."""

import pytest
from sartor_text.words import Lexicon, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("don't (can't)", ["do", "n't", "(", "ca", "n't", ")"]),
        ("e.g. in the U.S.A. at 3.5%", ["e.g.", "in", "the", "U.S.A.", "at", "3.5", "%"]),
        ("John's well-known 5-7", ["John", "'s", "well", "-", "known", "5", "-", "7"]),
        ("it ends... Größe: 10km", ["it", "ends", "...", "Größe", ":", "10", "km"]),
        ("see https://example.org/a?b=1.", ["see", "https://example.org/a?b=1."]),
        ("cannot", ["can", "not"]),
    ],
)
def test_words_stand_apart_as_in_a_treebank(text: str, words: list[str]) -> None:
    assert [word for piece in text.split() for word in words_of(piece)] == words


def test_figures_of_many_texts_are_those_of_each() -> None:
    texts = ["One two three. Four!", "", "Mr. Smith said: no. Then?  Yes.", "--- ***"]
    lexicon = Lexicon()
    together = lexicon.split(texts)
    for name in ("words", "spoken", "spoken_length", "alphabetic"):
        assert together.sums(name).tolist() == [int(lexicon.split([text]).sums(name)[0]) for text in texts]
    assert together.sentences().tolist() == [2, 0, 3, 1]
    assert together.sums("words").tolist() == [6, 0, 10, 4]


def test_the_same_word_has_the_same_id_wherever_it_stands() -> None:
    pieces = Lexicon().split(["alpha beta", "beta, alpha"])
    words, offsets = pieces.flat()
    assert [pieces.word_texts[word] for word in words.tolist()] == ["alpha", "beta", "beta", ",", "alpha"]
    assert offsets.tolist() == [0, 2, 5]
