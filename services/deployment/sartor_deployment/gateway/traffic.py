"""What the gateway saw of requests: figures always, question and answer only where asked for and then masked.

Written by a thread of its own in batches: no answer waits for the database. What cannot be written while the
database is away is kept up to a bound, then dropped and counted.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

from prometheus_client import Counter
from sartor_platform import log
from sartor_platform.database import Database, is_transient

from sartor_deployment import store
from sartor_deployment.gateway.keys import Keys
from sartor_deployment.gateway.sample import agreement, answer_text, masked_json, question_of
from sartor_deployment.gateway.usage import Passage
from sartor_deployment.store import RequestRow

DROPPED = Counter("sartor_gateway_unrecorded", "Requests of which nothing was kept, because too many waited.")
_MOST_WAITING = 20_000
_FLUSH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the gateway saw it."""

    id: str
    endpoint: str
    revision: str
    api_key: str
    status: int
    failed: bool
    first_byte_ms: float
    question: bytes = b""
    total_ms: float = 0.0
    user_got: bytes = b""
    """Of an answer in the shadow: what the live revision had answered."""


class Recorder(Protocol):
    """Takes what was seen."""

    def record(self, seen: Seen, passage: Passage) -> None:
        """Keep it; returns at once."""

    def unwritten(self, request: str) -> bool:
        """Whether this request, named by its id or its answer's, was seen but is not written down yet."""


class NoRecorder:
    """Keeps nothing: for tests, and for a gateway as a library."""

    def record(self, seen: Seen, passage: Passage) -> None:
        """Forget it."""

    def unwritten(self, request: str) -> bool:
        """Nothing is ever written."""
        return False


class TrafficLog:
    """Writes what was seen."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys
        self._waiting: deque[tuple[Seen, Passage]] = deque()
        self._unwritten: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="traffic", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and stop."""
        self._stopping.set()
        self._thread.join(5.0)

    def record(self, seen: Seen, passage: Passage) -> None:
        """Keep it; returns at once."""
        if seen.api_key:
            usage = passage.usage()
            self._keys.used(seen.api_key, usage.prompt + usage.completion)
        if len(self._waiting) >= _MOST_WAITING:
            DROPPED.inc()
            return
        self._unwritten |= {seen.id, passage.answer_id}
        self._waiting.append((seen, passage))

    def unwritten(self, request: str) -> bool:
        """Whether this request, named by its id or its answer's, was seen but is not written down yet."""
        return request in self._unwritten

    def _keep(self) -> None:
        while not self._stopping.wait(_FLUSH_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        taken = list(self._waiting)
        if not taken:
            return
        try:
            with self._database.transaction() as tx:
                store.insert_requests(tx, [traffic_row(seen, passage) for seen, passage in taken])
        except Exception as error:  # noqa: BLE001 - one batch that cannot be written must not end the log
            if is_transient(error):
                return
            log.get().error("gateway.requests_not_written", error=str(error).strip(), count=len(taken))
            DROPPED.inc(len(taken))
        for seen, passage in taken:
            self._waiting.popleft()
            self._unwritten.difference_update((seen.id, passage.answer_id))


def traffic_row(seen: Seen, passage: Passage) -> RequestRow:
    """What is written of one request."""
    usage = passage.usage()
    row = RequestRow(
        id=seen.id,
        answer_id=passage.answer_id,
        endpoint=seen.endpoint,
        revision=seen.revision,
        api_key=seen.api_key,
        status=seen.status,
        failed=seen.failed,
        first_byte_ms=seen.first_byte_ms,
        total_ms=seen.total_ms,
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        question=None,
        answer=None,
        agreement=agreement(answer_text(seen.user_got), answer_text(passage.body))
        if seen.user_got and not seen.failed
        else None,
    )
    if not seen.question or seen.status >= 400:
        return row
    try:
        question, answer = masked_json([question_of(seen.question), answer_text(passage.body)])
        return replace(row, question=json.dumps(question), answer=answer)
    except (ValueError, RecursionError) as error:  # its figures are kept; the text of one is no loss
        log.get().warning("gateway.sample_unreadable", request=seen.id, error=repr(error)[:200])
        return row
