"""The agent's process: compares the engines that should run with those that do, whenever either changes."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import psycopg
from sartor_platform import log
from sartor_platform.database import is_transient
from sartor_platform.errors import SartorError
from sartor_platform.listen import Listener
from sartor_platform.object_cache import ObjectCache
from sartor_platform.processes import stop_event
from sartor_platform.runtime import Runtime

from sartor_deployment import store
from sartor_deployment.agent.replica import Replica
from sartor_deployment.targets.engine_memory import EngineMemory
from sartor_deployment.usecases import rollout, watching
from sartor_deployment.usecases.revisions import AGENTS

_LOOK_EVERY_SECONDS = 3.0
_STANDBY_SECONDS = 2.0
_END_SECONDS = 15.0
_SWEEP_EVERY_SECONDS = 600.0


def run(runtime: Runtime) -> None:
    """Work until told to stop. Of several agents with one name only the holder of its lock works."""
    stop = stop_event()
    wake = threading.Event()
    listener = Listener(runtime.database)
    listener.subscribe("watch", lambda name: wake.set() if name in ("", AGENTS) else None)
    listener.start()

    def end() -> None:
        stop.wait()
        wake.set()

    threading.Thread(target=end, name="agent-end", daemon=True).start()
    try:
        while not stop.is_set():
            try:
                with runtime.database.connect() as session:
                    _lead(runtime, session, stop, wake)
            except psycopg.Error as error:
                log.get().warning("agent.waits_for_database", error=str(error).strip())
                stop.wait(_STANDBY_SECONDS)
    finally:
        listener.stop()


def _lead(
    runtime: Runtime, session: psycopg.Connection[object], stop: threading.Event, wake: threading.Event
) -> None:
    name = runtime.settings.agent_name
    key = f"sartor.agent.{runtime.database.schema}.{name}"
    waited = False
    while not stop.is_set():
        row = session.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [key]).fetchone()
        if row and row[0]:  # type: ignore[index]
            break
        if not waited:
            log.get().info("agent.stands_by", agent=name)
            waited = True
        stop.wait(_STANDBY_SECONDS)
    else:
        return
    Agent(runtime, session).work(stop, wake)


class Agent:
    """Holds the replicas. Desired: engines here for every revision that needs them."""

    def __init__(self, runtime: Runtime, session: psycopg.Connection[object]) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self._session = session
        self._name = settings.agent_name
        data = Path(settings.data_dir).resolve()
        self._engines = data / "engines"
        self._cache = ObjectCache(runtime.objects, data / "objects", settings.object_cache_bytes)
        self._memory = EngineMemory(settings.engine_spare_memory_mb * 2**20)
        self._replicas: dict[tuple[str, int], Replica] = {}
        self._retiring: list[Replica] = []
        self._next_sweep = 0.0

    def work(self, stop: threading.Event, wake: threading.Event) -> None:
        """Look, act, wait; until told to stop or the lock is lost. Ends all engines."""
        self._forget()
        log.get().info("agent.works", agent=self._name)
        try:
            while not stop.is_set():
                wake.clear()
                self._session.execute("SELECT 1")  # with the session goes the lock
                try:
                    self._look()
                except Exception as error:
                    if not is_transient(error):
                        raise
                    log.get().warning("agent.did_not_look", error=str(error).strip())
                wake.wait(_LOOK_EVERY_SECONDS)
        finally:
            for replica in [*self._replicas.values(), *self._retiring]:
                replica.stop(drain=False)
            for replica in [*self._replicas.values(), *self._retiring]:
                replica.join(_END_SECONDS)

    def _look(self) -> None:
        with self._runtime.database.transaction() as tx:
            wanted = {
                (revision.name, number): revision
                for revision in store.engine_wanted(tx.connection)
                for number in range(revision.spec.engine.replicas)
            }
            store.heartbeat(tx, self._name)
        self._retiring = [replica for replica in self._retiring if not replica.ended]
        for key in [key for key in self._replicas if key not in wanted]:
            replica = self._replicas.pop(key)
            replica.stop(drain=True)
            self._retiring.append(replica)
        for key, revision in wanted.items():
            if key not in self._replicas:
                self._replicas[key] = Replica(self._runtime, self._cache, self._memory, revision, key[1])
            elif self._replicas[key].ended:
                del self._replicas[key]  # its thread broke on a fault of ours: begin again
        self._go_on()

    def _go_on(self) -> None:
        """Decide about canaries, in transactions of their own: what fails here stops no engine."""
        try:
            with self._runtime.database.transaction() as tx:
                rollout.tick(tx)
        except SartorError as error:
            log.get().error("agent.rollout_did_not_go_on", reason=error.reason, error=error.message)
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + _SWEEP_EVERY_SECONDS
            with self._runtime.database.transaction() as tx:
                watching.forget_old(tx)

    def _forget(self) -> None:
        # Engines of an agent that was before us died with it.
        with self._runtime.database.transaction() as tx:
            store.remove_engines(tx, self._name)
        for folder in self._engines.glob(f"{self._name}-*"):
            shutil.rmtree(folder, ignore_errors=True)
