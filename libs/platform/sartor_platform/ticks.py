"""Regular small work, done by one replica at a time: the leader by a session lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor_platform import log, tracing
from sartor_platform.runtime import Runtime

if TYPE_CHECKING:
    import psycopg

_STANDBY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Tick:
    """`run` is called every `seconds`, in the server of one replica. It must be quick: long work is a job."""

    name: str
    seconds: float
    run: Callable[[Runtime], None]


class Ticks:
    """Runs the ticks of a service while this process is the leader.

    A tick that raises is logged and comes again.
    """

    def __init__(self, runtime: Runtime, ticks: Sequence[Tick], *, group: str = "ticks") -> None:
        """Ticks of one group run one after the other; each group has a leader of its own."""
        self._group = group
        self._runtime = runtime
        self._ticks = ticks
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=group, daemon=True)

    def start(self) -> None:
        """Begin, if there is anything to do."""
        if self._ticks:
            self._thread.start()

    def stop(self) -> None:
        """Stop after the tick that runs now."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _run(self) -> None:
        import psycopg

        while not self._stopping.is_set():
            try:
                with self._runtime.database.connect() as session:
                    self._lead(session)
            except psycopg.Error as error:
                log.get().warning("ticks.wait", error=log.brief(error))
                self._stopping.wait(_STANDBY_SECONDS)

    def _lead(self, session: psycopg.Connection[Any]) -> None:
        key = f"sartor.{self._group}.{self._runtime.database.schema}"
        due = {tick.name: time.monotonic() for tick in self._ticks}
        leading = False
        while not self._stopping.is_set():
            if not leading:
                row = session.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [key]).fetchone()
                leading = bool(row and row[0])
                if not leading:
                    self._stopping.wait(_STANDBY_SECONDS)
                    continue
            now = time.monotonic()
            for tick in self._ticks:
                if due[tick.name] <= now and not self._stopping.is_set():
                    self._do(tick)
                    due[tick.name] = time.monotonic() + tick.seconds
            self._stopping.wait(max(0.02, min(due.values()) - time.monotonic()))
            session.execute("SELECT 1")  # with the session goes the lock

    def _do(self, tick: Tick) -> None:
        try:
            with tracing.continued():
                tick.run(self._runtime)
        except Exception:  # noqa: BLE001 - it comes again
            log.get().exception("tick.broke", tick=tick.name)
