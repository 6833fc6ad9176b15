"""Resident runners of a worker: a process a model, least recently used first out, within a memory budget.

Servers reach them by a socket of JSON lines that the table `runners` names with its token.
"""

from __future__ import annotations

import hmac
import json
import secrets
import shutil
import socketserver
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import log
from sartor_platform.database import is_transient
from sartor_platform.errors import SartorError, Unavailable, grpc_code
from sartor_platform.object_cache import ObjectCache
from sartor_platform.runtime import Runtime

from sartor_evaluation import store
from sartor_evaluation.resources import PinnedModel
from sartor_evaluation.runner_process import RunnerProcess
from sartor_evaluation.staging import stage_model

HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Staging:
    """What staging needs of a job's context."""

    runtime: Runtime
    cache: ObjectCache
    folder: Path

    def fetch(self, reference: ObjectReference) -> Path:
        return self.cache.fetch(reference, self.folder / "objects")


class Runners:
    """The runner processes of this worker, by the digest of their model."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._folder = Path(runtime.settings.data_dir) / "runners" / secrets.token_hex(4)
        objects = Path(runtime.settings.data_dir) / "objects"
        self._cache = ObjectCache(runtime.objects, objects, runtime.settings.object_cache_bytes)
        self._held: dict[str, RunnerProcess] = {}
        self._lock = threading.Lock()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What the runner of the request's model makes of its items. Raises: as RunnerProcess.ask."""
        until = time.monotonic() + request["seconds"]
        runner, fresh = self._runner(request["digest"], request["model"], request["pinned"])
        found = runner.ask(request["candidate"], request["items"], max(until - time.monotonic(), 0.001))
        return {"rows": found["rows"], "seconds": found["seconds"], "loaded": fresh}

    def _runner(self, digest: str, name: str, pinned: Mapping[str, Any]) -> tuple[RunnerProcess, bool]:
        with self._lock:
            held = self._held.get(digest)
            if held is not None and held.alive:
                return held, False
            folder = self._folder / secrets.token_hex(4)
            folder.mkdir(parents=True)
            staging = _Staging(self._runtime, self._cache, folder)
            version = pinned["version"]
            model = PinnedModel(
                ObjectReference(**pinned["base"]), None if version is None else ObjectReference(**version)
            )
            task = stage_model(staging, name, model, folder / "model")
            self._make_room()
            started = RunnerProcess({**task, "folder": str(folder)})
            self._held[digest] = started
            started.ready.add_done_callback(lambda _: self._trim(digest))
            return started, True

    def _make_room(self) -> None:
        for digest, runner in list(self._held.items()):
            if not runner.alive:
                del self._held[digest]

    def _trim(self, newest: str) -> None:
        """End those used longest ago until the rest fits the budget; the newest stays."""
        budget = self._runtime.settings.runner_memory_bytes
        ended = []
        with self._lock:
            loaded = {
                digest: one.ready.result()
                for digest, one in self._held.items()
                if one.ready.done() and one.ready.exception() is None
            }
            for digest in sorted(loaded, key=lambda one: self._held[one].used):
                if sum(loaded.values()) <= budget:
                    break
                if digest != newest:
                    ended.append(self._held.pop(digest))
                    del loaded[digest]
            if newest in self._held and newest not in loaded:
                ended.append(self._held.pop(newest))  # it could not be loaded: the next request tries again
        for runner in ended:
            runner.stop()

    def stop(self) -> None:
        """End all."""
        with self._lock:
            held, self._held = list(self._held.values()), {}
        for runner in held:
            runner.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


class RunnerServer:
    """Listens for the servers' requests, and says in the database where."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._runners = runtime, Runners(runtime)
        self._token = secrets.token_urlsafe(24)
        host, _, port = runtime.settings.runner_bind.rpartition(":")
        runners, token = self._runners, self._token

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(json.dumps(_answer(runners, token, line)).encode() + b"\n")

        self._server = _Server((host, int(port)), Handler)
        self._stop = threading.Event()
        self._target = f"{host}:{self._server.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def stop(self) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._runners.stop()

    def _beat(self) -> None:
        while True:
            try:
                with self._runtime.database.transaction() as tx:
                    store.beat(tx.connection, self._target, self._token)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.get().warning("runners.heartbeat_failed", error=log.brief(error))
            if self._stop.wait(HEARTBEAT_SECONDS):
                return


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def _answer(runners: Runners, token: str, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        if not hmac.compare_digest(str(request.get("token", "")), token):
            raise Unavailable("this runner belongs to another installation", reason="NO_RUNNER")
        return runners.ask(request)
    except SartorError as error:
        return {
            "code": grpc_code(error),
            "reason": error.reason,
            "message": error.message,
            "metadata": error.metadata,
        }
