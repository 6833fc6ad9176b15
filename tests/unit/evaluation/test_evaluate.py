"""The work of a job with a real, tiny model: base, searched prompt and tuned version over a curated test
split.
"""

import json
from pathlib import Path

import pytest
import torch
from sartor_datasets.reference_outputs import read_reference_outputs
from sartor_evaluation.evaluate import evaluate
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora, save_adapter
from sartor_models.load import load_model, load_tokenizer
from sartor_models.merge import merge_into
from sartor_models.scoring import ScoreItem, score
from sartor_platform.errors import InvalidArgument

from tests.tiny_model import make_tiny_model
from tests.unit.evaluation.curated import write_curated


class _Progress:
    def __init__(self):
        self.seen = []

    def __call__(self, fraction, *, stage="", eta_seconds=None, message="", **figures):
        self.seen.append((fraction, stage, figures))

    def send(self, message):
        assert message["type"] == "finished"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "base", context=768)


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """An adapter with weights that change something."""
    model = add_lora(load_model(base, torch.float32), LoraAdapter(rank=4, alpha=8), seed=3)
    for weight in adapter_weights(model).values():
        torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(1))
    folder = tmp_path_factory.mktemp("tiny") / "adapter"
    save_adapter(folder, LoraAdapter(rank=4, alpha=8), adapter_weights(model), base_model="tiny")
    return folder


def _task(base, adapter, curated, **changes):
    return {
        "candidates": [
            {"id": "base", "model": "model-0", "shots": 0},
            {"id": "prompted", "model": "model-0", "shots": -1},
            {"id": "tuned", "model": "model-1", "shots": 0},
        ],
        "models": {
            "model-0": {"name": "projects/p/baseModels/tiny", "base": str(base), "version": ""},
            "model-1": {"name": "projects/p/models/m/versions/1", "base": str(base), "version": str(adapter)},
        },
        "curated": str(curated),
        "items": "",
        "general_suite": "builtin",
        "max_items": 0,
        "few_shot": {"shots": [1], "choices": ["fixed", "diverse", "retrieved"], "items": 4},
        "rules": [_rule("loss", "nothing", at_most=100.0), _rule("token_f1", "prompted", at_least=0.5)],
        "reference_candidate": "tuned",
        "about": {"evaluation": "projects/p/evaluations/e", "curation": "projects/p/curations/c"},
        **changes,
    }


def _rule(metric, compared_to, at_least=None, at_most=None):
    return {
        "metric": metric,
        "suite": "held_out",
        "compared_to": compared_to,
        "at_least": at_least,
        "at_most": at_most,
        "bound": "",
    }


@pytest.fixture(scope="module")
def evaluated(base, adapter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    curated = write_curated(folder / "curated")
    progress = _Progress()
    return evaluate(_task(base, adapter, curated), folder, progress), progress, curated


def test_every_candidate_is_scored_on_every_suite_it_takes(evaluated):
    """Answers and labels for three candidates; the general suite for those without examples."""
    result, progress, _ = evaluated
    scores = {(s["suite"], s["metric"], s["candidate"]): s["estimate"] for s in result["findings"]["scores"]}
    for candidate in ("base", "prompted", "tuned"):
        assert scores["held_out", "token_f1", candidate]["items"] == 7
        assert scores["held_out", "label_accuracy", candidate]["items"] == 3
        assert scores["held_out", "perplexity", candidate]["value"] > 1
    assert scores["general", "choice_accuracy", "tuned"]["items"] == 48
    assert ("general", "choice_accuracy", "prompted") not in scores
    fractions = [fraction for fraction, _, _ in progress.seen]
    assert fractions == sorted(fractions)
    assert "score_base" in progress.seen[-2][2]


def test_the_gate_is_judged_with_every_rules_numbers(evaluated):
    """An untrained model's loss is below 100; its answers are not half a point better than the prompt's."""
    result, _, _ = evaluated
    verdict = result["findings"]["verdict"]
    assert not verdict["passed"]
    assert [rule["passed"] for rule in verdict["rules"]] == [True, False]
    assert verdict["rules"][1]["estimate"]["items"] == 7


def test_reports_and_results_are_written(evaluated):
    """The page names the search; the JSON lines have every suite, candidate and item once."""
    result, _, _ = evaluated
    report = json.loads(Path(result["report"]).read_text("utf-8"))
    assert len(report["candidates"][1]["search"]["tried"]) == 3
    assert "How the prompt of prompted was found" in Path(result["report_page"]).read_text("utf-8")
    lines = [json.loads(line) for line in Path(result["item_results"]).read_text("utf-8").splitlines()]
    assert len(lines) == 3 * 10 + 2 * 48
    assert len({(line["suite"], line["candidate"], line["item_id"]) for line in lines}) == len(lines)


def test_reference_outputs_are_what_the_merged_model_says(evaluated, base, adapter):
    """Recomputed one by one in another way: the same tokens, top-1 tokens and loss."""
    result, _, _ = evaluated
    name, outputs = read_reference_outputs(Path(result["reference_outputs"]))
    assert name == "projects/p/models/m/versions/1"
    assert len(outputs) == 10
    model, tokenizer = load_model(base), load_tokenizer(base)
    merge_into(model, adapter)
    agreeing = total = 0
    for output in outputs:
        [expected] = score(model, [ScoreItem(output.prompt_token_ids, output.answer_token_ids)])
        assert output.answer_loss_sum == pytest.approx(-expected.log_likelihood, rel=0.02)
        agreeing += sum(a == b for a, b in zip(output.top1_token_ids, expected.top1_ids, strict=True))
        total += len(expected.top1_ids)
        assert tokenizer.decode(output.answer_token_ids) == output.answer
    assert agreeing / total > 0.9


def test_a_second_run_finds_the_same(base, adapter, tmp_path, evaluated):
    """Greedy and seeded: nothing is left to chance."""
    again = evaluate(_task(base, adapter, evaluated[2]), tmp_path, _Progress())
    assert again["findings"] == evaluated[0]["findings"]


def test_items_of_a_client_need_no_curation(base, adapter, tmp_path):
    """Inline items, one model, no gate: scores without verdict."""
    items = tmp_path / "items.jsonl"
    rows = [{"id": str(i), "prompt": f"Question {i}?", "reference": "Yes."} for i in range(4)]
    items.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    task = _task(base, adapter, "", items=str(items), rules=[], reference_candidate="", general_suite="")
    task |= {"curated": "", "candidates": task["candidates"][:1]}
    result = evaluate(task, tmp_path, _Progress())
    assert result["reference_outputs"] == ""
    assert result["findings"]["verdict"] is None
    assert {s["candidate"] for s in result["findings"]["scores"]} == {"base"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "suite is empty"),
        ("nonsense", "line 1 is not JSON"),
        ('{"prompt": "x"}', "neither reference nor label"),
    ],
)
def test_unusable_items_are_told_clearly(base, adapter, tmp_path, lines, words):
    """A permanent failure that names the fault, not a stack trace."""
    items = tmp_path / "items.jsonl"
    items.write_text(lines, "utf-8")
    with pytest.raises(InvalidArgument, match=words):
        evaluate(_task(base, adapter, "", items=str(items)), tmp_path, _Progress())


def test_items_longer_than_the_context_are_left_out_and_counted(base, adapter, tmp_path):
    """They could not be asked of every model; if none is left that is an error."""
    items = tmp_path / "items.jsonl"
    rows = [
        {"id": "a", "prompt": "Short?", "reference": "Yes."},
        {"id": "b", "prompt": "x" * 9000, "reference": "No."},
    ]
    items.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    task = _task(base, adapter, "", items=str(items), rules=[], general_suite="")
    task["candidates"] = task["candidates"][:1]
    result = evaluate(task, tmp_path, _Progress())
    report = json.loads(Path(result["report"]).read_text("utf-8"))
    assert report["items_too_long"] == ["b"]
    assert report["suites"]["held_out"]["items"] == 1
