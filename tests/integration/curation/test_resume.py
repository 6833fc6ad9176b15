"""A curation whose child is killed goes on from the shards that were done."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import psutil
import pytest
from sartor.common.v1 import job_status_pb2
from sartor_curation import store
from sartor_datasets.records import Record
from sartor_platform.database import Database

from tests.conftest import Servers
from tests.integration.curation.conftest import Curation, eventually, running
from tests.unit.curation.desk import chat

SHARDS = 40
ROWS = 150
WORDS = ("kettle", "lamp", "tent", "violin", "ladder", "mirror", "carpet", "globe", "drill", "wallet")


@pytest.fixture(scope="module")
def curation(fresh_stack: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Curation]:
    """One whose snapshots have shards of a few records, and one process to work on them."""
    yield from running(
        fresh_stack,
        tmp_path_factory.mktemp("resume"),
        {"SARTOR_SHARD_BYTES": "40000", "SARTOR_COMPUTE_PROCESSES": "1"},
    )


@pytest.fixture
def database(fresh_stack: Servers) -> Iterator[Database]:
    database = Database(fresh_stack.database_url, "curation")
    yield database
    database.close()


def records() -> list[Record]:
    """Enough for dozens of shards; no two ask the same."""
    return [
        chat(f"q{n}", f"Question {n}: where does {thing} number {n * 7919} belong?", f"Beside {n * 31} more.")
        for n in range(SHARDS * ROWS)
        for thing in (WORDS[n % len(WORDS)],)
    ]


def test_a_killed_curation_goes_on_from_its_finished_shards(
    curation: Curation, database: Database, unique_name: str
) -> None:
    curation.base_model_ready(unique_name)
    curation.apply(unique_name)
    curation.snapshot_created(unique_name, records())
    name = curation.started(unique_name, 1).name

    def kept() -> int:
        with database.read() as connection:
            return len(store.finished_shards(connection, name))

    eventually(lambda: kept() >= 2, "two finished shards", 60)
    started = psutil.Process(curation.worker_pid).children()
    (child,) = (one for one in started if any("curate_snapshot" in part for part in one.cmdline()))
    os.kill(child.pid, signal.SIGKILL)
    done = curation.finished(name)
    assert done.job.state == job_status_pb2.JOB_STATE_SUCCEEDED, done
    assert done.job.attempt == 2
    assert done.input_count == SHARDS * ROWS

    by_attempt: dict[str, set[str]] = {}
    for key in curation.keys(unique_name):
        if found := re.search(r"/(\d+)-\w+-work/prepared/(\d+)\.tar$", key):
            by_attempt.setdefault(found[1], set()).add(found[2])
    assert len(by_attempt["1"]) >= 2
    assert not by_attempt["1"] & by_attempt["2"]
    assert kept() == 0
