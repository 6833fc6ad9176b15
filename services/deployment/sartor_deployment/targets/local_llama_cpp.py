"""Target: engines on this machine, one process each: llama.cpp, or torch where labels are said."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sartor_deployment.build.classifier import is_packed
from sartor_deployment.resources import EngineSettings

_KEPT_LINES = 20
_SECRET_PREFIXES = ("SARTOR_", "AWS_", "MINIO_", "KAFKA_", "PG")


class EngineDied(Exception):
    """The engine's process ended before it answered; the message is its last words."""


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where an engine answers."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Its HTTP API."""
        return f"http://{self.host}:{self.port}"


class LocalEngine:
    """A running engine process.

    Start it from a thread that lives as long as the engine shall: the kernel kills it when that thread ends.
    """

    def __init__(
        self,
        weights: Path,
        alias: str,
        settings: EngineSettings,
        *,
        adapter: Path | None = None,
        bind_host: str = "127.0.0.1",
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the process.

        Args:
            alias: what its answers give as `model`.
            adapter: GGUF file that is added to `weights`, which other engines may map too.
            on_end: called from a thread of its own once the process has ended.
        """
        self._addresses: queue.Queue[EngineAddress | None] = queue.Queue()
        self._last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._on_end = on_end
        self.address: EngineAddress | None = None
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            _command(weights, adapter, alias, settings, bind_host),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIXES)},
            start_new_session=True,
        )
        self._readers = [self._thread(self._read_address), self._thread(self._read_errors)]

    @property
    def pid(self) -> int:
        """Its process number."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process.poll() is None

    @property
    def last_words(self) -> str:
        """How it ended and what it said last."""
        status = self.process.poll()
        how = "runs" if status is None else f"signal {-status}" if status < 0 else f"status {status}"
        return " | ".join([how, *list(self._last_lines)[-3:]])[-600:]

    def wait_for_address(self, seconds: float) -> EngineAddress | None:
        """Where it listens, once its model is loaded; None if that takes longer.

        Raises:
            EngineDied: the process ended first.
        """
        if self.address is None:
            try:
                self.address = self._addresses.get(timeout=seconds)
            except queue.Empty:
                return None
            if self.address is None:
                self.process.wait()
                for reader in self._readers:
                    if reader is not threading.current_thread():
                        reader.join(timeout=2)
                self._addresses.put(None)
                raise EngineDied(self.last_words)
        return self.address

    def stop(self, grace_seconds: float = 3.0) -> None:
        """End it; at once if it does not end by itself in time."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _thread(self, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name="engine-output", daemon=True)
        thread.start()
        return thread

    def _read_address(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for raw in output:
                line = raw.decode("utf-8", "replace").strip()
                try:
                    told = json.loads(line)
                    self._addresses.put(EngineAddress(told["host"], int(told["port"])))
                except (ValueError, TypeError, KeyError):
                    if line:
                        self._last_lines.append(line[:300])
        self.process.wait()
        self._addresses.put(None)
        self._on_end()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as errors:
            for raw in errors:
                line = raw.decode("utf-8", "replace").strip()
                if line:
                    self._last_lines.append(line[:300])


def _command(
    weights: Path, adapter: Path | None, alias: str, settings: EngineSettings, bind_host: str
) -> list[str]:
    options = {
        "--model": str(weights),
        **({"--adapter": str(adapter)} if adapter is not None else {}),
        "--alias": alias,
        "--host": bind_host,
        "--context": str(settings.context_length),
        "--slots": str(settings.slots),
        "--threads": str(settings.threads),
        "--parent": str(os.getpid()),
    }
    flat = [part for option in options.items() for part in option]
    module = "classifier_engine" if is_packed(weights) else "engine"
    return [sys.executable, "-P", "-m", f"sartor_deployment.{module}", *flat]
