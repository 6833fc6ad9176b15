"""EvaluateOnce on the server's side: which runner holds the model, and asking it within the deadline."""

from __future__ import annotations

import hashlib
import json
import queue
import socket
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sartor_platform.errors import DeadlineExceeded, Unavailable, error_of_code


class RunnerClients:
    """Connections to the workers' runners, kept open between calls."""

    def __init__(self) -> None:
        self._idle: dict[str, queue.SimpleQueue[_Connection]] = defaultdict(queue.SimpleQueue)
        self._lock = threading.Lock()

    def ask(self, runners: Sequence[tuple[str, str]], request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of the runner that this model belongs to.

        Args:
            runners: (target, token) of those that live. A model always goes to the same one of them
            (rendezvous
                hashing), so that it is loaded once.
        Raises:
            Unavailable: NO_RUNNER; or whatever the runner says.
        """
        if not runners:
            raise Unavailable(
                "no worker of evaluation is running: start one, or ask again in a moment", reason="NO_RUNNER"
            )
        ranked = sorted(runners, key=lambda one: _weight(one[0], request["digest"]), reverse=True)
        for target, token in ranked:
            try:
                found = self._ask(target, {**request, "token": token})
            except ConnectionError:
                continue  # its worker ended since its last heartbeat
            if "code" in found:
                kind = error_of_code(found["code"])
                raise kind(found["message"], reason=found["reason"], metadata=found["metadata"])
            return found
        raise Unavailable("no worker of evaluation answers; ask again in a moment", reason="NO_RUNNER")

    def _ask(self, target: str, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            idle = self._idle[target]
        try:
            connection = idle.get_nowait()
        except queue.Empty:
            connection = _Connection(target)
        try:
            found = connection.ask(request)
        except ConnectionError:
            connection.close()
            connection = _Connection(target)  # the idle one was stale; a fresh one tells whether it lives
            found = connection.ask(request)
        except TimeoutError:
            connection.close()
            raise DeadlineExceeded("the runner did not answer within the deadline") from None
        idle.put(connection)
        return found


class _Connection:
    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        try:
            self._socket = socket.create_connection((host, int(port)), timeout=2.0)
        except OSError as error:
            raise ConnectionError(f"{target} does not answer") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request and its answer. Raises ConnectionError, TimeoutError."""
        self._socket.settimeout(request["seconds"] + 1.0)
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._lines.readline()
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionError("the runner's worker ended") from error
        if not line:
            raise ConnectionError("the runner's worker ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def _weight(target: str, digest: str) -> bytes:
    return hashlib.blake2b(f"{target}|{digest}".encode(), digest_size=8).digest()
