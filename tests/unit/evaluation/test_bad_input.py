"""What is wrong with a model or a suite is told, or counted; it never becomes a number."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sartor_evaluation.evaluate import evaluate
from sartor_evaluation.overlap_check import TrainingText, overlapping
from sartor_platform.errors import FailedPrecondition, InvalidArgument

from tests.tiny_model import make_tiny_model
from tests.unit.evaluation.curated import write_curated
from tests.unit.evaluation.harness.make_expected import HERE
from tests.unit.evaluation.outcomes import answer_item

ITEMS = [{"id": str(n), "prompt": f"Question {n}?", "reference": "Yes."} for n in range(4)]


def _report(fraction, **_):
    assert 0 <= fraction <= 1


def _task(folder, base, items=ITEMS, **changes):
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")
    return {
        "candidates": [{"id": "tuned", "model": "m", "shots": 0}],
        "models": {"m": {"name": "m", "base": str(base), "version": ""}},
        "curated": "",
        "items": str(path) if items else "",
        "ask_test_split": False,
        "suites": {},
        "general_suite": "",
        "max_items": 0,
        "few_shot": {"shots": [], "choices": [], "items": 0},
        "rules": [],
        "reference_candidate": "",
        "about": {"evaluation": "e"},
        **changes,
    }


@pytest.fixture
def base(tmp_path):
    return make_tiny_model(tmp_path / "base")


def _damaged(base):
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], float("nan"))
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("items", [ITEMS, [{"id": "a", "prompt": "Write!", "pattern": "x"}]])
def test_scores_that_are_no_numbers_end_the_evaluation(base, tmp_path, items):
    """With a reference and without one: damaged weights answer nothing."""
    _damaged(base)
    with pytest.raises(FailedPrecondition) as caught:
        evaluate(_task(tmp_path, base, items), tmp_path, _report)
    assert caught.value.reason == "SCORES_NOT_FINITE"


def test_a_base_without_chat_template_says_so_and_still_runs_task_files(base, tmp_path):
    """A conversation needs the template; an exact text does not."""
    (base / "chat_template.jinja").unlink()
    with pytest.raises(FailedPrecondition) as caught:
        evaluate(_task(tmp_path, base), tmp_path, _report)
    assert caught.value.reason == "NO_CHAT_TEMPLATE"
    suite = {
        "task": (HERE / "cloze.yaml").read_text("utf-8"),
        "data": {"cloze.jsonl": str(HERE / "cloze.jsonl")},
        "metrics": [],
        "max_items": 0,
    }
    again = tmp_path / "again"
    again.mkdir()
    result = evaluate(_task(again, base, (), suites={"cloze": suite}), again, _report)
    assert {score["metric"] for score in result["findings"]["scores"]} == {
        "item_perplexity",
        "cloze_accuracy",
    }


def test_a_suite_that_overlaps_the_training_data_is_told_and_blocks(base, tmp_path):
    """However good the figures are: they were learnt by heart."""
    curated = write_curated(tmp_path / "curated")
    from sartor_evaluation.suites import curated_items

    seen = curated_items(Path(curated), "train")[0].subject
    rule = dict.fromkeys(("at_least", "at_most"), 99.0) | {"metric": "loss", "suite": "held_out"}
    rule |= {"compared_to": "nothing", "at_least": None, "bound": ""}
    items = [*ITEMS, {"id": "seen", "prompt": seen, "reference": "Yes."}]
    result = evaluate(_task(tmp_path, base, items, curated=str(curated), rules=[rule]), tmp_path, _report)
    verdict = result["findings"]["verdict"]
    assert [(one["rule"]["metric"], one["passed"]) for one in verdict["rules"]] == [
        ("loss", True),
        ("training_overlap", False),
    ]
    assert not verdict["passed"]
    assert "(seen)" in verdict["rules"][1]["explanation"]
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["training_overlap"] == {"held_out": ["seen"]}


def test_overlap_is_found_in_other_words_case_and_order_of_parts():
    """Long questions by their word sequences, short ones only where they are the same."""
    long = "Please tell me how I can change the delivery address of an order that was sent out"
    training = TrainingText([f"Hello! {long}.", "Where is it?"])
    items = [
        answer_item("same", question=long.upper()),
        answer_item("part", question=f"{long} yesterday"),
        answer_item("other", question="Please tell me how I can change the payment of an order I made"),
        answer_item("short", question="Where is IT"),
        answer_item("shorter", question="Where is"),
    ]
    assert overlapping(items, training) == ["same", "part", "short"]


def test_an_empty_suite_is_refused(base, tmp_path):
    """Neither items nor a suite."""
    with pytest.raises(InvalidArgument, match="suite is empty"):
        evaluate(_task(tmp_path, base, ()), tmp_path, _report)
