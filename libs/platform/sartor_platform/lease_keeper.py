"""Keeps one attempt's lease alive in a thread of its own, and tells the attempt when it must end."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from sartor_platform import job_leases, log
from sartor_platform.database import Database
from sartor_platform.job_leases import Lease, LeaseLost

CANCELLED = "CANCELLED"
LOST = "LOST"
STOPPING = "STOPPING"
DEADLINE = "DEADLINE_EXCEEDED"

OUTAGE_SECONDS = 600.0


class Interrupted(Exception):
    """The attempt must end now: it was cancelled, lost its lease, ran out of time, or the worker stops."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class LeaseKeeper:
    """Renews the lease at a third of its time, and at once when told to look again."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease
        self._why = ""
        self._interrupted = threading.Event()
        self._look = threading.Event()
        self._done = False
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """The attempt is over."""
        self._done = True
        self._look.set()

    def look_again(self) -> None:
        """Renew now, and see whether the job was cancelled."""
        self._look.set()

    def interrupt(self, why: str) -> None:
        """End the attempt; the first reason counts."""
        if not self._interrupted.is_set():
            self._why = why
            self._interrupted.set()

    def check(self) -> None:
        """Raise Interrupted if the attempt must end."""
        if self._interrupted.is_set():
            raise Interrupted(self._why)

    def pause(self, seconds: float) -> None:
        """Wait, but not for an attempt that must end."""
        self._interrupted.wait(seconds)
        self.check()

    def _run(self) -> None:
        held_until = time.monotonic() + self._lease.seconds
        pause = self._lease.seconds / 3
        deadline = self._lease.job.deadline
        while True:
            self._look.wait(pause)
            self._look.clear()
            if self._done:
                return
            if deadline is not None and deadline <= datetime.now(UTC):
                self.interrupt(DEADLINE)
            try:
                asked = time.monotonic()
                self._renew()
                held_until, pause = asked + self._lease.seconds, self._lease.seconds / 3
            except LeaseLost:
                self.interrupt(LOST)
                return
            except Exception as error:  # noqa: BLE001 - tried again
                # Nobody can take the job while the database is away, and what we do is fenced: go on.
                log.get().warning("job.lease_not_renewed", job=self._lease.job.id, error=log.brief(error))
                pause = 2.0
                if time.monotonic() > held_until + OUTAGE_SECONDS:
                    self.interrupt(LOST)
                    return

    def _renew(self) -> None:
        with self._database.transaction() as tx:
            state = job_leases.renew(tx.connection, self._lease)
        if state == "CANCELLING":
            self.interrupt(CANCELLED)
