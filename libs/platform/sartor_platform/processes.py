"""The processes of a service: server (gRPC, consumer, relay, ticks), worker (jobs), and roles of its own."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sartor_platform import attempt_sweep, dead_letters, job_leases, log, metrics
from sartor_platform.database import Database, is_transient
from sartor_platform.errors import FailedPrecondition
from sartor_platform.health import Health, broker_answers, database_answers
from sartor_platform.listen import Listener
from sartor_platform.migrations import is_current
from sartor_platform.objects import ObjectStore
from sartor_platform.runtime import Runtime
from sartor_platform.settings import PlatformSettings
from sartor_platform.ticks import Tick, Ticks
from sartor_platform.topics import Topics
from sartor_platform.watch import Watchers
from sartor_platform.watchdog import EXIT_STATUS, Watchdog

if TYPE_CHECKING:
    from sartor_platform.service import ServiceDefinition

_DATABASE_PATIENCE_SECONDS = 60.0
# Beyond the drain time: for what ends beside the calls, and for what hangs. With ten seconds of it a process
# is gone in less than twenty.
_PARTS_SECONDS = 6.0
_END_SECONDS = 9.0


@dataclass(frozen=True, slots=True)
class _Process:
    """What every process of a service has."""

    runtime: Runtime
    listener: Listener
    watchdog: Watchdog
    health: Health
    topics: Topics


def run_server(definition: ServiceDefinition, settings: PlatformSettings, stop: threading.Event) -> int:
    """Serve until told to stop; then let running calls end, within the drain time."""
    # Its packages import each other in a circle: two threads that come first at the same time break both.
    import kafka.admin  # noqa: F401

    from sartor_platform.consumer import Consumer
    from sartor_platform.dead_letter_service import servicer
    from sartor_platform.grpc_server import GrpcServer
    from sartor_platform.outbox import Relay
    from sartor_platform.parking import ParkedEvents

    with _process(definition, settings, stop, uses_broker=True) as ours:
        runtime, listener, watchdog, topics = ours.runtime, ours.listener, ours.watchdog, ours.topics
        database, handlers = runtime.database, definition.handlers(runtime)
        server = GrpcServer(
            settings.grpc_bind, [*definition.servicers(runtime), servicer(database, handlers)]
        )
        parts = (
            Relay(database, settings, topics, listener, watchdog),
            ParkedEvents(database, settings, handlers, listener, watchdog),
            Consumer(database, settings, topics, lambda: definition.topics(runtime), handlers, watchdog),
            Ticks(runtime, definition.ticks(runtime)),
            Ticks(runtime, [_sweep_of(definition)], group="sweep"),
        )
        listener.start()
        server.start()
        for part in parts:
            part.start()
        ours.health.start(server.set_serving)
        _settle_memory()
        stop.wait()
        ours.health.drain()
        log.get().info("server.drains", seconds=settings.drain_seconds)
        time.sleep(settings.drain_notice_seconds)
        runtime.watchers.close()
        _together(
            settings.drain_seconds + _PARTS_SECONDS,
            lambda: server.stop(settings.drain_seconds),
            listener.stop,
            *(part.stop for part in parts),
        )
        topics.close()
    return 0


def _sweep_of(definition: ServiceDefinition) -> Tick:
    def run(runtime: Runtime) -> None:
        attempt_sweep.sweep(runtime, definition.named_objects, runtime.settings.attempt_grace_seconds)

    return Tick("sweep_attempts", attempt_sweep.TICK_SECONDS, run)


def run_worker(definition: ServiceDefinition, settings: PlatformSettings, stop: threading.Event) -> int:
    """Run jobs until told to stop; running ones are given back for another worker."""
    from sartor_platform.worker_loop import WorkerLoop

    with _process(definition, settings, stop) as ours:
        loop = WorkerLoop(ours.runtime, definition.job_kinds(ours.runtime), ours.listener, ours.watchdog)
        ours.listener.start()
        loop.start()
        ours.health.start()
        _settle_memory()
        stop.wait()
        ours.health.drain()
        _together(settings.drain_seconds + _PARTS_SECONDS, loop.stop, ours.listener.stop)
    return 0


def run_role(
    definition: ServiceDefinition, role: str, settings: PlatformSettings, stop: threading.Event
) -> int:
    """Run a role of the service's own: it handles SIGTERM itself if it replaces our handlers, else we end it.

    A role that returns ends the process. One that wants to end well asks `stop_event()` of this module.
    """
    global _stop
    _stop = stop
    with _process(definition, settings, stop) as ours:
        ours.listener.start()
        ours.health.start()
        definition.roles[role](ours.runtime)
        ours.listener.stop()
    return 0


_stop = threading.Event()


def stop_event() -> threading.Event:
    """Set when this process was told to stop: what a role waits for."""
    return _stop


@contextmanager
def _process(
    definition: ServiceDefinition,
    settings: PlatformSettings,
    stop: threading.Event,
    *,
    uses_broker: bool = False,
) -> Iterator[_Process]:
    with ExitStack() as stack:
        database = Database(settings.database_url, definition.name)
        stack.callback(database.close)
        _migrated(definition, database, stop)
        _in_background("end", _end_for_sure, stop, settings)
        listener, topics, watchdog = Listener(database), Topics(settings), Watchdog()
        runtime = Runtime(settings, database, ObjectStore(settings), Watchers(listener), definition.name)
        watchdog.start()
        stack.callback(watchdog.stop)
        questions = {"database": database_answers(database)}
        if uses_broker:
            questions["broker"] = broker_answers(topics, definition.name)
        health = Health(questions, watchdog, settings.unwell_after_seconds)
        stack.callback(health.stop)
        server = metrics.MetricsServer(settings.metrics_bind, health.fault, health.stuck)
        server.start()
        stack.callback(server.stop)
        _in_background("depths", _watch_depths, runtime, stop)
        log.get().info("process.started", metrics_port=server.port)
        yield _Process(runtime, listener, watchdog, health, topics)
        log.get().info("process.stopped")


def _in_background(name: str, target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, name=name, daemon=True).start()


def _end_for_sure(stop: threading.Event, settings: PlatformSettings) -> None:
    """A process that was told to stop ends in time, whatever hangs: a frozen database, a call without end.

    Nothing is lost by it: what was not committed was not done, and leases run out.
    """
    stop.wait()
    time.sleep(settings.drain_notice_seconds + settings.drain_seconds + _END_SECONDS)
    log.get().error("process.cut", hint="something hung, such as a database that is frozen")
    os._exit(EXIT_STATUS)


def _migrated(definition: ServiceDefinition, database: Database, stop: threading.Event) -> None:
    """Bring the schema up to date, in another process so that Alembic does not stay in this one's memory."""
    if _current(definition, database, stop):
        return
    # Of the processes that start together one migrates; the others wait and find it done.
    with database.connect() as session:
        session.answer_seconds = None  # another process's migrations may take their time
        session.execute("SELECT pg_advisory_lock(hashtext(%s))", [f"sartor.start.{database.schema}"])
        if _current(definition, database, stop):
            return
        done = subprocess.run(
            [sys.executable, "-m", definition.package, "migrate"], check=False, env=os.environ
        )
    if done.returncode:
        raise FailedPrecondition("the migrations failed; see the lines above", reason="MIGRATIONS_FAILED")


def _current(definition: ServiceDefinition, database: Database, stop: threading.Event) -> bool:
    until = time.monotonic() + _DATABASE_PATIENCE_SECONDS
    while True:
        try:
            return is_current(database, definition.package)
        except Exception as error:
            if not is_transient(error) or time.monotonic() > until or stop.is_set():
                raise FailedPrecondition(
                    f"the database does not answer: {str(error).strip()}; see SARTOR_DATABASE_URL",
                    reason="DATABASE_UNAVAILABLE",
                ) from error
            log.get().warning("process.waits_for_database", error=log.brief(error))
            stop.wait(1.0)


def _together(limit_seconds: float, *ends: Callable[[], None]) -> None:
    """Bring several things to their end at once: the slowest decides how long it takes, not the sum."""
    threads = [threading.Thread(target=end, daemon=True) for end in ends]
    for thread in threads:
        thread.start()
    until = time.monotonic() + limit_seconds
    for thread in threads:
        thread.join(timeout=max(until - time.monotonic(), 0.0))


def _settle_memory() -> None:
    # What was imported stays for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()


def _watch_depths(runtime: Runtime, stop: threading.Event) -> None:
    shown: set[tuple[str, str]] = set()
    while not stop.wait(5.0):
        try:
            with runtime.database.read() as connection:
                depths = job_leases.queue_depths(connection)
                letters = dead_letters.counts(connection)
        except Exception as error:
            if not is_transient(error):
                raise
            continue
        for key in shown - set(depths):
            metrics.QUEUE_DEPTH.labels(*key).set(0)
        for key, depth in depths.items():
            metrics.QUEUE_DEPTH.labels(*key).set(depth)
        shown |= set(depths)
        for state, count in letters.items():
            metrics.DEAD_LETTERS.labels(state).set(count)
