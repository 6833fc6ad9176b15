"""What losing attempts left in the object store is swept, and nothing that counts ever is."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from sartor_platform import attempt_sweep
from sartor_platform.attempt_sweep import nothing_named
from sartor_platform.worker import JobContext, JobKind
from sqlalchemy import text

from tests.integration.platform.conftest import Platform, until
from tests.integration.platform.test_jobs import WORK, enqueue, in_state


class Uploads:
    """Each attempt uploads when it begins; then it fails, wins, or waits to be told."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.begun: list[str] = []
        self.won: list[str] = []

    def stage_in(self, context: JobContext) -> Mapping[str, Any]:
        self.begun.append(context.put_bytes(b"half", "half.bin").uri)
        if context.job.attempt <= self.failures:
            raise KeyError("not foreseen")
        return {"number": 1}

    def stage_out(self, context: JobContext, result: dict[str, Any]) -> Any:
        self.won.append(context.put_bytes(b"whole", "whole.bin").uri)
        return lambda tx: None

    def kind(self, name: str = "task") -> JobKind:
        return JobKind(
            name=name, entry=f"{WORK}:double", stage_in=self.stage_in, stage_out=self.stage_out,
            failed=lambda tx, job, reason, message: None, max_attempts=2,
        )  # fmt: skip


def stored(platform: Platform, job_id: str) -> set[str]:
    keys = platform.objects.list_keys(f"p/task/{job_id}/")
    return {platform.objects.uri(key) for key in keys}


@pytest.fixture(autouse=True)
def _bucket(platform: Platform) -> None:
    platform.objects.ensure_bucket()


def test_the_winner_stays_and_the_loser_goes_after_a_grace_time(platform: Platform) -> None:
    """The job's row names the winner's prefix; before the grace time is over nothing is touched."""
    uploads = Uploads(failures=1)
    platform.worker(uploads.kind())
    enqueue(platform, payload={"number": 1})
    done = in_state(platform, "SUCCEEDED")
    assert stored(platform, done.id) == {*uploads.begun, *uploads.won}
    assert attempt_sweep.sweep(platform.runtime, nothing_named, 3600) == 0
    assert attempt_sweep.sweep(platform.runtime, nothing_named, -1) == 1
    assert stored(platform, done.id) == {uploads.begun[1], *uploads.won}
    assert attempt_sweep.sweep(platform.runtime, nothing_named, -1) == 0


def test_a_failed_job_leaves_nothing_but_what_a_row_names(platform: Platform) -> None:
    """A service names what it still needs of an attempt that did not win, such as a checkpoint."""
    uploads = Uploads(failures=2)
    platform.worker(uploads.kind())
    enqueue(platform, payload={"number": 1})
    done = in_state(platform, "FAILED")
    asked: list[str] = []

    def named(_connection: Any, prefix: str) -> list[str]:
        asked.append(prefix)
        return uploads.begun[:1]

    assert attempt_sweep.sweep(platform.runtime, named, -1) == 1
    assert stored(platform, done.id) == {uploads.begun[0]}
    assert asked == [platform.objects.uri(f"p/task/{done.id}/")]


def test_jobs_that_run_and_jobs_of_an_earlier_release_are_left_alone(platform: Platform) -> None:
    """Where nobody knows which attempt has won, everything stays."""
    uploads = Uploads(failures=0)
    platform.worker(uploads.kind())
    enqueue(platform, payload={"number": 1})
    done = in_state(platform, "SUCCEEDED")
    running = platform.objects.put_bytes("p/task/other/1-abc/half.bin", b"half")
    with platform.database.transaction() as tx:
        tx.connection.execute(text("UPDATE jobs SET winner_prefix = ''"))
        tx.connection.execute(
            text("INSERT INTO jobs SELECT (jsonb_populate_record(j, cast(:changes AS jsonb))).* FROM jobs j"),
            {"changes": '{"id": "other", "state": "RUNNING"}'},
        )
        tx.connection.execute(text("UPDATE jobs SET end_time = NULL WHERE id = 'other'"))
    assert attempt_sweep.sweep(platform.runtime, nothing_named, -1) == 0
    assert stored(platform, done.id) == {*uploads.begun, *uploads.won}
    assert stored(platform, "other") == {running.uri}


def test_an_attempt_that_loses_its_job_while_it_uploads_takes_it_back(platform: Platform) -> None:
    """The sweep may be over by then: what comes too late removes itself."""
    uploading, lost = threading.Event(), threading.Event()
    begun: list[str] = []

    def stage_in(context: JobContext) -> Mapping[str, Any]:
        put = platform.objects.put_bytes

        def slow(key: str, data: bytes) -> Any:
            uploading.set()
            assert lost.wait(30)
            begun.append(key)
            return put(key, data)

        context.runtime.objects.put_bytes = slow  # type: ignore[method-assign]
        try:
            context.put_bytes(b"late", "late.bin")
        finally:
            context.runtime.objects.put_bytes = put  # type: ignore[method-assign]
        return {"number": 1}

    uploads = Uploads(failures=0)
    kind = JobKind(
        name="task", entry=f"{WORK}:double", stage_in=stage_in, stage_out=uploads.stage_out,
        failed=lambda tx, job, reason, message: None,
    )  # fmt: skip
    worker = platform.worker(kind)
    enqueue(platform, payload={"number": 1})
    assert uploading.wait(30)
    with platform.database.transaction() as tx:
        assert tx.cancel_job("projects/p/things/t")
    until(lambda: all(attempt.keeper._interrupted.is_set() for attempt in worker._running.values()))
    lost.set()
    done = in_state(platform, "CANCELLED")
    assert begun
    assert stored(platform, done.id) == set()
