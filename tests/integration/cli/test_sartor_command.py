"""The `sartor` command as users run it: a process of its own, on a stack with the ingestion service."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sartor_local import control
from sartor_local.folder import DataFolder
from sartor_local.process import is_alive
from sartor_local.state import StackPhase, read_state

from tests.conftest import short_folder

PROJECT = """\
project: shop
sources:
  - name: tickets
    dataset: support
    mapping: {prompt: question, completion: answer, key: id}
    snapshot: {at_records: 1000}
"""


def sartor(home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sartor_cli", *argv],
        env=environment(home), cwd=home, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def begin(home: Path, *argv: str) -> subprocess.Popen[str]:
    """As from a terminal: where the tests run in the background, their shell has them ignore Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-m", "sartor_cli", *argv],
        env=environment(home), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SARTOR_")}
    return kept | {"SARTOR_HOME": str(home / "stack")}


def until(met: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def home() -> Iterator[Path]:
    path = short_folder("sartor-command-")
    yield path
    sartor(path, "down")
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def running() -> Iterator[Path]:
    path = short_folder("sartor-command-")
    try:
        up = sartor(path, "up", "--services", "ingestion")
        assert up.returncode == 0, up.stdout + up.stderr
        (path / "project.yaml").write_text(PROJECT)
        applied = sartor(path, "apply", "-f", "project.yaml")
        assert applied.returncode == 0, applied.stdout + applied.stderr
        yield path
    finally:
        sartor(path, "down")
        shutil.rmtree(path, ignore_errors=True)


def test_a_second_up_finds_the_first_and_says_so(running: Path) -> None:
    """Nothing is started twice."""
    again = sartor(running, "up")
    assert again.returncode == 0
    assert "already running" in again.stdout
    status = json.loads(sartor(running, "status", "-o", "json").stdout)
    assert [each["name"] for each in status["processes"]] == [
        "postgres", "seaweed", "tansu", "ingestion-server", "ingestion-worker",
    ]  # fmt: skip


def test_a_file_is_ingested_and_its_rejected_rows_are_shown(running: Path) -> None:
    """Malformed JSON and a row without the mapped field lose nothing else."""
    rows = [
        '{"id": "1", "question": "Why?", "answer": "Because."}',
        "{broken",
        '{"id": "2", "question": "How?"}',
    ]
    (running / "rows.jsonl").write_text("\n".join(rows))
    done = sartor(running, "ingest", "rows.jsonl", "--source", "tickets")
    assert done.returncode == 0, done.stderr
    assert "1 accepted, 2 rejected" in done.stdout
    assert "#2" in done.stdout
    datasets = json.loads(sartor(running, "get", "datasets", "-o", "json").stdout)
    assert datasets[0]["name"] == "projects/shop/datasets/support"
    assert int(datasets[0]["rejected_count"]) == 2
    source = sartor(running, "get", "sources", "tickets", "-o", "yaml").stdout
    assert "name: projects/shop/sources/tickets" in source


def test_a_preview_shows_a_file_and_keeps_nothing(running: Path) -> None:
    """Format, shape, a mapping that would fit, and the first records."""
    (running / "faq.csv").write_bytes("nr;frage;antwort\n1;Öffnungszeiten?;Bis 18 Uhr.\n".encode("cp1252"))
    before = sartor(running, "get", "datasets", "-o", "json").stdout
    done = sartor(running, "ingest", "faq.csv", "--source", "tickets", "--preview")
    assert done.returncode == 0, done.stderr
    for words in ("csv", "cp1252", "semicolon", "prompt: frage", "Öffnungszeiten?", "Nothing was kept"):
        assert words in done.stdout
    assert sartor(running, "get", "datasets", "-o", "json").stdout == before


def test_a_record_is_traced_from_its_file_to_its_snapshots(running: Path) -> None:
    """Services that do not run here are named, not guessed."""
    (running / "traced.jsonl").write_text('{"id": "T-1", "question": "When?", "answer": "Now."}')
    assert sartor(running, "ingest", "traced.jsonl", "--source", "tickets").returncode == 0
    waiting = json.loads(sartor(running, "trace", "T-1", "-o", "json").stdout)
    assert waiting["records"][0]["state"] == "PENDING"
    assert sartor(running, "snapshot", "support").returncode == 0

    def sealed() -> bool:
        return (
            "projects/shop/datasets/support/snapshots/"
            in sartor(running, "trace", "T-1", "-o", "json").stdout
        )

    until(sealed)
    done = sartor(running, "trace", "T-1")
    for words in ("traced.jsonl, row 1", "live", "Not asked, for they do not run here: curation"):
        assert words in done.stdout
    unknown = sartor(running, "trace", "--subject", "nobody")
    assert unknown.returncode == 1
    assert "Nothing in projects/shop is about" in unknown.stderr


def test_faults_found_by_a_service_are_reported_with_their_lines(running: Path) -> None:
    """The file and the services are asked before anything is written."""
    bad = PROJECT.replace("shop", "other").replace("key: id", "key: id, attributes: [id, id]")
    bad = bad.replace("at_records: 1000", "at_records: -5")
    (running / "bad.yaml").write_text(bad + "nonsense: 1\n")
    done = sartor(running, "apply", "-f", "bad.yaml")
    assert done.returncode == 2
    assert "unknown key 'nonsense'" in done.stderr
    assert "bad.yaml:6: sources[0].snapshot.at_records" in done.stderr
    assert "nothing was applied" in done.stderr
    assert "projects/other" not in sartor(running, "get", "projects", "-o", "json").stdout


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["ingest", "project.yaml", "--source", "nothing"], "SOURCE_NOT_FOUND"),
        (["ingest", "project.yaml", "--source", "Bad_Name"], "BAD_RESOURCE_NAME"),
        (["get", "datasets", "nothing"], "sartor get KIND"),
        (["get", "evaluations"], "evaluation service is not part of this stack"),
    ],
)
def test_what_a_service_refuses_is_told_in_words(running: Path, argv: list[str], words: str) -> None:
    """No stack trace reaches a user."""
    done = sartor(running, *argv)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_interrupting_a_start_leaves_nothing_running(home: Path) -> None:
    """Ctrl-C while the stack starts stops what was started."""
    process = begin(home, "up", "--services", "ingestion")
    folder = DataFolder(home / "stack")

    def begun() -> bool:
        state = read_state(folder)
        return state is not None and bool(state.identities())

    until(begun)
    state = read_state(folder)
    assert state is not None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert control.status(folder.root) is None
    assert not any(is_alive(identity) for identity in state.identities())


def test_a_stack_in_the_foreground_stops_on_ctrl_c(home: Path) -> None:
    """And only then."""
    process = begin(home, "up", "--foreground", "--services", "ingestion")
    folder = DataFolder(home / "stack")

    def ready() -> bool:
        assert process.poll() is None
        state = control.status(folder.root)
        return state is not None and state.phase is StackPhase.READY

    until(ready)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Everything has stopped." in output
    assert control.status(folder.root) is None
