"""Facts about shingles, signatures and near-duplicate pairs, against exact Jaccard similarity."""

import random
import re
from itertools import combinations

import numpy as np
import pytest
from sartor_text.clusters import UnionFind, smallest_linked
from sartor_text.minhash import bands_for, near_duplicates, sign, sign_pages
from sartor_text.shingles import (
    Shingles,
    Unit,
    Utf8Texts,
    fold,
    fold_slots,
    jaccard,
    jaccards,
    shingle,
    word_jaccards,
    word_shingles,
)

WORDS = ["".join(random.Random(i).choices("abcdefghijklmnop", k=4 + i % 5)) for i in range(400)]


def texts_with_copies(count: int) -> list[str]:
    """Random texts, each followed by a copy with 0 to 11 words of 40 exchanged."""
    chance = random.Random(7)
    texts: list[str] = []
    for number in range(count):
        words = chance.choices(WORDS, k=40)
        copy = list(words)
        for place in chance.sample(range(40), number % 12):
            copy[place] = chance.choice(WORDS)
        texts += [" ".join(words), " ".join(copy)]
    return texts


@pytest.mark.parametrize("unit", ["characters", "words"])
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_pairs_are_those_of_exact_jaccard(unit: Unit, threshold: float) -> None:
    texts = texts_with_copies(60)
    found = {(pair.first, pair.second) for pair in near_duplicates(shingle(texts, 3, unit), threshold)}
    sets = [python_shingles(text, 3, unit) for text in texts]
    exact = {
        (i, j) for i, j in combinations(range(len(texts)), 2)
        if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold
    }  # fmt: skip
    assert found <= exact
    assert len(exact - found) <= len(exact) * 0.02
    assert exact


def python_shingles(text: str, size: int, unit: Unit) -> set[object]:
    tokens = text.split() if unit == "words" else f" {text} "
    return {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)}


def test_signatures_estimate_jaccard() -> None:
    texts = texts_with_copies(30)
    shingles = shingle(texts, 3)
    signatures = sign(shingles, 1024)
    for first in range(0, len(texts), 2):
        exact = jaccard(shingles.of(first), shingles.of(first + 1))
        estimate = float((signatures[first] == signatures[first + 1]).mean())
        assert abs(estimate - exact) < 4 / np.sqrt(1024)


def test_signatures_are_the_same_in_every_process_and_batch() -> None:
    texts = ["eins zwei drei vier", "", "noch ein text mit mehr worten"]
    together = sign(shingle(texts))
    apart = np.concatenate([sign(shingle([text])) for text in texts])
    assert (together == apart).all()
    assert together[0, :3].tolist() == sign(shingle(texts[:1]))[0, :3].tolist()


def test_short_and_empty_texts() -> None:
    shingles = shingle(["", "ab", "ab", "abc", ""], 5)
    assert [len(shingles.of(text)) for text in range(5)] == [0, 1, 1, 1, 0]
    assert [(pair.first, pair.second) for pair in near_duplicates(shingles, 0.9)] == [(1, 2)]
    assert not near_duplicates(shingle([]), 0.8)
    assert jaccard(shingles.of(0), shingles.of(4)) == 1.0


def test_words_do_not_run_from_one_text_into_the_next() -> None:
    shingles = shingle(["a b c", "d e f"], 3, "words")
    assert [len(shingles.of(0)), len(shingles.of(1))] == [1, 1]


def test_a_crowd_of_equal_texts_is_linked_in_linear_time() -> None:
    pairs = near_duplicates(shingle(["immer derselbe text"] * 2000), 0.8)
    sets = UnionFind(2000)
    sets.union_all((pair.first, pair.second) for pair in pairs)
    assert set(sets.clusters()) == {0}
    assert len(pairs) < 2000 * 50


def test_similar_on_both_sides_is_similar_together() -> None:
    prompts = ["how do i reset my password please", "how do i reset my password pleas", "something else"]
    answers = ["click on forgot password and follow", "click on forgot password and follows", "x"]
    left, right = shingle(prompts), shingle(answers)
    both = left.together_with(right)
    lower = min(jaccard(left.of(0), left.of(1)), jaccard(right.of(0), right.of(1)))
    assert jaccard(both.of(0), both.of(1)) >= lower
    assert len(both.of(0)) == len(left.of(0)) + len(right.of(0))
    one, other = shingle(["aaaa bbbb cccc"]), shingle(["dddd eeee ffff"])
    assert jaccard(one.together_with(other).of(0), other.together_with(one).of(0)) == 0.0


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_find_what_is_right_at_the_threshold(threshold: float) -> None:
    cut = bands_for(threshold, 128)
    assert cut.bands * cut.rows <= 128
    assert cut.recall(threshold) >= 0.995


def test_a_threshold_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="threshold"):
        near_duplicates(shingle(["a"]), 0.0)


def test_folding_leaves_what_distinguishes() -> None:
    assert fold("Hallo,   WELT! Straße") == "hallo welt strasse"
    assert fold_slots("Order 48213-77 for [EMAIL_3], 2 pieces") == fold_slots(
        "order 99120 for [EMAIL_1] 2 pieces"
    )
    assert fold_slots("2 pieces") != fold_slots("3 pieces")


def test_union_find_names_a_set_by_its_smallest_member() -> None:
    sets = UnionFind(6)
    sets.union_all([(5, 4), (4, 2), (0, 1)])
    assert sets.clusters() == {0: [0, 1], 2: [2, 4, 5], 3: [3]}


def test_word_shingles_are_those_of_folded_texts() -> None:
    texts = [
        *texts_with_copies(20),
        "Größe, WEITE – und „Höhe“ zählen: ja?",
        "",
        "eins zwei",
        "日本語 の テキスト",
        "ﬃ ẞ İstanbul ŉ 😀 x_1 \ud800",
    ]
    folded = shingle([fold(text) for text in texts], 5, "words")
    raw = word_shingles(Utf8Texts.of(texts))
    assert (raw.offsets == folded.offsets).all()
    for first, second in combinations(range(len(texts)), 2):
        assert jaccard(raw.of(first), raw.of(second)) == jaccard(folded.of(first), folded.of(second))


def test_many_pairs_are_compared_as_one_is() -> None:
    shingles = shingle(texts_with_copies(40), 5)
    pairs = np.array(list(combinations(range(len(shingles)), 2)))
    expected = [jaccard(shingles.of(first), shingles.of(second)) for first, second in pairs.tolist()]
    assert jaccards(shingles, pairs).tolist() == pytest.approx(expected)


def test_pages_are_signed_as_their_shingles_are() -> None:
    texts = Utf8Texts.of([*texts_with_copies(20), "", "Größe", "eins zwei drei vier fünf sechs"])
    assert (sign_pages(texts) == sign(word_shingles(texts))).all()


def test_a_page_in_the_middle_of_a_buffer_is_read_as_itself() -> None:
    texts = texts_with_copies(3)
    whole = Utf8Texts.of(texts)
    middle = Utf8Texts(whole.data, whole.offsets[2:5])
    assert word_shingles(middle).values.tolist() == word_shingles(Utf8Texts.of(texts[2:4])).values.tolist()
    assert (sign_pages(middle) == sign_pages(Utf8Texts.of(texts[2:4]))).all()


def test_every_code_point_is_folded_as_python_folds_it() -> None:
    points = [chr(point) for point in range(0x110000)]
    texts = ["".join(points[at : at + 64]) for at in range(0, len(points), 64)]
    folded = [" ".join(re.findall(r"\w+", text.casefold())) for text in texts]
    assert (
        word_shingles(Utf8Texts.of(texts)).values.tolist()
        == word_shingles(Utf8Texts.of(folded)).values.tolist()
    )


def test_compiled_similarity_is_that_of_sets() -> None:
    chance = np.random.default_rng(3)
    counts = [0, 0, 1, 5, 700, *chance.integers(0, 60, 40)]
    values = chance.integers(0, 40, sum(counts)).astype(np.uint64)
    shingles = Shingles(values, np.concatenate(([0], np.cumsum(counts))).astype(np.int64))
    pairs = np.array(list(combinations(range(len(shingles)), 2)))
    expected = [jaccard(shingles.of(first), shingles.of(second)) for first, second in pairs.tolist()]
    assert word_jaccards(shingles, pairs).tolist() == expected


@pytest.mark.parametrize("links", [0, 30, 100, 300])
def test_links_in_arrays_join_what_union_find_joins(links: int) -> None:
    chance = np.random.default_rng(links)
    first, second = chance.integers(0, 200, links), chance.integers(0, 200, links)
    sets = UnionFind(200)
    sets.union_all(zip(first.tolist(), second.tolist(), strict=True))
    assert smallest_linked(200, first, second).tolist() == [sets.find(item) for item in range(200)]


def test_a_long_chain_of_links_is_one_cluster() -> None:
    order = np.random.default_rng(1).permutation(5000)
    assert set(smallest_linked(5000, order[:-1], order[1:]).tolist()) == {0}
