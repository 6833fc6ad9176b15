"""The parent's handle on a resident runner: start it, pass requests on, end it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from typing import Any

from sartor_platform import log
from sartor_platform.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    SartorError,
    Unavailable,
)

_SECRETS = ("SARTOR_", "AWS_", "MINIO_", "KAFKA_", "PG")
_NUMBERS = itertools.count()


class RunnerProcess:
    """A child with one model. `ready` is done once it is loaded; `used` says when it was last asked."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sartor_evaluation.runner_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self.ready: Future[int] = Future()
        self.used = time.monotonic()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._log = log.get(runner=task["name"], pid=self._process.pid)
        self._send(task)
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, candidate: str, items: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
        """Rows of the items, and how long the model worked.

        Raises:
            DeadlineExceeded: MODEL_LOADING or DEADLINE_EXCEEDED.
            FailedPrecondition, InvalidArgument: what the model or the items are not good for.
            Unavailable: the runner ended; asking again starts another.
        """
        until = time.monotonic() + seconds
        self.used = time.monotonic()
        try:
            self.ready.result(seconds)
        except Late:
            raise DeadlineExceeded(
                "the model is being loaded; ask again in a few seconds", reason="MODEL_LOADING"
            ) from None
        number, answer = next(_NUMBERS), Future[dict[str, Any]]()
        with self._lock:
            self._waiting[number] = answer
        try:
            request = {"id": number, "candidate": candidate, "items": list(items), "until": until}
            self._send(request)
            found = answer.result(max(until - time.monotonic(), 0.0))
        except Late:
            raise DeadlineExceeded(
                "the model needs longer than the deadline; give it more time, or ask CreateEvaluation",
                reason="DEADLINE_EXCEEDED",
            ) from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        self.used = time.monotonic()
        if "rows" not in found:
            raise _error(found)
        return found

    def stop(self) -> None:
        """End the child."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        pipe = self._process.stdin
        try:
            with self._lock:
                if pipe is not None:
                    pipe.write(json.dumps(message) + "\n")
                    pipe.flush()
        except (BrokenPipeError, OSError) as error:
            raise Unavailable("the runner ended; ask again", reason="RUNNER_ENDED") from error

    def _read(self) -> None:
        for line in self._process.stdout or ():
            message = json.loads(line)
            if "loaded" in message:
                self._loaded(message)
                continue
            with self._lock:
                answer = self._waiting.pop(message["id"], None)
            if answer is not None:
                answer.set_result(message)
        ended = Unavailable("the runner ended; ask again", reason="RUNNER_ENDED")
        if not self.ready.done():
            self.ready.set_exception(ended)
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), {}
        for answer in waiting:
            answer.set_exception(ended)
        self._log.info("runner.ended", status=self._process.wait())

    def _loaded(self, message: Mapping[str, Any]) -> None:
        if message["loaded"]:
            self._log.info("runner.loaded", bytes=message["bytes"])
            self.ready.set_result(int(message["bytes"]))
        else:
            self.ready.set_exception(FailedPrecondition(message["message"], reason=message["reason"]))


def _error(found: Mapping[str, Any]) -> SartorError:
    kinds: dict[str, type[SartorError]] = {
        "DEADLINE_EXCEEDED": DeadlineExceeded,
        "UNUSABLE_ITEMS": InvalidArgument,
    }
    return kinds.get(found["reason"], FailedPrecondition)(found["message"], reason=found["reason"])
