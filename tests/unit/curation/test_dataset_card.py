"""Facts about the dataset card and the comparison of two curations."""

from __future__ import annotations

import json

from sartor_cli.compare import differences
from sartor_curation.dataset_card import render_card
from sartor_curation.pipeline import curate

from tests.unit.curation.desk import TOPICS, chat, count_words, desk, policy


def test_the_card_says_what_is_in_it_what_was_dropped_and_what_is_wrong() -> None:
    copy = chat("copy", TOPICS[0][0].rstrip("?"), TOPICS[0][1].rstrip(".") + "!")
    mail = chat("mail", "Who answers eva.kern@example.de these days?", "The team for partners does.")
    report = json.loads(curate([*desk(), copy, mail], policy(), count_words).report.to_json())
    card = render_card(report)
    assert card.startswith("---\nlanguage:\n- ")
    assert "| Near duplicate | 1 |" in card
    assert "1 × EMAIL" in card
    assert "eva.kern" not in card
    for reason in report["grade"]["reasons"]:
        assert reason in card
    assert f"| grade | {report['grade']['grade']} |" in card


def test_two_curations_differ_in_what_changed_alone() -> None:
    first, second = (
        json.loads(curate(records, policy(), count_words).report.to_json())
        for records in (desk(), [*desk(), chat("empty", "What is this?", " ")])
    )
    assert list(differences(first, first))[1] == ("read", 20, 20)
    changed = {name: (before, after) for name, before, after in differences(first, second) if before != after}
    assert changed == {"read": (20, 21), "dropped": (0, 1), "dropped: MISSING_FIELD": (0, 1)}
