"""`sartor dlq` as users run it, on a stack with the ingestion service: poison becomes a record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from sartor_local import control

from tests.conftest import short_folder
from tests.integration.cli.test_sartor_command import PROJECT, sartor, until

RETURNS = (
    PROJECT
    + """\
  - name: returns
    dataset: support
    mapping: {prompt: question, completion: answer, key: id}
"""
)


@pytest.fixture(scope="module")
def running() -> Iterator[Path]:
    path = short_folder("sartor-dlq-")
    try:
        up = sartor(path, "up", "--services", "ingestion")
        assert up.returncode == 0, up.stdout + up.stderr
        (path / "project.yaml").write_text(PROJECT)
        (path / "returns.yaml").write_text(RETURNS)
        applied = sartor(path, "apply", "-f", "project.yaml")
        assert applied.returncode == 0, applied.stdout + applied.stderr
        yield path
    finally:
        sartor(path, "down")
        shutil.rmtree(path, ignore_errors=True)


def publish(home: Path, id_: str, type_: str, data: dict[str, Any]) -> None:
    stack = control.status(home / "stack")
    assert stack is not None
    producer = KafkaProducer(bootstrap_servers=stack.environment["SARTOR_KAFKA_BOOTSTRAP_SERVERS"])
    headers = {"ce_specversion": "1.0", "ce_id": id_, "ce_source": "/shop", "ce_type": type_}
    producer.send(
        "sartor.data", key=b"k", value=json.dumps(data).encode(),
        headers=[(name, text.encode()) for name, text in headers.items()],
    ).get(timeout=20)  # fmt: skip
    producer.close()


def listed(home: Path, *options: str) -> list[dict[str, Any]]:
    done = sartor(home, "dlq", "list", "-o", "json", *options)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_poison_is_shown_mended_and_replayed(running: Path) -> None:
    """An event of an unknown source waits until the source is applied; then it is replayed, once."""
    records = [{"id": "1", "question": "Where is my parcel?", "answer": "On its way."}]
    publish(
        running, "e-1", "sartor.ingestion.v1.RecordsPublished",
        {"source": "projects/shop/sources/returns", "records": records},
    )  # fmt: skip
    until(lambda: bool(listed(running)))
    (letter,) = listed(running, "--service", "ingestion", "--topic", "sartor.data")
    assert letter["state"] == "DEAD_LETTER_STATE_OPEN"
    assert listed(running, "--reason", letter["reason"])
    id_ = letter["name"].rpartition("/")[2]
    shown = json.loads(sartor(running, "dlq", "show", id_, "-o", "json").stdout)
    assert json.loads(shown["value"])["records"] == records
    assert {"key": "ce_id", "value": "e-1"} in shown["headers"]
    until(lambda: "1 open dead letters" in sartor(running, "status").stdout)  # which does not wait for it
    still = sartor(running, "dlq", "replay", id_)
    assert still.returncode == 1
    assert letter["reason"] in still.stdout
    applied = sartor(running, "apply", "-f", "returns.yaml")
    assert applied.returncode == 0, applied.stderr
    done = sartor(running, "dlq", "replay", "--all", "--reason", letter["reason"])
    assert (done.returncode, "replayed" in done.stdout) == (0, True), done.stdout + done.stderr
    assert not listed(running)
    dataset = json.loads(sartor(running, "get", "datasets", "-o", "json").stdout)[0]
    assert int(dataset.get("record_count", 0)) + int(dataset.get("pending_count", 0)) == 1, dataset
    again = sartor(running, "dlq", "replay", id_)
    assert (again.returncode, "replayed already" in again.stdout) == (0, True)
    assert sartor(running, "dlq", "drop", id_).returncode == 1


def test_what_is_dropped_is_gone_and_what_is_not_there_is_said(running: Path) -> None:
    """Dropping needs a name or a choice; a wrong one is told in words."""
    publish(running, "e-2", "com.example.Nothing", {})
    until(lambda: bool(listed(running)))
    done = sartor(running, "dlq", "drop", "--all", "--reason", "UNKNOWN_EVENT_TYPE", "--yes", "-o", "yaml")
    assert (done.returncode, "DROPPED" in done.stdout) == (0, True), done.stderr
    assert [each["event_id"] for each in listed(running, "--state", "dropped")] == ["e-2"]
    for argv, status, words in (
        (["dlq", "drop"], 2, "sartor dlq list"),
        (["dlq", "show", "nothing"], 1, "No service has"),
        (["dlq", "list", "--service", "cooking"], 2, "ingestion"),
    ):
        failed = sartor(running, *argv)
        assert failed.returncode == status
        assert words in failed.stderr
        assert "Traceback" not in failed.stderr
