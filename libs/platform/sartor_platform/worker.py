"""What a service says about its jobs: the kinds it has, and what the work sees.

Running them is in worker_loop.py. Importing this costs nothing, because the child processes import it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sartor_platform.jobs import Job
    from sartor_platform.object_cache import ObjectCache
    from sartor_platform.objects import ObjectReference
    from sartor_platform.runtime import Runtime
    from sartor_platform.transaction import Transaction


class Report(Protocol):
    """How work in a child process tells how far it is."""

    def __call__(
        self,
        fraction: float,
        *,
        stage: str = "",
        eta_seconds: float | None = None,
        message: str = "",
        **figures: float,
    ) -> None:
        """The share done in [0, 1], and the figures that matter now, such as loss=0.4."""

    def send(self, message: dict[str, Any]) -> None:
        """A message of its own for the kind's `on_message`, such as {"type": "checkpoint", "path": …}."""


class JobContext:
    """One attempt at a job, as its staging code in the parent process sees it.

    `folder` is fresh for each attempt and removed after it. `prefix` is where the attempt's objects belong:
    no other attempt writes there, also where one that was not counted has had the same number.
    """

    def __init__(
        self,
        *,
        job: Job,
        prefix: str,
        runtime: Runtime,
        folder: Path,
        cache: ObjectCache,
        check: Callable[[], None],
        report: Report,
    ) -> None:
        self.job = job
        self.runtime = runtime
        self.folder = folder
        self.report = report
        self.prefix = prefix
        self._cache = cache
        self._check = check

    def fetch(self, reference: ObjectReference) -> Path:
        """A verified local copy of an object, inside `folder`. Do not write to it: it is shared between jobs.

        Raises:
            ObjectNotFound, DigestMismatch: permanent failures of the job.
            Unavailable: the staging is tried again.
        """
        self._check()
        return self._cache.fetch(reference, self.folder / "objects")

    def put(self, path: Path, name: str) -> ObjectReference:
        """Upload a file under the attempt's prefix."""
        self._check()
        return self._still_ours(self.runtime.objects.put_file(self.prefix + name, path))

    def put_for_later_attempts(self, path: Path, name: str) -> ObjectReference:
        """Upload a file that only a later attempt at this job may need.

        It lies beside what the attempt leaves, and is swept with the litter of losers once the job has ended.
        """
        self._check()
        return self._still_ours(self.runtime.objects.put_file(f"{self.prefix[:-1]}-work/{name}", path))

    def put_bytes(self, data: bytes, name: str) -> ObjectReference:
        """Upload bytes under the attempt's prefix."""
        self._check()
        return self._still_ours(self.runtime.objects.put_bytes(self.prefix + name, data))

    def _still_ours(self, reference: ObjectReference) -> ObjectReference:
        """An attempt that lost its job while it uploaded leaves nothing: the sweep may be over already."""
        try:
            self._check()
        except Exception:  # why it is not ours any more is told to the caller; here it only means: clean up
            self.runtime.objects.remove(reference.uri)
            raise
        return reference


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of job, from its inputs to what its end means.

    Args:
        entry: `package.module:function`, run in a child without credentials: `f(task, folder, report) ->
            dict`.
        stage_in: downloads the inputs into `context.folder` and returns the task, JSON-able. A SartorError
            fails the job for good, NotReady asks again later without counting the attempt; anything else, and
            a transient SartorError, is tried again.
        stage_out: uploads the results and returns the use case for the accepting transaction, which runs only
            if this attempt still holds the job.
        failed: called in the transaction that ends the job otherwise, with reason and message; the reason is
            CANCELLED where it was cancelled.
        on_message: for messages the work sends by `report.send`; runs beside the work, in order, one at a
            time.
        lease_seconds, max_attempts: where the settings' `lease_seconds` and `job_attempts` do not fit.
    """

    name: str
    entry: str
    stage_in: Callable[[JobContext], Mapping[str, Any]]
    stage_out: Callable[[JobContext, dict[str, Any]], Callable[[Transaction], None]]
    failed: Callable[[Transaction, Job, str, str], None]
    on_message: Callable[[JobContext, dict[str, Any]], None] | None = None
    lease_seconds: float | None = None
    max_attempts: int | None = None
