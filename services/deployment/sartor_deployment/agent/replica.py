"""One engine under the agent's care: fetched, started, proven, watched, restarted, ended gently."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sartor_platform import fault_points, log
from sartor_platform.database import is_transient
from sartor_platform.errors import SartorError
from sartor_platform.names import new_id
from sartor_platform.object_cache import ObjectCache
from sartor_platform.objects import ObjectReference
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction

from sartor_deployment.agent.engine_words import NEXT, in_words
from sartor_deployment.resources import Revision
from sartor_deployment.store import EngineRow, remove_engines
from sartor_deployment.targets.engine_api import EngineApi, EngineRefused
from sartor_deployment.targets.engine_memory import EngineMemory, need
from sartor_deployment.targets.local_llama_cpp import EngineAddress, EngineDied, LocalEngine
from sartor_deployment.usecases import engines
from sartor_deployment.usecases.revisions import AGENTS

TRIES = 3
"""Failed starts in a row after which a revision that is not live is given up."""
_LOAD_SECONDS = 600.0
_ALIVE_EVERY_SECONDS = 2.0
_ALIVE_MISSES = 3
_PROOF_SECONDS = 120.0
_HEALTHY_SECONDS = 60.0
_QUIET_LOOKS = 3


class Unhealthy(Exception):
    """The engine's process is there, but it does not answer."""


class Replica:
    """Runs in a thread of its own, which is also what the kernel ties the engine's life to."""

    def __init__(
        self, runtime: Runtime, cache: ObjectCache, memory: EngineMemory, revision: Revision, number: int = 0
    ) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self._settings = settings
        self._cache = cache
        self._memory = memory
        self._revision = revision
        self._number = number
        self._agent = settings.agent_name
        # A folder of its own: an earlier engine of the same revision may still be draining.
        self._folder = Path(settings.data_dir).resolve() / "engines" / f"{self._agent}-{new_id()}"
        self._pid = 0
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._drain = True
        self._restarts = 0
        self._log = log.get(revision=revision.name)
        self._thread = threading.Thread(target=self._run, name=f"engine-{revision.number}")
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return not self._thread.is_alive()

    def stop(self, *, drain: bool) -> None:
        """End the engine; with `drain` only after the requests it works on."""
        self._drain = drain
        self._stopping.set()
        self._changed.set()

    def join(self, seconds: float) -> None:
        """Wait for the end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            healthy = 0.0
            reason = "ENGINE_FAILED"
            try:
                healthy = self._serve()
                break
            except SartorError as error:
                reason, message = error.reason, error.message
                permanent = not error.transient
            except _Ended as ended:
                healthy, message, permanent = ended.healthy_seconds, str(ended), False
            except (EngineDied, EngineRefused, OSError, http.client.HTTPException, Unhealthy) as error:
                message, permanent = str(error), False
            failures = 1 if healthy > _HEALTHY_SECONDS else failures + 1
            self._restarts += 1
            pause = 30.0 if permanent else min(0.25 * 2.0**failures, 30.0)
            self._log.warning(
                "engine.failed", reason=reason, error=message, failures=failures, retry_seconds=pause
            )
            words = in_words(message)
            self._tell("BACKOFF", message=words)
            if permanent or failures >= TRIES:
                text = f"its engine does not run: {words}"
                self._give_up(reason, text if permanent else f"{text} ({failures} starts; {NEXT})")
            self._stopping.wait(pause)
        self._forget()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> float:
        """Start an engine and watch it until this replica is stopped.

        Raises:
            SartorError: the weights cannot be had, do not fit each other, or there is no memory for them.
            EngineDied, EngineRefused, Unhealthy, OSError: it did not come up.
            _Ended: it came up, and ended later.
        """
        weights, adapter = self._files()
        with self._memory.hold(need(weights, self._revision.spec.engine, adapter)) as memory_taken:
            return self._run_engine(weights, adapter, memory_taken)

    def _run_engine(self, weights: Path, adapter: Path | None, memory_taken: Callable[[], None]) -> float:
        engine = LocalEngine(
            weights,
            self._revision.name,
            self._revision.spec.engine,
            adapter=adapter,
            bind_host=self._settings.engine_bind_host,
            on_end=self._changed.set,
        )
        try:
            self._tell("STARTING", pid=engine.pid)
            address = self._loaded(engine)
            if address is None:
                return 0.0
            EngineApi(self._url(address), timeout_seconds=_PROOF_SECONDS).answers()
            ready = time.monotonic()
            memory_taken()
            self._log.info(
                "engine.ready", pid=engine.pid, port=address.port, seconds=round(ready - engine.started, 3)
            )
            fault_points.at("after_engine_start_before_row")
            self._tell("READY", address, engine.pid)
            try:
                self._watch(engine, address)
            except (EngineDied, EngineRefused, OSError, http.client.HTTPException, Unhealthy) as error:
                raise _Ended(str(error), time.monotonic() - ready) from error
            if self._drain:
                self._end_gently(engine, address)
            return time.monotonic() - ready
        finally:
            engine.stop()

    def _files(self) -> tuple[Path, Path | None]:
        """The weights that are mapped, and what is added to them where others may map them too."""
        revision = self._revision
        assert revision.weights is not None, "only built revisions have engines"
        if revision.base_weights is None:
            return self._fetched(revision.weights), None
        return self._fetched(revision.base_weights), self._fetched(revision.weights)

    def _fetched(self, reference: ObjectReference) -> Path:
        (self._folder / reference.sha256).unlink(missing_ok=True)  # so that the bytes are verified again
        return self._cache.fetch(reference, self._folder)

    def _loaded(self, engine: LocalEngine) -> EngineAddress | None:
        while not self._stopping.is_set():
            address = engine.wait_for_address(0.2)
            if address is not None:
                return EngineAddress(self._settings.engine_host, address.port)
            if time.monotonic() - engine.started > _LOAD_SECONDS:
                raise Unhealthy(f"it did not load its model in {_LOAD_SECONDS:.0f} s")
        return None

    def _watch(self, engine: LocalEngine, address: EngineAddress) -> None:
        pulse = EngineApi(self._url(address), timeout_seconds=5.0)
        proof = EngineApi(self._url(address), timeout_seconds=_PROOF_SECONDS)
        misses = 0
        next_proof = time.monotonic() + self._settings.engine_health_seconds
        while True:
            self._changed.wait(_ALIVE_EVERY_SECONDS)
            self._changed.clear()
            if self._stopping.is_set():
                return
            if not engine.running:
                raise EngineDied(engine.last_words)
            try:
                pulse.alive()
                if time.monotonic() >= next_proof:
                    proof.answers()
                    next_proof = time.monotonic() + self._settings.engine_health_seconds
                misses = 0
            except (OSError, http.client.HTTPException, EngineRefused) as error:
                misses += 1
                if misses >= _ALIVE_MISSES and engine.running:
                    raise Unhealthy(f"it does not answer: {error}") from error

    def _end_gently(self, engine: LocalEngine, address: EngineAddress) -> None:
        # First it vanishes from the routing table, then what it has begun may end.
        self._forget()
        api = EngineApi(self._url(address), timeout_seconds=5.0)
        until = time.monotonic() + self._settings.engine_drain_seconds
        time.sleep(0.5)
        quiet = 0
        with contextlib.suppress(OSError, http.client.HTTPException, EngineRefused):
            # Between two answers of its own queue no slot is busy for a moment: only several looks count.
            while self._drain and engine.running and time.monotonic() < until and quiet < _QUIET_LOOKS:
                quiet = 0 if api.busy_slots() else quiet + 1
                time.sleep(0.1)

    def _give_up(self, reason: str, message: str) -> None:
        self._transact(lambda tx: engines.cannot_run(tx, self._revision.name, reason, message))

    def _forget(self) -> None:
        def forget(tx: Transaction) -> None:
            remove_engines(tx, self._agent, self._revision.name, self._pid)
            tx.notify(AGENTS)

        self._transact(forget)

    def _url(self, address: EngineAddress) -> str:
        return EngineAddress(self._settings.engine_host, address.port).url

    def _tell(
        self, state: str, address: EngineAddress | None = None, pid: int = 0, message: str = ""
    ) -> None:
        self._pid = pid
        row = EngineRow(
            revision=self._revision.name,
            agent=self._agent,
            state=state,
            host=address.host if address else "",
            port=address.port if address else 0,
            pid=pid,
            restarts=self._restarts,
            message=message[:1000],
            replica=self._number,
        )
        self._transact(lambda tx: engines.seen(tx, row))

    def _transact(self, use_case: Callable[[Transaction], None]) -> None:
        """Commit it, however long the database is away; while stopping, one try is enough."""
        while True:
            try:
                with self._runtime.database.transaction() as tx:
                    use_case(tx)
                return
            except Exception as error:
                if not is_transient(error):
                    raise
                self._log.warning("engine.not_told", error=str(error).strip())
                if self._stopping.wait(1.0):
                    return


class _Ended(Exception):
    """The engine was ready for a while and then ended."""

    def __init__(self, message: str, healthy_seconds: float) -> None:
        super().__init__(message)
        self.healthy_seconds = healthy_seconds
