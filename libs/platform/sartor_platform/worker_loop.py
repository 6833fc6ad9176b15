"""The worker process: slots that claim and run jobs, and one thread that ends jobs nobody works on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sartor_platform import job_leases, log, metrics
from sartor_platform.attempt import Attempt, end_without_result
from sartor_platform.lease_keeper import CANCELLED, DEADLINE, STOPPING
from sartor_platform.listen import Listener
from sartor_platform.object_cache import ObjectCache
from sartor_platform.runtime import Runtime
from sartor_platform.watchdog import Watchdog
from sartor_platform.worker import JobKind
from sartor_platform.worker_identity import own_identity

_POLL_SECONDS = 1.0
_DEAD_SECONDS = 5.0


class WorkerLoop:
    """Claims jobs of the given kinds, in as many slots as set. New jobs wake it; it polls besides."""

    def __init__(
        self,
        runtime: Runtime,
        kinds: Sequence[JobKind],
        listener: Listener,
        watchdog: Watchdog | None = None,
    ) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self._kinds = {kind.name: kind for kind in kinds}
        self._leases = {kind.name: kind.lease_seconds or settings.lease_seconds for kind in kinds}
        self._devices = [device.strip() for device in settings.worker_devices.split(",") if device.strip()]
        self._owner = own_identity()
        self._watchdog = watchdog or Watchdog()
        self._cache = ObjectCache(
            runtime.objects, Path(settings.data_dir) / "objects", settings.object_cache_bytes
        )
        self._running: dict[str, Attempt] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._work = threading.Event()
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        listener.subscribe("jobs", lambda _detail: self._work.set())
        listener.subscribe("cancel", self._cancelled)

    def start(self) -> None:
        """Begin to claim."""
        if not self._kinds:
            return
        names = [f"slot-{number}" for number in range(self._runtime.settings.worker_slots)]
        self._threads = [threading.Thread(target=self._serve, name=name, daemon=True) for name in names]
        self._threads.append(threading.Thread(target=self._end_abandoned, name="abandoned", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Claim nothing more; give running jobs back at once, for another worker to continue.

        An attempt that hangs, in an upload say, loses its job all the same: what it may still do is fenced.
        """
        self._stopping.set()
        self._work.set()
        self._ending.set()
        with self._lock:
            for attempt in self._running.values():
                attempt.keeper.interrupt(STOPPING)
        until = time.monotonic() + self._runtime.settings.drain_seconds
        for thread in self._threads:
            thread.join(timeout=max(until - time.monotonic(), 0.0))
        with self._lock:
            hanging = list(self._running.values())
        for attempt in hanging:
            attempt.hand_back()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._work.clear()
            try:
                busy = self._run_one()
            except Exception as error:  # noqa: BLE001 - the thread must go on
                log.get().warning("worker.claim_failed", error=log.brief(error))
                self._stopping.wait(1.0)
                continue
            if not busy:
                self._work.wait(_POLL_SECONDS * random.uniform(0.8, 1.0))

    def _run_one(self) -> bool:
        slot = threading.current_thread().name
        if not self._running:  # an attempt may take days, and outlasts a database that is frozen
            self._watchdog.beat(slot, self._runtime.settings.watchdog_seconds)
        with self._runtime.database.transaction() as tx:
            lease = job_leases.claim(tx, self._leases, owner=self._owner, devices=self._devices)
        self._watchdog.forget(slot)
        if lease is None:
            return False
        metrics.JOB_WAIT_SECONDS.labels(lease.job.kind).observe(lease.waited_seconds)
        attempt = Attempt(self._runtime, self._kinds[lease.job.kind], lease, self._cache)
        with self._lock:
            self._running[lease.job.id] = attempt
        if self._stopping.is_set():
            attempt.keeper.interrupt(STOPPING)
        try:
            attempt.run()
        finally:
            with self._lock:
                self._running.pop(lease.job.id, None)
        return True

    def _cancelled(self, job: str) -> None:
        with self._lock:
            attempts = list(self._running.values()) if not job else [a for a in [self._running.get(job)] if a]
        for attempt in attempts:
            attempt.keeper.look_again()
        self._ending.set()

    def _end_abandoned(self) -> None:
        look = 0.0
        while not self._stopping.is_set():
            try:
                if time.monotonic() >= look:
                    self._release_dead()
                    look = time.monotonic() + _DEAD_SECONDS
                while self._end_one():
                    pass
            except Exception as error:  # noqa: BLE001 - the thread must go on
                log.get().warning("worker.end_abandoned_failed", error=log.brief(error))
            self._ending.wait(_POLL_SECONDS)
            self._ending.clear()

    def _release_dead(self) -> None:
        with self._runtime.database.transaction() as tx:
            released = job_leases.release_dead(tx, list(self._kinds))
        if released:
            log.get().warning("worker.takes_over", jobs=released)
            self._work.set()

    def _end_one(self) -> bool:
        with self._runtime.database.transaction() as tx:
            job = job_leases.abandoned(tx, list(self._kinds))
            if job is None:
                return False
            if job.state == "CANCELLING":
                reason, message = CANCELLED, "cancelled by request"
            else:
                reason, message = DEADLINE, "it was not done by its deadline"
            end_without_result(tx, self._kinds[job.kind], job, reason, message)
        log.get().info("job.ended_unworked", job=job.id, kind=job.kind, resource=job.resource, reason=reason)
        return True
