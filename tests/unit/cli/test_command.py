"""The command line: help that teaches, statuses that mean something, never a stack trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sartor.common.v1.job_status_pb2 import JobState
from sartor.deployment.v1.endpoint_pb2 import RevisionState
from sartor_cli.evaluate import parse_candidate, read_items
from sartor_cli.faults import CommandFailed
from sartor_cli.main import COMMANDS, invoke
from sartor_cli.words import revision_word, state_word


@pytest.fixture(autouse=True)
def _no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SARTOR_HOME", raising=False)


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_teaches_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help says what it does and shows how."""
    assert invoke([command, "--help"]) == 0
    assert f"sartor {command}" in capsys.readouterr().out.split("Examples:")[1]


def test_the_command_lists_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """`sartor --help` names every command."""
    assert invoke(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command.name in out for command in COMMANDS)


@pytest.mark.parametrize(
    "argv",
    [
        ["status"],
        ["get", "datasets"],
        ["runs"],
        ["runs", "watch"],
        ["chat", "support", "-m", "hello"],
        ["rollback", "support"],
        ["deploy", "status", "support"],
        ["deploy", "advise", "support", "--answer-tokens", "20", "--data", "device"],
        ["deploy", "manifests", "support", "--out", "never"],
        ["reports"],
    ],
)
def test_without_a_stack_the_next_step_is_named(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 3 means that no stack runs."""
    assert invoke(argv) == 3
    errors = capsys.readouterr().err
    assert "sartor up" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nonsense"], "nonsense"),
        (["get", "curatons"], "did you mean 'curations'?"),
        (["apply", "-f", "missing.yaml"], "missing.yaml cannot be read"),
        (["ingest", "missing.jsonl", "--source", "s"], "There is no file missing.jsonl"),
        (["ingest", "x", "--source", "s", "--format", "xml"], "'xml' is not a format"),
        (["evaluate", "-c", "baseModels/b"], "one of --curation and --items"),
        (["logs", "nothing"], "There is no log of 'nothing'"),
        (["up", "--kafka-log", "disk"], "'disk' is not a place"),
        (["demo", "--example", "nowhere"], "There is no example in nowhere"),
    ],
)
def test_wrong_use_is_told_in_words(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2 means that the command itself has to be mended."""
    assert invoke(argv) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert "Traceback" not in errors


def test_a_faulty_project_file_is_refused_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All faults with their lines, and nothing applied."""
    path = tmp_path / "project.yaml"
    path.write_text("project: X\nsorces: []\ncuration: {name: c}\n")
    assert invoke(["apply", "-f", str(path)]) == 2
    errors = capsys.readouterr().err
    assert f"{path}:1: project: 'X' is not an id" in errors.replace("\n", " ") or "'X' is not an id" in errors
    assert "did you mean 'sources'?" in errors
    assert "4 faults" in errors
    assert "nothing was applied" in errors


def test_a_fault_of_sartor_itself_leaves_its_trace_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user sees one sentence and a path."""
    (tmp_path / ".sartor" / "logs").mkdir(parents=True)
    monkeypatch.setattr("sartor_local.control.status", lambda folder: 1 / 0)
    assert invoke(["status"]) == 1
    errors = capsys.readouterr().err
    assert "ZeroDivisionError" in errors
    assert "Traceback" not in errors
    (trace,) = (tmp_path / ".sartor" / "logs").glob("sartor-error-*.txt")
    assert "Traceback" in trace.read_text()


def test_candidates_are_read_as_people_write_them() -> None:
    """The id, the kind and the number of examples."""
    base = parse_candidate("projects/p", "baseModels/b")
    assert (base.id, base.base_model, base.shots) == ("base", "projects/p/baseModels/b", 0)
    prompted = parse_candidate("projects/p", "baseModels/b@-1")
    assert (prompted.id, prompted.shots) == ("prompted", -1)
    tuned = parse_candidate("projects/p", "mine=models/m/versions/v")
    assert (tuned.id, tuned.model_version) == ("mine", "projects/p/models/m/versions/v")
    for wrong in ("b", "models/m", "baseModels/b@x"):
        with pytest.raises(CommandFailed):
            parse_candidate("projects/p", wrong)


def test_items_with_faults_are_all_named(tmp_path: Path) -> None:
    """Nothing is asked while a line is wrong."""
    path = tmp_path / "items.jsonl"
    rows = [{"prompt": "a", "reference": "b"}, {"question": "a"}, {"prompt": "a", "refernce": "b"}]
    path.write_text("\n".join([*map(json.dumps, rows), "{", "[1]"]))
    with pytest.raises(CommandFailed) as caught:
        read_items(path)
    assert [line.partition(": ")[0].rpartition(":")[2] for line in caught.value.message.splitlines()] == list(
        "2345"
    )
    path.write_text('{"prompt": "a", "reference": "b\u2028c"}\n', "utf-8")
    assert read_items(path)[0].reference == "b\u2028c"


def test_every_state_has_a_word() -> None:
    """A state added to the protos is shown, not crashed on."""
    assert {state_word(value) for value in JobState.values()} >= {"queued", "running", "failed", "unknown"}
    assert revision_word(RevisionState.REVISION_STATE_ROLLED_BACK) == "rolled back"
