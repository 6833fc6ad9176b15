"""Facts about data contracts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from sartor.ingestion.v1 import source_pb2
from sartor_cli.project_file import parse_project_file
from sartor_ingestion import service_messages
from sartor_ingestion.contract import Contract, FieldRule
from sartor_ingestion.resources import SourceSpec, check_source

PAGE = (Path(__file__).parents[3] / "docs" / "formats-and-sources.md").read_text("utf-8")
SNIPPETS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def broken(rule: FieldRule, row: dict[str, Any]) -> list[str]:
    return [breach.rule for breach in Contract(fields=(rule,)).breaches(row, "label")]


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("text", ["", "a"], [1, [], True]),
        ("integer", [1, "7", 2.0, "-3"], [1.5, "x", True, "1.5", "nan"]),
        ("number", [1, 1.5, "2.5e3"], ["x", True, []]),
        ("boolean", [True, "false", "1", 0], ["maybe", 2]),
        ("time", ["2026-11-23", "2026-11-23T10:00:00Z"], ["yesterday", 5]),
        ("list", [[], [1]], ["a", {}]),
        ("object", [{}, {"a": 1}], [[], "a"]),
    ],
)
def test_a_type_takes_what_reads_as_it(type_: str, good: list[Any], bad: list[Any]) -> None:
    rule = FieldRule(field="f", type=type_)
    assert [value for value in good if broken(rule, {"f": value})] == []
    assert [value for value in bad if not broken(rule, {"f": value})] == []


@pytest.mark.parametrize(
    ("rule", "row", "expected"),
    [
        (FieldRule(field="f", required=True), {}, ["f.required"]),
        (FieldRule(field="f", required=True), {"f": ""}, ["f.required"]),
        (FieldRule(field="f", at_least=0), {}, []),
        (FieldRule(field="f", at_least=0, at_most=1), {"f": "2"}, ["f.at_most"]),
        (FieldRule(field="f", at_least=0), {"f": float("nan")}, ["f.at_least"]),
        (FieldRule(field="f", at_least=0), {"f": "x"}, ["f.type"]),
        (FieldRule(field="a.b", required=True), {"a": {"b": 1}}, []),
        (FieldRule(field="a.b", required=True), {"a": "no object"}, ["a.b.required"]),
        (FieldRule(field="a.b", required=True), {"a.b": 1}, []),
        (FieldRule(field="f", allowed=("1", "x")), {"f": 1}, []),
        (FieldRule(field="f", min_characters=2, max_characters=3), {"f": "a"}, ["f.min_characters"]),
        (FieldRule(field="f", min_characters=2, max_characters=3), {"f": "abcd"}, ["f.max_characters"]),
    ],
)
def test_a_rule_is_broken_only_by_what_it_says(
    rule: FieldRule, row: dict[str, Any], expected: list[str]
) -> None:
    assert broken(rule, row) == expected


def test_every_label_of_several_must_be_allowed() -> None:
    contract = Contract(labels=("a", "b"))
    values = ("a", ["a", "b"], ["a", "c"], "c")
    counts = [len(list(contract.breaches({"label": value}, "label"))) for value in values]
    assert counts == [0, 0, 1, 1]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_pages_snippets_are_sources_that_a_service_takes(snippet: str) -> None:
    (part,) = parse_project_file(f"project: p\n{snippet}", Path("project.yaml")).parts
    message = ParseDict(dict(part.values), source_pb2.Source())
    spec = service_messages.source_spec(message)
    check_source(message.name, spec)
    assert SourceSpec.from_json(spec.to_json()) == spec
    assert service_messages.source_spec(service_messages.source_message(message.name, spec)) == spec
