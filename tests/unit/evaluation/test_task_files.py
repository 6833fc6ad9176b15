"""Task files of lm-evaluation-harness run as they are; its own figures were recorded (see
make_expected.py)."""

import json

import pytest
import torch
from sartor_evaluation.asking import Asker
from sartor_evaluation.findings import find
from sartor_evaluation.harness.data import read_documents
from sartor_evaluation.harness.task_files import BadTaskFile, read_task
from sartor_evaluation.items import ItemKind
from sartor_evaluation.prompts import ZERO_SHOT, ExampleBook
from sartor_models.load import load_model, load_tokenizer

from tests.tiny_model import make_tiny_model
from tests.unit.evaluation.harness.make_expected import CONTEXT, HERE, TASKS

EXPECTED = json.loads((HERE / "expected.json").read_text("utf-8"))
DATA = {path.name: path for path in HERE.glob("*.jsonl")} | {path.name: path for path in HERE.glob("*.yaml")}
OURS = {
    "acc": {"choice": "choice_accuracy_sum", "cloze": "cloze_accuracy"},
    "acc_norm": {"choice": "choice_accuracy"},
    "acc_bytes": {"choice": "choice_accuracy_bytes"},
    "perplexity": {"cloze": "item_perplexity"},
    "word_perplexity": {"rolling": "word_perplexity"},
    "byte_perplexity": {"rolling": "byte_perplexity"},
    "bits_per_byte": {"rolling": "bits_per_byte"},
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What the tiny model makes of each task, in float32."""
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", context=CONTEXT)
    model, tokenizer = load_model(folder, torch.float32), load_tokenizer(folder)
    asker = Asker(lambda: model, tokenizer, ExampleBook(()))
    found = {}
    for name in TASKS:
        task = read_task((HERE / f"{name}.yaml").read_text("utf-8"), DATA, name)
        found[name] = (task, asker.outcomes(task.items, ZERO_SHOT))
    return found


def test_a_line_of_json_may_hold_a_line_separator(tmp_path):
    """U+2028 ends no line of a JSON file."""
    (tmp_path / "a.jsonl").write_text('{"q": "a\u2028b"}\n\n{"q": "c"}\n', "utf-8")
    config = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "a.jsonl"}}}
    assert read_documents(config, lambda name: tmp_path / name) == {"test": [{"q": "a\u2028b"}, {"q": "c"}]}


@pytest.mark.parametrize("name", TASKS)
def test_prompts_are_the_same_to_the_letter(asked, name):
    """Description, examples drawn with the same seed, delimiters."""
    task, _ = asked[name]
    expected = EXPECTED[name]["items"]
    assert len(task.items) == len(expected)
    for item in task.items:
        prompt = expected[item.item_id.rpartition("/")[2]]["prompt"]
        assert (item.reference if name == "rolling" else item.context) == prompt


@pytest.mark.parametrize("name", ["choice", "cloze", "rolling"])
def test_log_likelihoods_agree_to_a_thousandth(asked, name):
    """Item by item and choice by choice; texts longer than the context in the same windows."""
    _, outcomes = asked[name]
    for outcome in outcomes:
        expected = EXPECTED[name]["items"][outcome.item.item_id.rpartition("/")[2]]["responses"]
        if name == "rolling":
            assert -outcome.loss_sum == pytest.approx(expected[0], abs=1e-3)
        elif name == "cloze":
            assert -outcome.loss_sum == pytest.approx(expected[0][0], abs=1e-3)
            assert outcome.greedy is expected[0][1]
        else:
            ours = [-loss for loss in outcome.choice_losses]
            assert ours == pytest.approx([one[0] for one in expected], abs=1e-3)
    assert any(outcome.loss_tokens > CONTEXT for outcome in outcomes) or name != "rolling"


@pytest.mark.parametrize("name", ["choice", "cloze", "rolling"])
def test_metrics_follow(asked, name):
    """Each metric of the task has the harness's value."""
    task, outcomes = asked[name]
    findings = find({name: {"m": outcomes}}, wanted={name: task.metrics})
    compared = 0
    for key, value in EXPECTED[name]["metrics"].items():
        metric = OURS.get(key.partition(",")[0], {}).get(name)
        if metric:
            assert findings.score(name, metric, "m").value == pytest.approx(value, rel=1e-4)
            compared += 1
    assert compared == len(task.metrics)


def test_answers_and_their_filters_agree(asked):
    """Greedy answers, cut at the stop; each filter pipeline has an exact match of its own."""
    task, outcomes = asked["generate"]
    for outcome in outcomes:
        expected = EXPECTED["generate"]["items"][outcome.item.item_id.rpartition("/")[2]]["responses"]
        assert outcome.answer == expected[0]
    found = find({"g": {"m": outcomes}}, wanted={"g": task.metrics})
    assert task.metrics == ("task_exact_match", "task_exact_match_2")
    for metric, pipeline in zip(task.metrics, ("words", "stripped"), strict=True):
        value = EXPECTED["generate"]["metrics"][f"exact_match,{pipeline}"]
        assert found.score("g", metric, "m").value == pytest.approx(value)


def test_a_group_asks_all_its_tasks_and_an_include_is_followed():
    """Items say which task they are of."""
    text = "group: all\ntask:\n  - choice\n  - {include: cloze.yaml, task: second}\n"
    task = read_task(text, DATA, "all")
    assert {item.attributes["task"] for item in task.items} == {"sartor_choice", "second"}
    assert {item.kind for item in task.items} == {ItemKind.CHOICE, ItemKind.CLOZE}


def _changed(name="choice", **changes):
    import yaml

    return yaml.safe_dump({**yaml.safe_load((HERE / f"{name}.yaml").read_text("utf-8")), **changes})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: [", "not YAML"),
        ("- a", "mapping"),
        ("doc_to_text: !function tools.text", "code is not run"),
        (_changed(process_docs="x"), "process_docs cannot be run"),
        (_changed(dataset_path="super_glue"), "only local data"),
        (_changed(dataset_kwargs={"data_files": {"test": "gone.jsonl"}}), "'gone.jsonl'"),
        (_changed(metric_list=[{"metric": "mcc"}]), "'mcc' is not known"),
        (_changed(doc_to_text="{{missing}}"), "cannot be filled in"),
        (_changed(doc_to_text="{{ ''.__class__.__mro__ }}"), "cannot be filled in"),
        (_changed(doc_to_text="{{ 'x' * 100000000 }}"), "cannot be filled in"),
        (_changed(num_fewshot=99), "99 examples of 12"),
        (_changed(output_type="poem"), "output_type"),
        (_changed("generate", generation_kwargs={"do_sample": True}), "greedy"),
        (_changed("generate", filter_list=[{"filter": [{"function": "magic"}]}]), "'magic' is not known"),
    ],
)
def test_what_cannot_be_run_as_it_is_is_refused(text, words):
    """Never another task than the one that was asked for."""
    with pytest.raises(BadTaskFile, match=words):
        read_task(text, DATA, "s")
