"""One LISTEN connection a process, fanned out to whoever waits: the relay, the workers, the watchers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sartor_platform import log

if TYPE_CHECKING:
    from sartor_platform.database import Database

Callback = Callable[[str], None]
PING_SECONDS = 15.0


class Listener:
    """Passes NOTIFY payloads `topic:detail` on to the subscribers of `topic`. Callbacks must be quick.

    Notifications are hints: after a lost connection every subscriber is called once with "", "look yourself",
    and everybody who waits also polls.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._subscribers: dict[str, list[Callback]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def subscribe(self, topic: str, callback: Callback) -> Callable[[], None]:
        """Call back with the detail of each notification of the topic. Returns what ends the subscription."""
        with self._lock:
            self._subscribers.setdefault(topic, []).append(callback)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers[topic].remove(callback)

        return unsubscribe

    def start(self) -> None:
        """Begin to listen, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        import psycopg

        self._stopping.set()
        if self._thread is None:
            return
        with contextlib.suppress(psycopg.Error), self._database.connect() as connection:
            connection.execute("SELECT pg_notify(%s, 'stop')", [self._database.channel])
        self._thread.join(timeout=5)

    def _run(self) -> None:
        import psycopg

        while not self._stopping.is_set():
            try:
                with self._database.connect() as connection:
                    self._listen(connection)
            except psycopg.Error as error:
                log.get().warning("listener.lost", error=log.brief(error))
                self._stopping.wait(1.0)

    def _listen(self, connection: Any) -> None:
        connection.execute(f'LISTEN "{self._database.channel}"')
        with self._lock:
            topics = list(self._subscribers)
        for topic in topics:
            self._tell(topic, "")
        heard = time.monotonic()
        while not self._stopping.is_set():
            if time.monotonic() - heard > PING_SECONDS:
                connection.execute("SELECT 1")  # silence may also mean that the server is gone
                heard = time.monotonic()
            for notice in connection.notifies(timeout=1.0):
                heard = time.monotonic()
                topic, _, detail = notice.payload.partition(":")
                self._tell(topic, detail)
                if self._stopping.is_set():
                    return

    def _tell(self, topic: str, detail: str) -> None:
        with self._lock:
            subscribers = list(self._subscribers.get(topic, ()))
        for callback in subscribers:
            callback(detail)
