"""Versions that say labels or numbers are judged by the metrics of labels and numbers, beside their base
model and the most frequent answer.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from sartor_datasets.arrow import CuratedRecord
from sartor_datasets.curated import CuratedWriter
from sartor_datasets.records import Message, Record
from sartor_evaluation.classifying import items_for, labels_as_written
from sartor_evaluation.evaluate import evaluate
from sartor_evaluation.items import Item, ItemKind, Outcome
from sartor_evaluation.metrics.catalogue import metrics
from sartor_evaluation.metrics.compute import sums_of
from sartor_evaluation.metrics.labels import per_class
from sartor_evaluation.runner_child import _asked, _load
from sartor_evaluation.suites import UnusableItems, curated_items
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora, save_adapter
from sartor_models.chat_templates import CHAT_TEMPLATES
from sartor_models.load import load_model
from sartor_models.output_layer import OutputLayer
from sartor_platform.errors import FailedPrecondition

from tests.tiny_model import make_tiny_model
from tests.unit.evaluation.curated import write_curated


class _Progress:
    def __call__(self, fraction, **more):
        pass

    def send(self, message):
        assert message["type"] == "finished"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """It has no chat template: labels need none."""
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny") / "base", context=768)
    (folder / "chat_template.jinja").unlink()
    return folder


def write_labelled(folder: Path, labels: list[str]) -> Path:
    """Every third record is held out; their messages write the label out."""
    folder.mkdir(parents=True)
    with CuratedWriter(folder) as writer:
        for number in range(60):
            label = labels[number % len(labels)]
            split = ("train", "train", "test")[number // len(labels) % 3]
            record = Record(
                record_id=f"{number:064x}",
                record_key=str(number),
                kind="labelled",
                messages=(
                    Message("user", f"Which team? Ticket {number}"),
                    Message("assistant", f"Team {label}"),
                ),
                text=f"Ticket {number} about {label}",
                label=label,
                attributes={},
                source="projects/p/sources/s",
                position=f"import:x#{number}",
                event_time=datetime(2026, 11, 1, tzinfo=UTC),
            )
            writer.write(CuratedRecord(record, split, f"c{number}", "en", 20))
    return folder


def version(base: Path, folder: Path, layer: OutputLayer) -> Path:
    adapter = LoraAdapter(rank=4, alpha=8)
    model = add_lora(load_model(base, torch.float32), adapter, seed=3)
    save_adapter(folder, adapter, adapter_weights(model), base_model="tiny")
    layer.save(folder)
    return folder


def run(
    base: Path, made: Path, curated: Path, folder: Path, rules: list[dict], *searched: dict
) -> tuple[dict, dict]:
    task = {
        "candidates": [
            {"id": "base", "model": "model-0", "shots": 0},
            *searched,
            {"id": "tuned", "model": "model-1", "shots": 0},
        ],
        "models": {
            "model-0": {"name": "projects/p/baseModels/tiny", "base": str(base), "version": ""},
            "model-1": {"name": "projects/p/models/m/versions/1", "base": str(base), "version": str(made)},
        },
        "curated": str(curated),
        "items": "",
        "general_suite": "builtin",
        "max_items": 0,
        "few_shot": {"shots": [1, 2], "choices": ["fixed", "diverse"], "items": 4},
        "rules": rules,
        "reference_candidate": "tuned",
        "about": {"evaluation": "projects/p/evaluations/e", "curation": "projects/p/curations/c"},
    }
    folder.mkdir()
    result = evaluate(task, folder, _Progress())
    report = json.loads(Path(result["report"]).read_text(encoding="utf-8"))
    scores = {(s["suite"], s["candidate"], s["metric"]): s["estimate"]["value"] for s in report["scores"]}
    return report, scores


def rule(metric: str, compared_to: str, **bounds: float) -> dict:
    return {
        "metric": metric,
        "suite": "held_out",
        "compared_to": compared_to,
        "at_least": None,
        "at_most": None,
        "bound": "point",
        **bounds,
    }


def test_a_classifier_is_judged_beside_its_base_and_the_most_frequent_label(
    base: Path, tmp_path: Path
) -> None:
    curated = write_labelled(tmp_path / "curated", ["billing", "shipping", "billing"])
    layer = OutputLayer("single_label", ("billing", "shipping"), 64)
    with torch.no_grad():  # whatever the text, billing with 3 : 1
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0986, 0.0]))
    made = version(base, tmp_path / "version", layer)
    general = {**rule("choice_accuracy", "base", at_least=-0.1), "suite": "general"}
    rules = [rule("label_accuracy", "base", at_least=-1.0), rule("label_accuracy", "nothing", at_least=0.9)]
    searched = {"id": "prompted", "model": "model-0", "shots": -1}
    report, scores = run(base, made, curated, tmp_path / "job", [*rules, general], searched)
    assert ("held_out", "prompted", "label_accuracy") in scores
    assert scores["held_out", "tuned", "label_accuracy"] == pytest.approx(2 / 3, abs=0.05)
    assert scores["held_out", "tuned", "label_accuracy"] == scores["held_out", "majority", "label_accuracy"]
    wanted = scores["held_out", "tuned", "label_accuracy"]
    assert scores["held_out", "tuned", "ece"] == pytest.approx(abs(0.75 - wanted), abs=1e-3)
    assert ("held_out", "base", "label_accuracy") in scores
    assert ("general", "base", "choice_accuracy") in scores
    assert ("general", "tuned", "choice_accuracy") not in scores
    judged = report["verdict"]["rules"]
    verdict = {(one["rule"]["metric"], one["rule"]["compared_to"]): one["passed"] for one in judged}
    assert verdict == {
        ("label_accuracy", "base"): True,
        ("label_accuracy", "nothing"): False,
        ("label_accuracy", "majority"): True,
    }


def test_several_labels_are_judged_one_by_one(base: Path, tmp_path: Path) -> None:
    curated = write_labelled(tmp_path / "curated", ["money|urgent", "money", "urgent"])
    layer = OutputLayer("multi_label", ("money", "urgent"), 64)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([2.0, -2.0]))  # always and only money
    made = version(base, tmp_path / "version", layer)
    report, scores = run(base, made, curated, tmp_path / "job", [])
    assert scores["held_out", "tuned", "label_accuracy"] == pytest.approx(1 / 3, abs=0.1)
    classes = report["classes"]["held_out"]["tuned"]["classes"]
    assert classes["money"]["recall"] == 1.0
    assert classes["urgent"]["recall"] == 0.0
    assert ("held_out", "tuned", "brier") in scores
    assert ("held_out", "majority", "micro_f1") in scores


def test_numbers_are_judged_by_their_distance(base: Path, tmp_path: Path) -> None:
    curated = write_labelled(tmp_path / "curated", ["1", "2", "3.5"])
    layer = OutputLayer("regression", (), 64, mean=2.0, scale=1.0)
    with torch.no_grad():
        layer.weight.zero_()
    made = version(base, tmp_path / "version", layer)
    _, scores = run(base, made, curated, tmp_path / "job", [])
    assert scores["held_out", "tuned", "mean_absolute_error"] == pytest.approx(0.83, abs=0.1)
    assert scores["held_out", "majority", "r_squared"] == pytest.approx(0.0, abs=0.1)


def outcome(wanted: str, given: str, shares: tuple[float, ...]) -> Outcome:
    item = Item("i", "held_out", ItemKind.LABELS, (Message("user", "?"),), wanted, ("a", "b", "c"))
    return Outcome(item, given, 0.0, 0, label_shares=shares)


def test_the_figures_of_several_labels_are_those_of_their_definitions() -> None:
    outcomes = [outcome("a|b", "a", (0.9, 0.4, 0.1)), outcome("none", "c", (0.2, 0.2, 0.6))]

    def value(name: str) -> float:
        sums = sums_of(metrics()[name])
        return float(sums.value(np.asarray(sums.rows(outcomes)).sum(axis=0)))

    assert value("label_accuracy") == 0.0
    assert value("micro_f1") == pytest.approx(2 * 1 / (2 + 2))
    assert value("macro_f1") == pytest.approx((1.0 + 0.0 + 0.0) / 3)
    assert value("brier") == pytest.approx((0.01 + 0.36 + 0.01 + 0.04 + 0.04 + 0.36) / 2)
    assert per_class(outcomes)["classes"]["b"] == {"items": 1, "precision": None, "recall": 0.0, "f1": 0.0}


def test_items_keep_what_they_were_where_one_label_is_right(tmp_path: Path) -> None:
    items = curated_items(write_labelled(tmp_path / "curated", ["x", "y", "z"]), "test")
    assert items_for("single_label", items, ["x", "y", "z"]) == items
    assert labels_as_written(items) == {"x": "Team x", "y": "Team y", "z": "Team z"}


def test_a_resident_runner_answers_with_labels_and_says_what_it_needs(base: Path, tmp_path: Path) -> None:
    layer = OutputLayer("single_label", ("billing", "shipping"), 64)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0, 0.0]))
    made = version(base, tmp_path / "version", layer)
    task = {"name": "v", "base": str(base), "version": str(made), "folder": str(tmp_path / "runner")}
    asker = _load(task)
    request = {"id": 1, "candidate": "c", "items": [{"prompt": "My invoice", "label": "billing"}]}
    (answer,) = _asked(asker, [request])
    assert answer["rows"][0]["answer"] == "billing"
    assert answer["rows"][0]["metrics"]["label_accuracy"] == 1.0
    with pytest.raises(UnusableItems, match="give each item a label"):
        _asked(asker, [{**request, "items": [{"prompt": "My invoice", "reference": "An answer"}]}])


def test_a_base_without_a_template_is_asked_with_that_of_the_version_taught_on_it(
    base: Path, tmp_path: Path
) -> None:
    adapter = LoraAdapter(rank=4, alpha=8)
    model = add_lora(load_model(base, torch.float32), adapter, seed=3)
    made = tmp_path / "version"
    save_adapter(made, adapter, adapter_weights(model), base_model="tiny")
    (made / "chat_template.jinja").write_text(CHAT_TEMPLATES["plain"], encoding="utf-8")
    curated = write_curated(tmp_path / "curated")
    _, scores = run(base, made, curated, tmp_path / "job", [])
    assert scores["held_out", "base", "loss"] == pytest.approx(scores["held_out", "tuned", "loss"], rel=1e-3)
    (made / "chat_template.jinja").unlink()
    with pytest.raises(FailedPrecondition) as caught:
        run(base, made, curated, tmp_path / "again", [])
    assert caught.value.reason == "NO_CHAT_TEMPLATE"
