"""Each metric gives the numbers its definition says, also on German and on empty answers."""

import math

import numpy as np
import pytest
from sartor_evaluation.items import ItemKind
from sartor_evaluation.metrics import labels, likelihood, overlap
from sartor_evaluation.metrics.catalogue import CATALOGUE, Better, metrics, unknown_metrics
from sartor_evaluation.metrics.chrf import chrf
from sartor_evaluation.metrics.compute import applicable, item_score, sums_of
from sartor_evaluation.metrics.rouge import rouge_l

from tests.unit.evaluation.outcomes import answer_item, answered, label_item, labelled


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("Reset it in the settings.", "reset it in the settings", 1.0),
        ("Rücksendung ist möglich!", "rücksendung ist möglich", 1.0),
        ("one two", "two three", 0.5),
        ("two two", "two", 2 / 3),
        ("", "something", 0.0),
        ("nothing alike", "something else", 0.0),
    ],
)
def test_token_f1_counts_shared_words(answer, reference, expected):
    """Words with multiplicity, whatever case and punctuation."""
    assert overlap.token_f1(answer, reference) == pytest.approx(expected)


def test_exact_match_overlooks_case_and_punctuation_but_no_umlaut():
    """ü and u are different letters."""
    assert overlap.exact_match("Ja, gern.", "ja gern") == 1.0
    assert overlap.exact_match("Tur", "Tür") == 0.0


def test_rouge_l_is_the_longest_common_subsequence_also_in_german():
    """rouge-score's own tokenizer would drop the umlauts and see no difference between the words."""
    assert rouge_l("a b c d", "a c") == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert rouge_l("Bären", "Baren") == 0.0
    assert rouge_l("Größe ändern", "Größe ändern") == pytest.approx(1.0)


def test_chrf_is_sacrebleus():
    """The library's own example values: identical 100, disjoint 0."""
    assert chrf("Die Rechnung kommt.", "Die Rechnung kommt.") == pytest.approx(100.0)
    assert chrf("xyz", "abc") == 0.0
    assert 40 < chrf("Die Rechnungen kamen.", "Die Rechnung kommt.") < 80


def test_perplexity_is_over_all_tokens_not_a_mean_of_items():
    """Two items of 1 and 3 tokens: exp(total loss / 4)."""
    item = answer_item("a")
    outcomes = [answered(item, "", loss=4.0, tokens=1), answered(item, "", loss=0.0, tokens=3)]
    sums = sums_of(metrics()["perplexity"])
    assert float(sums.value(sums.rows(outcomes).sum(axis=0))) == pytest.approx(math.e)
    assert float(likelihood.METRICS["loss"].value(np.array([4.0, 4.0]))) == pytest.approx(1.0)


def test_macro_f1_agrees_with_a_worked_example():
    """a: precision 2/3, recall 1, F1 0.8; b: precision 1, recall 1/2, F1 2/3."""
    outcomes = [
        labelled(label_item("1", "billing"), "billing"),
        labelled(label_item("2", "billing"), "billing"),
        labelled(label_item("3", "shipping"), "billing"),
        labelled(label_item("4", "shipping"), "shipping"),
    ]
    sums = labels.METRICS["macro_f1"]
    assert float(sums.value(sums.rows(outcomes).sum(axis=0))) == pytest.approx((0.8 + 2 / 3) / 2)


def test_a_label_that_is_never_seen_does_not_lower_macro_f1():
    """Labels that occur neither as truth nor as guess are left out."""
    outcomes = [labelled(label_item("1", "billing", ("billing", "shipping", "returns")), "billing")]
    sums = labels.METRICS["macro_f1"]
    assert float(sums.value(sums.rows(outcomes).sum(axis=0))) == 1.0


def test_every_metric_of_the_catalogue_is_computed_by_its_family():
    """No name without code behind it, and each says which way is better."""
    for info in CATALOGUE:
        assert sums_of(info).rows([]).shape[0] == 0
        assert info.better in Better
    assert unknown_metrics(["token_f1", "bleurt"]) == ["bleurt"]


def test_metrics_apply_to_the_kinds_of_items_they_are_for():
    """Free answers have no label accuracy, labels no chrF."""
    free = {info.name for info in applicable([answered(answer_item("a"), "x")])}
    label = {info.name for info in applicable([labelled(label_item("b", "billing"), "billing")])}
    assert "label_accuracy" not in free
    assert "chrf" in free
    assert "chrf" not in label
    assert {"label_accuracy", "macro_f1", "exact_match", "loss"} <= label


def test_an_items_score_is_the_right_label_or_the_words_shared():
    """One number an item, so that items of different kinds can be ordered by it."""
    assert item_score(labelled(label_item("b", "billing"), "shipping")) == 0.0
    assert item_score(answered(answer_item("a", reference="one two"), "two three")) == pytest.approx(0.5)
    assert ItemKind.CHOICE in metrics()["choice_accuracy"].kinds
