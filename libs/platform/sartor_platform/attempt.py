"""One attempt at one job: staging, the child process, the lease kept meanwhile, and the end it comes to."""

from __future__ import annotations

import contextlib
import queue
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sartor_platform import fault_points, job_leases, log, metrics, tracing
from sartor_platform.child import unforeseen
from sartor_platform.child_process import ChildProcess
from sartor_platform.database import is_transient
from sartor_platform.errors import NotReady, SartorError
from sartor_platform.job_leases import Lease, LeaseLost
from sartor_platform.lease_keeper import (
    CANCELLED,
    DEADLINE,
    OUTAGE_SECONDS,
    STOPPING,
    Interrupted,
    LeaseKeeper,
)
from sartor_platform.object_cache import ObjectCache
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction
from sartor_platform.worker import JobContext, JobKind

_SHOW_EVERY_SECONDS = 0.5
T = TypeVar("T")


class ChildDied(Exception):
    """The child ended without a result and without an error."""

    reason = "CHILD_DIED"


class ChildFailed(Exception):
    """The child's work raised something that another attempt may not meet again."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Attempt:
    """Runs a leased job to the end of this attempt. `run` never raises."""

    def __init__(self, runtime: Runtime, kind: JobKind, lease: Lease, cache: ObjectCache) -> None:
        self.lease = lease
        self._runtime = runtime
        self._database = runtime.database
        self._kind = kind
        self._job = lease.job
        self._cache = cache
        self._max_attempts = kind.max_attempts or runtime.settings.job_attempts
        self.keeper = LeaseKeeper(runtime.database, lease)
        self._prefix = (
            f"{lease.job.project}/{lease.job.kind}/{lease.job.id}/{lease.job.attempt}-{lease.token[-8:]}/"
        )
        self._progress: dict[str, Any] = {}
        self._shown = 0.0
        self._log = log.get(
            job=self._job.id, kind=kind.name, resource=self._job.resource, attempt=self._job.attempt
        )

    def run(self) -> None:
        """Do the work and bring the job to its end, or give it back."""
        started = time.monotonic()
        with tracing.continued(self._job.traceparent):
            self.keeper.start()
            try:
                outcome = self._settle()
            except LeaseLost:
                outcome = "discarded"
            except Exception as error:  # noqa: BLE001 - a thread must not die of it
                # The database is away: the lease runs out by itself and another attempt follows.
                self._log.exception("job.unsettled", error=log.brief(error))
                outcome = "unsettled"
            finally:
                self.keeper.stop()
            seconds = time.monotonic() - started
            metrics.JOB_SECONDS.labels(self._kind.name, outcome).observe(seconds)
            self._log.info(
                "job.attempt_ended",
                outcome=outcome,
                seconds=round(seconds, 3),
                waited=round(self.lease.waited_seconds, 3),
            )

    def _settle(self) -> str:
        try:
            if self._job.attempt > self._max_attempts:
                return self._fail("WORKER_LOST", f"its worker ended in each of {self._max_attempts} attempts")
            with self._work_folder() as folder:
                use_case = self._produce(folder)
                self._through_outages(lambda: self._accept(use_case))
            return "succeeded"
        except Interrupted as stop:
            return self._give_up(stop.why)
        except NotReady as wait:
            return self._requeue(wait.retry_after_seconds, counted=False, message=str(wait))
        except SartorError as error:
            if not error.transient:
                return self._fail(error.reason, error.message)
            return self._try_again(error.reason, error.message)
        except LeaseLost:
            raise
        except (ChildDied, ChildFailed) as error:
            self._log.error(
                "job.attempt_failed", error=log.brief(error)
            )  # the trace came before, from the child itself
            return self._try_again(error.reason, str(error))
        except Exception as error:  # noqa: BLE001 - the attempt failed, whatever it was
            self._log.exception("job.attempt_failed")
            return self._try_again(*unforeseen(error))

    def hand_back(self) -> None:
        """Give the job to another worker though this attempt still hangs; the process ends now."""
        try:
            self._requeue(0.0, counted=False, message="its worker was stopped; another continues")
        except LeaseLost:
            return  # it came to its end after all
        except Exception as error:
            if not is_transient(error):
                raise
            self._log.warning("job.not_handed_back", error=log.brief(error))  # its lease runs out

    # --- the work ---

    def _produce(self, folder: Path) -> Callable[[Transaction], None]:
        context = JobContext(
            job=self._job,
            prefix=self._prefix,
            runtime=self._runtime,
            folder=folder,
            cache=self._cache,
            check=self.keeper.check,
            report=_ParentReport(self._show),
        )
        task = self._through_outages(lambda: self._kind.stage_in(context))
        fault_points.at("after_claim_before_child", attempt=self._job.attempt)
        result = self._run_child(context, task)
        fault_points.at("after_child_before_upload", attempt=self._job.attempt)
        use_case = self._through_outages(lambda: self._kind.stage_out(context, result))
        fault_points.at("after_upload_before_row", attempt=self._job.attempt)
        return use_case

    def _run_child(self, context: JobContext, task: Mapping[str, Any]) -> dict[str, Any]:
        self.keeper.check()
        fields = {"job": self._job.id, "kind": self._kind.name, "attempt": str(self._job.attempt)}
        started = time.monotonic()
        child = ChildProcess(self._kind.entry, task, context.folder, fields=fields)
        with contextlib.ExitStack() as stack:
            stack.callback(child.close)
            beside = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="message"))
            stack.callback(child.kill)
            while True:
                message = self._next_message(child)
                if message is None:
                    raise ChildDied(_how_it_ended(child.close()))
                kind = message.get("type")
                if kind == "started":
                    metrics.CHILD_START_SECONDS.labels(self._kind.name).observe(time.monotonic() - started)
                elif kind == "progress":
                    self._progress = dict(message["progress"])
                elif kind == "result":
                    return dict(message["result"])
                elif kind == "error":
                    raise _raised(message)
                elif self._kind.on_message is not None:
                    beside.submit(self._pass_on, context, message)

    def _next_message(self, child: ChildProcess) -> dict[str, Any] | None:
        while True:
            self.keeper.check()
            if self._progress and time.monotonic() - self._shown >= _SHOW_EVERY_SECONDS:
                self._show(self._progress)
                self._progress = {}
            with contextlib.suppress(queue.Empty):
                return child.messages.get(timeout=0.1)

    def _pass_on(self, context: JobContext, message: dict[str, Any]) -> None:
        assert self._kind.on_message is not None
        try:
            self._kind.on_message(context, message)
        except Interrupted:
            return
        except Exception:  # noqa: BLE001 - logged
            # The work itself is not harmed: a checkpoint that was not uploaded only makes a repeat longer.
            self._log.exception("job.message_not_handled", message_type=message.get("type"))

    def _through_outages(self, stage: Callable[[], T]) -> T:
        until = time.monotonic() + OUTAGE_SECONDS
        pause = 0.5
        while True:
            self.keeper.check()
            try:
                return stage()
            except Exception as error:
                transient = error.transient if isinstance(error, SartorError) else is_transient(error)
                if not transient or time.monotonic() > until:
                    raise
                self._log.warning("job.waits_for_server", error=log.brief(error), retry_seconds=pause)
            self.keeper.pause(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, 30.0)

    @contextlib.contextmanager
    def _work_folder(self) -> Iterator[Path]:
        folder = Path(self._runtime.settings.data_dir) / "jobs" / f"{self._job.id}-{self.lease.token[-8:]}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # --- the end ---

    def _accept(self, use_case: Callable[[Transaction], None]) -> None:
        fault_points.at("after_lease_check_before_accept", attempt=self._job.attempt)
        with self._database.transaction() as tx:
            if job_leases.lock(tx, self.lease) == "CANCELLING":
                raise Interrupted(CANCELLED)
            use_case(tx)
            job_leases.finish(tx, self._job, "SUCCEEDED", winner_prefix=self._prefix)
            fault_points.at("before_accept_commit", attempt=self._job.attempt)
        fault_points.at("after_accept_commit", attempt=self._job.attempt)

    def _give_up(self, why: str) -> str:
        if why == CANCELLED:
            return self._fail(CANCELLED, "cancelled by request")
        if why == DEADLINE:
            return self._fail(DEADLINE, "it was not done by its deadline")
        if why == STOPPING:
            return self._requeue(0.0, counted=False, message="its worker was stopped; another continues")
        return "discarded"

    def _try_again(self, reason: str, message: str) -> str:
        if self._job.attempt >= self._max_attempts:
            return self._fail(reason, message or "it failed; see the service's log")
        pause = min(2.0**self._job.attempt, 60.0) * random.uniform(0.5, 1.0)
        return self._requeue(
            pause, counted=True, message=f"attempt {self._job.attempt} failed and is repeated"
        )

    def _requeue(self, after_seconds: float, *, counted: bool, message: str) -> str:
        with self._database.transaction() as tx:
            job_leases.lock(tx, self.lease)
            job_leases.requeue(tx, self.lease, after_seconds=after_seconds, counted=counted, message=message)
        return "requeued"

    def _fail(self, reason: str, message: str) -> str:
        with self._database.transaction() as tx:
            if job_leases.lock(tx, self.lease) == "CANCELLING":
                reason, message = CANCELLED, "cancelled by request"
            end_without_result(tx, self._kind, self._job, reason, message)
        return "cancelled" if reason == CANCELLED else "failed"

    def _show(self, progress: Mapping[str, Any]) -> None:
        self._shown = time.monotonic()
        try:
            with self._database.transaction() as tx:
                job_leases.report(tx, self.lease, progress)
        except Exception as error:
            if not is_transient(error):
                raise
            self._log.warning("job.progress_not_shown", error=log.brief(error))


class _ParentReport:
    """Progress of the staging, shown like the child's."""

    def __init__(self, show: Callable[[Mapping[str, Any]], None]) -> None:
        self._show = show

    def __call__(
        self,
        fraction: float,
        *,
        stage: str = "",
        eta_seconds: float | None = None,
        message: str = "",
        **figures: float,
    ) -> None:
        self._show(
            {
                "fraction": fraction,
                "stage": stage,
                "eta_seconds": eta_seconds,
                "message": message,
                "figures": figures,
            }
        )

    def send(self, message: dict[str, Any]) -> None:
        """The staging runs in the parent: it has nobody to send messages to."""
        raise TypeError("only work in a child process sends messages")


def end_without_result(tx: Transaction, kind: JobKind, job: Any, reason: str, message: str) -> None:
    """Call the kind's `failed` and write the end of a locked job, in one transaction."""
    try:
        with tx.connection.begin_nested():
            kind.failed(tx, job, reason, message)
    except Exception as error:
        if is_transient(error):
            raise
        # The job must not be tried for ever because its own obituary fails.
        log.get().exception("job.failed_hook_broke", job=job.id, kind=kind.name, resource=job.resource)
    job_leases.finish(tx, job, "CANCELLED" if reason == CANCELLED else "FAILED", reason, message)


def _raised(message: Mapping[str, Any]) -> Exception:
    if message.get("permanent"):
        return SartorError(message["message"], reason=message["reason"], metadata=message.get("metadata"))
    return ChildFailed(message["reason"], message["message"])


def _how_it_ended(status: int) -> str:
    if status < 0:
        return f"the child process was ended by signal {-status}, as happens when memory runs out"
    return f"the child process ended with status {status} and no result"
