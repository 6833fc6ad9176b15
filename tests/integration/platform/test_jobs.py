"""Jobs: claimed, run in a child, cancelled, retried, fenced, on the real database and object store."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from sartor_platform import job_leases
from sartor_platform.errors import InvalidArgument, NotReady, Unavailable
from sartor_platform.job_leases import LeaseLost
from sartor_platform.jobs import Job, job_of, job_status
from sartor_platform.worker import JobContext, JobKind
from sartor_platform.worker_identity import own_identity
from sqlalchemy import text

from tests.integration.platform.conftest import Platform, until

WORK = "tests.integration.platform.work"


class Outcomes:
    """A job kind whose outcomes are written to the log of the test and to the database."""

    def __init__(self, folder: Path) -> None:
        self.go = folder / "go"
        self.failed: list[tuple[str, str, str]] = []
        self.accepted: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.folders: list[Path] = []

    def stage_in(self, context: JobContext) -> Mapping[str, Any]:
        self.folders.append(context.folder)
        return {**context.job.payload, "attempt": context.job.attempt, "go": str(self.go)}

    def stage_out(self, context: JobContext, result: dict[str, Any]) -> Any:
        def accept(tx: Any) -> None:
            self.accepted.append(result)
            tx.enqueue("next", resource=context.job.resource + "/next", project="p")

        return accept

    def fail(self, tx: Any, job: Job, reason: str, message: str) -> None:
        self.failed.append((job.resource, reason, message))

    def message(self, context: JobContext, message: dict[str, Any]) -> None:
        self.messages.append(message)

    def kind(self, entry: str, **changes: Any) -> JobKind:
        kind = JobKind(
            name="task",
            entry=f"{WORK}:{entry}",
            stage_in=self.stage_in,
            stage_out=self.stage_out,
            failed=self.fail,
            on_message=self.message,
            lease_seconds=3.0,
        )
        return replace(kind, **changes)


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return Outcomes(tmp_path)


def enqueue(platform: Platform, resource: str = "projects/p/things/t", **values: Any) -> str:
    with platform.database.transaction() as tx:
        return tx.enqueue("task", resource=resource, **{"project": "p", **values})


def job(platform: Platform, resource: str = "projects/p/things/t") -> Job:
    with platform.database.read() as connection:
        found = job_of(connection, resource)
    assert found is not None
    return found


def in_state(platform: Platform, state: str, resource: str = "projects/p/things/t") -> Job:
    until(lambda: job(platform, resource).state == state)
    return job(platform, resource)


def claim(platform: Platform, seconds: float = 30.0) -> job_leases.Lease | None:
    with platform.database.transaction() as tx:
        return job_leases.claim(tx, {"task": seconds}, owner="test")


def test_a_job_runs_in_a_child_and_its_result_is_accepted_once(
    platform: Platform, outcomes: Outcomes
) -> None:
    """The result, what follows from it and the state are one transaction; messages arrive on the way."""
    platform.worker(outcomes.kind("double"))
    enqueue(platform, payload={"number": 21}, run="run-1")
    done = in_state(platform, "SUCCEEDED")
    assert outcomes.accepted == [{"number": 42}]
    assert outcomes.messages == [{"type": "checkpoint", "step": 1}]
    assert (done.attempt, done.run, done.start_time is not None) == (1, "run-1", True)
    assert job(platform, "projects/p/things/t/next").state == "QUEUED"
    until(lambda: not outcomes.folders[0].exists())
    status = job_status(done)
    assert status.progress.fraction == 1.0
    assert status.attempt == 1
    assert status.HasField("end_time")


def test_a_child_sees_no_credentials(
    platform: Platform, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the environment that names or opens a server reaches the work."""
    for name in ("SARTOR_S3_SECRET_KEY", "SARTOR_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "secret-value")
    platform.worker(outcomes.kind("environment"))
    enqueue(platform)
    in_state(platform, "SUCCEEDED")
    (result,) = outcomes.accepted
    assert "secret-value" not in str(result["environment"])
    assert result["cwd"] == result["folder"]
    assert result["folder"] not in result["path"]


def test_a_killed_child_is_tried_again(platform: Platform, outcomes: Outcomes) -> None:
    """The second attempt finds a folder of its own and succeeds."""
    platform.worker(outcomes.kind("die_once"))
    enqueue(platform)
    assert in_state(platform, "SUCCEEDED").attempt == 2
    assert len(set(outcomes.folders)) == 2
    assert outcomes.failed == []


def test_attempts_end_with_the_reason_and_without_a_trace(platform: Platform, outcomes: Outcomes) -> None:
    """An unforeseen error is retried up to the limit; users see no stack trace."""
    platform.worker(outcomes.kind("crash", max_attempts=2))
    enqueue(platform)
    failed = in_state(platform, "FAILED")
    assert (failed.attempt, failed.error_reason) == (2, "INTERNAL")
    assert "Traceback" not in failed.error_message
    assert [reason for _, reason, _ in outcomes.failed] == ["INTERNAL"]


def test_a_permanent_failure_is_not_tried_again(platform: Platform, outcomes: Outcomes) -> None:
    """What the work says of it arrives as it was said."""
    platform.worker(outcomes.kind("refuse"))
    enqueue(platform)
    failed = in_state(platform, "FAILED")
    assert failed.attempt == 1
    assert (failed.error_reason, failed.error_message) == ("NO_ROWS", "the rows are all empty; send others")
    assert outcomes.failed == [("projects/p/things/t", "NO_ROWS", "the rows are all empty; send others")]
    assert job_status(failed).error.reason == "NO_ROWS"


def test_staging_failures_keep_their_reasons(platform: Platform, outcomes: Outcomes) -> None:
    """A SartorError of the parent fails the job for good too."""

    def stage_in(_context: JobContext) -> Mapping[str, Any]:
        raise InvalidArgument("no such base model", reason="UNKNOWN_BASE_MODEL")

    platform.worker(outcomes.kind("double", stage_in=stage_in))
    enqueue(platform)
    assert in_state(platform, "FAILED").error_reason == "UNKNOWN_BASE_MODEL"


def test_a_job_that_is_not_ready_waits_without_counting_attempts(
    platform: Platform, outcomes: Outcomes
) -> None:
    """NotReady asks again later; an outage of a server is waited out in place."""
    asked: list[int] = []

    def stage_in(context: JobContext) -> Mapping[str, Any]:
        asked.append(context.job.attempt)
        if len(asked) < 4:
            raise NotReady(0.05, "the base model is not there yet")
        if len(asked) == 4:
            raise Unavailable("the store is away")
        return {"number": 1}

    platform.worker(outcomes.kind("double", stage_in=stage_in, max_attempts=1))
    enqueue(platform)
    assert in_state(platform, "SUCCEEDED").attempt == 1
    assert asked == [1, 1, 1, 1, 1]


def test_cancel_kills_the_child_and_all_it_started(platform: Platform, outcomes: Outcomes) -> None:
    """CANCELLING, then nothing of the child lives, then CANCELLED, and the service is told."""
    platform.worker(outcomes.kind("wait"))
    enqueue(platform)
    until(lambda: outcomes.messages)
    pids = outcomes.messages[0]["pids"]
    assert all(psutil.pid_exists(pid) for pid in pids)
    with platform.database.transaction() as tx:
        assert tx.cancel_job("projects/p/things/t")
    in_state(platform, "CANCELLED")
    until(lambda: not any(_alive(pid) for pid in pids))
    assert outcomes.failed == [("projects/p/things/t", "CANCELLED", "cancelled by request")]
    assert outcomes.accepted == []
    with platform.database.transaction() as tx:
        assert not tx.cancel_job("projects/p/things/t")


def test_a_queued_job_is_cancelled_though_every_slot_is_busy(platform: Platform, outcomes: Outcomes) -> None:
    """Ending what nobody works on needs no slot."""
    platform.worker(outcomes.kind("wait"))
    enqueue(platform)
    until(lambda: outcomes.messages)
    enqueue(platform, "projects/p/things/second")
    with platform.database.transaction() as tx:
        tx.cancel_job("projects/p/things/second")
    in_state(platform, "CANCELLED", "projects/p/things/second")
    assert job(platform).state == "RUNNING"
    outcomes.go.touch()
    in_state(platform, "SUCCEEDED")


def test_a_job_past_its_deadline_fails(platform: Platform, outcomes: Outcomes) -> None:
    """Whether it waits or runs."""
    enqueue(platform, "projects/p/things/late", deadline=datetime.now(UTC) - timedelta(seconds=1))
    enqueue(platform, deadline=datetime.now(UTC) + timedelta(seconds=2))
    platform.worker(outcomes.kind("wait", lease_seconds=1.0))
    assert in_state(platform, "FAILED", "projects/p/things/late").error_reason == "DEADLINE_EXCEEDED"
    assert in_state(platform, "FAILED").error_reason == "DEADLINE_EXCEEDED"


def test_a_zombie_attempts_result_is_discarded(platform: Platform, outcomes: Outcomes) -> None:
    """The lease of an attempt is taken while it works: its child is killed and nothing of it counts."""
    platform.worker(outcomes.kind("wait"))
    enqueue(platform)
    until(lambda: outcomes.messages)
    with platform.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE jobs SET lease_token = 'another', lease_until = now() + interval '1 hour'"
        )
    until(lambda: not any(_alive(pid) for pid in outcomes.messages[0]["pids"]))
    outcomes.go.touch()
    assert job(platform).state == "RUNNING"
    assert outcomes.accepted == []
    assert outcomes.failed == []


def test_only_the_lease_holder_may_change_a_job(platform: Platform) -> None:
    """An old lease renews nothing, reports nothing, finishes nothing, gives nothing back."""
    enqueue(platform)
    old = claim(platform, seconds=0.0)
    new = claim(platform)
    assert old is not None
    assert new is not None
    assert new.job.attempt == 2
    with platform.database.transaction() as tx:
        job_leases.report(tx, old, {"fraction": 0.9})
        job_leases.requeue(tx, old, after_seconds=0, counted=False)
        for attempt in (job_leases.lock, lambda tx, lease: job_leases.renew(tx.connection, lease)):
            with pytest.raises(LeaseLost):
                attempt(tx, old)
        assert job_leases.renew(tx.connection, new) == "RUNNING"
    assert job(platform).progress == {}
    assert job(platform).state == "RUNNING"


def test_fifty_workers_claim_each_job_once(platform: Platform) -> None:
    """SKIP LOCKED gives every job to one of them."""
    for number in range(30):
        enqueue(platform, f"projects/p/things/{number}")
    claimed: list[str] = []

    def work() -> None:
        while (lease := claim(platform)) is not None:
            claimed.append(lease.job.id)

    threads = [threading.Thread(target=work) for _ in range(15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 30
    assert len(set(claimed)) == 30


def test_priority_comes_first_then_projects_take_turns(platform: Platform) -> None:
    """A project with many jobs does not keep another waiting; jobs for other devices and later times stay."""
    for number in range(3):
        enqueue(platform, f"a{number}", project="a")
    enqueue(platform, "b0", project="b")
    enqueue(platform, "urgent", project="a", priority=5)
    enqueue(platform, "gpu", project="c", requirements={"device": "cuda"}, priority=9)
    enqueue(platform, "later", project="c", not_before=datetime.now(UTC) + timedelta(hours=1), priority=9)
    order = []
    while (lease := claim(platform)) is not None:
        order.append(lease.job.resource)
    assert order == ["urgent", "b0", "a0", "a1", "a2"]


def test_ten_thousand_queued_jobs_delay_no_other_project(platform: Platform) -> None:
    """Projects take turns one by one, also with a single slot; a claim does not read the whole queue."""
    with platform.database.transaction() as tx:
        tx.connection.execute(
            text(
                "INSERT INTO jobs (id, kind, resource, project, run, generation, revision, parent, payload,"
                " priority, requirements, traceparent, state, create_time) SELECT 'j' || n, 'task', 'a' || n,"
                " 'a', '', 0, 0, '', '{}', 0, '{}', '', 'QUEUED', now() - interval '1 day'"
                " FROM generate_series(1, 10000) n"
            )
        )
        tx.connection.execute(text("ANALYZE jobs"))
    for name in ("b0", "b1", "c0"):
        enqueue(platform, name, project=name[0])
    with platform.database.transaction() as tx:
        values = {"kinds": ["task"], "devices": ["cpu"], "token": "t", "owner": "o", "lease_seconds": 1}
        plan = tx.connection.execute(
            text(f"EXPLAIN (ANALYZE, FORMAT JSON) {job_leases._CLAIM.text}"), values
        ).scalar_one()
        assert max(rows_read(plan[0]["Plan"])) < 1000
        tx.connection.execute(
            text("UPDATE jobs SET state = 'QUEUED', start_time = NULL WHERE lease_token = 't'")
        )
    order = []
    for _ in range(6):
        lease = claim(platform)
        assert lease is not None
        order.append(lease.job.project)
        with platform.database.transaction() as tx:
            job_leases.lock(tx, lease)
            job_leases.finish(tx, lease.job, "SUCCEEDED")
    assert order == ["a", "b", "c", "a", "b", "a"]


def rows_read(plan: Any) -> list[float]:
    """How many rows each node of a query's plan gave or threw away, in all its loops."""
    here = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return [here, *(rows for part in plan.get("Plans", ()) for rows in rows_read(part))]


def test_a_job_whose_workers_keep_dying_fails_at_last(platform: Platform, outcomes: Outcomes) -> None:
    """Leases that run out count as attempts."""
    enqueue(platform)
    for _ in range(3):
        assert claim(platform, seconds=0.0)
    platform.worker(outcomes.kind("double"))
    failed = in_state(platform, "FAILED")
    assert failed.error_reason == "WORKER_LOST"
    assert [reason for _, reason, _ in outcomes.failed] == ["WORKER_LOST"]


def test_a_stopped_worker_gives_its_job_back_at_once(platform: Platform, outcomes: Outcomes) -> None:
    """The child ends with it, the attempt does not count, the next worker continues."""
    worker = platform.worker(outcomes.kind("wait"))
    enqueue(platform)
    until(lambda: outcomes.messages)
    worker.stop()
    assert not any(_alive(pid) for pid in outcomes.messages[0]["pids"])
    assert (job(platform).state, job(platform).attempt) == ("QUEUED", 0)
    outcomes.go.touch()
    platform.worker(outcomes.kind("wait"))
    assert in_state(platform, "SUCCEEDED").attempt == 1


def test_the_jobs_of_a_killed_worker_are_taken_over_before_their_leases_end(
    platform: Platform, outcomes: Outcomes
) -> None:
    """A holder on this machine that is gone is known to be gone; one elsewhere, or alive, is left alone."""
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{dead.pid}/stat").read_text().rpartition(")")[2].split()
    place = own_identity().partition(":")[0]
    owners = {"killed": f"{place}:{dead.pid}:{stat[19]}", "alive": own_identity(), "away": "boot/1:1:1"}
    for name, owner in owners.items():
        enqueue(platform, name)
        with platform.database.transaction() as tx:
            assert job_leases.claim(tx, {"task": 600.0}, owner=owner)
    with platform.database.transaction() as tx:
        assert job_leases.release_dead(tx, ["task"]) == 0
    dead.kill()
    dead.wait()
    outcomes.go.touch()
    platform.worker(outcomes.kind("wait"))
    assert in_state(platform, "SUCCEEDED", "killed").attempt == 2
    assert (job(platform, "alive").state, job(platform, "away").state) == ("RUNNING", "RUNNING")


def test_an_obituary_that_fails_does_not_keep_the_job_alive(platform: Platform, outcomes: Outcomes) -> None:
    """The job is FAILED though the kind's own `failed` raised."""

    def broken(_tx: Any, _job: Job, _reason: str, _message: str) -> None:
        raise KeyError("bug")

    platform.worker(outcomes.kind("refuse", failed=broken))
    enqueue(platform)
    assert in_state(platform, "FAILED").error_reason == "NO_ROWS"


def test_objects_are_fetched_once_verified_and_put_under_the_attempt(
    platform: Platform, outcomes: Outcomes
) -> None:
    """The second job takes the copy of the first; a damaged copy is fetched again."""
    platform.objects.ensure_bucket()
    reference = platform.objects.put_bytes(f"{platform.service}/in", b"data")
    seen: list[bytes] = []
    put: list[str] = []

    def stage_in(context: JobContext) -> Mapping[str, Any]:
        path = context.fetch(reference)
        seen.append(path.read_bytes())
        put.append(context.put(path, "copy.bin").uri)
        return {"number": 1}

    platform.worker(outcomes.kind("double", stage_in=stage_in))
    enqueue(platform, "first")
    in_state(platform, "SUCCEEDED", "first")
    (kept,) = platform.settings.data_dir.glob("objects/*/*")
    kept.chmod(0o644)
    kept.write_bytes(b"damaged")
    enqueue(platform, "second")
    second = in_state(platform, "SUCCEEDED", "second")
    assert seen == [b"data", b"data"]
    assert f"/p/task/{second.id}/1-" in put[1]
    assert put[1].endswith("/copy.bin")


def test_a_child_dies_with_its_parent(platform: Platform, outcomes: Outcomes, tmp_path: Path) -> None:
    """Though the parent had no time to say anything."""
    script = (
        "import pathlib, sys, time\n"
        "from sartor_platform.child_process import ChildProcess\n"
        f"child = ChildProcess('{WORK}:wait', {{'go': '/nowhere'}}, pathlib.Path(sys.argv[1]), fields={{}})\n"
        "while True:\n"
        "    message = child.messages.get()\n"
        "    if message.get('type') == 'pids': print(message['pids'][0], flush=True)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert parent.stdout is not None
    pid = 0
    for line in parent.stdout:
        if line.strip().isdigit():
            pid = int(line)
            break
    assert _alive(pid)
    other = psutil.Process(pid).children()
    parent.kill()
    parent.wait()
    until(lambda: not _alive(pid))
    for left in other:
        left.kill()


def test_watchers_of_a_job_are_woken(platform: Platform, outcomes: Outcomes) -> None:
    """Each change of state is shown to the stream, up to the end."""
    enqueue(platform, payload={"number": 1})
    with ExitStack() as stack:
        context = _Context(stack)
        states: list[str] = []
        stream = platform.watchers.stream(
            "projects/p/things/t",
            lambda: job_status(job(platform)),
            lambda status: status.state in (5, 6, 7),
            context,
        )
        states.append(next(stream).state)
        platform.worker(outcomes.kind("double"))
        states.extend(status.state for status in stream)
    assert states[0] == 1
    assert states[-1] == 5
    assert states == sorted(states)


class _Context:
    """What a stream needs of a gRPC context."""

    def __init__(self, stack: ExitStack) -> None:
        self._active = True
        stack.callback(setattr, self, "_active", False)

    def is_active(self) -> bool:
        return self._active

    def add_callback(self, _callback: Any) -> bool:
        return True


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
