"""Findings pair candidates item by item, slice them, and come out as reports that can be read."""

import json
import math

import pyarrow.parquet as pq
import pytest
from sartor_evaluation.findings import find
from sartor_evaluation.gates import Baseline, Rule, judge
from sartor_evaluation.items import GENERAL, HELD_OUT, ItemKind
from sartor_evaluation.prompts import ZERO_SHOT, Prompt
from sartor_evaluation.report import Report
from sartor_evaluation.report_page import render
from sartor_evaluation.results import rows, write_json_lines, write_parquet
from sartor_evaluation.run import Answered, Candidate, ModelFiles, by_suite
from sartor_evaluation.suites import UnusableItems, client_items, general_items, sample

from tests.unit.evaluation.outcomes import answer_item, answered, label_item, labelled


def _table():
    items = [
        answer_item(f"a{i}", f"Question <{i}>?", "one two three", language="de" if i % 2 else "en")
        for i in range(24)
    ]
    labels = [
        label_item(f"l{i}", "billing" if i % 3 else "shipping", language="en", question=f"Team <{i}>?")
        for i in range(12)
    ]
    base = [answered(i, "one nothing") for i in items] + [labelled(i, "shipping") for i in labels]
    tuned = [answered(i, "one two three", 1.0) for i in items] + [labelled(i, i.reference) for i in labels]
    return {HELD_OUT: {"base": base, "tuned": tuned}}


def _answered(table):
    return [
        Answered(
            Candidate(name, ModelFiles(f"projects/p/{name}", None)), ZERO_SHOT, {HELD_OUT: outcomes}, None, {}
        )
        for name, outcomes in table[HELD_OUT].items()
    ]


def test_scores_comparisons_and_slices_are_found_for_every_metric():
    """Each metric over the items it applies to, the tuned model compared with the base."""
    found = find(_table())
    assert found.score(HELD_OUT, "token_f1", "tuned").value == 1.0
    assert found.score(HELD_OUT, "token_f1", "tuned").items == 24
    assert found.score(HELD_OUT, "label_accuracy", "base").value == pytest.approx(4 / 12)
    assert found.score(HELD_OUT, "loss", "tuned").items == 36
    gain = found.difference(HELD_OUT, "token_f1", "tuned", "base")
    assert gain.value == pytest.approx(1 - 0.4)
    assert found.difference(HELD_OUT, "token_f1", "base", "tuned") is None
    assert found.score(GENERAL, "choice_accuracy", "tuned") is None
    by_language = {
        (s.value, s.candidate): s.estimate
        for s in found.slices
        if s.field == "language" and s.metric == "token_f1"
    }
    assert by_language["de", "tuned"].items == 12
    assert {s.value for s in found.slices if s.field == "label"} == {"billing", "shipping"}


def test_candidates_that_answered_other_items_are_refused():
    """A paired difference of different items would be a wrong number."""
    table = _table()
    table[HELD_OUT]["tuned"] = list(reversed(table[HELD_OUT]["tuned"]))
    with pytest.raises(ValueError, match="other items"):
        find(table)


def test_the_report_is_strict_json_and_its_page_escapes_what_people_wrote(tmp_path):
    """No NaN, no infinity, no markup from the data; and everything that matters is on the page."""
    table = _table()
    findings = find(table)
    verdict = judge([Rule("token_f1", HELD_OUT, Baseline.BASE, 0.0, None, None)], findings)
    report = Report(
        about={"evaluation": "projects/p/evaluations/e", "curation": "projects/p/curations/c"},
        answered=_answered(table),
        table=table,
        findings=findings,
        verdict=verdict,
        too_long=["x"],
        seconds=3.0,
    ).to_json()
    text = json.dumps(report, allow_nan=False)
    page = render(json.loads(text))
    assert "Team &lt;" in page
    assert "Team <" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "The gate lets this model pass" in page
    assert "The tuned model is better than the base model" in page
    assert "1 question is longer" in page
    assert "By language" in page


def test_results_are_kept_whole_and_listed_the_worst_first(tmp_path):
    """Parquet for analysis, JSON lines for the service."""
    found = rows(_table())
    scores = [row["score"] for row in found]
    assert scores == sorted(scores)
    write_parquet(tmp_path / "r.parquet", found)
    write_json_lines(tmp_path / "r.jsonl", found)
    table = pq.read_table(tmp_path / "r.parquet")
    assert table.num_rows == 72
    assert dict(table.column("metrics")[0].as_py()).keys() >= {"loss", "exact_match"}
    first = json.loads((tmp_path / "r.jsonl").read_text().splitlines()[0])
    assert set(first) == {
        "suite",
        "item_id",
        "candidate",
        "cluster",
        "prompt",
        "reference",
        "answer",
        "metrics",
        "slices",
        "failure",
        "score",
    }
    assert not any(math.isnan(value) for value in first["metrics"].values())


def test_only_candidates_without_examples_take_the_general_suite():
    """by_suite leaves out who did not take it."""
    one, two = _answered(_table())
    two = Answered(two.candidate, Prompt(3), {HELD_OUT: two.outcomes[HELD_OUT]}, None, {})
    general = [answered(answer_item("g", suite=GENERAL), "x")]
    one = Answered(one.candidate, ZERO_SHOT, {**one.outcomes, GENERAL: general}, None, {})
    assert list(by_suite([one, two])[GENERAL]) == ["base"]


def test_the_general_suite_is_well_formed():
    """48 questions in two languages, four different choices each, the answer not always the longest."""
    items = general_items()
    assert len(items) == 48
    assert {item.language for item in items} == {"en", "de"}
    assert {item.kind for item in items} == {ItemKind.CHOICE}
    assert all(len(set(item.choices)) == 4 for item in items)
    longest = sum(len(item.reference) == max(map(len, item.choices)) for item in items)
    assert longest < len(items) * 0.6
    assert len({item.item_id for item in items}) == 48


def test_client_items_are_checked_and_every_fault_is_told():
    """What is missing and which item it is."""
    items = client_items(
        [
            {"prompt": "How?", "reference": "So."},
            {"id": "b", "prompt": "Which?", "label": "x", "system": "Be brief."},
            {"id": "c", "prompt": "Which one?", "label": "y"},
        ]
    )
    assert [item.item_id for item in items] == ["1", "b", "c"]
    assert items[1].choices == ("x", "y")
    assert items[1].messages[0].role == "system"
    with pytest.raises(UnusableItems, match="suite is empty"):
        client_items([])
    with pytest.raises(UnusableItems, match=r"item 1 has no prompt; item 2 has neither"):
        client_items([{"reference": "x"}, {"prompt": "y"}])


def test_a_sample_is_the_same_each_time_and_keeps_the_order():
    """0 takes all."""
    items = [answer_item(str(i)) for i in range(30)]
    assert sample(items, 0) == items
    assert sample(items, 7) == sample(items, 7)
    chosen = [int(item.item_id) for item in sample(items, 7)]
    assert chosen == sorted(chosen)
    assert len(chosen) == 7
