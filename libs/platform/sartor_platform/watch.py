"""Watch streams: one LISTEN connection wakes them all; they are capped, so that they never starve calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from sartor_platform import metrics
from sartor_platform.errors import ResourceExhausted
from sartor_platform.listen import Listener

if TYPE_CHECKING:
    from google.protobuf.message import Message

M = TypeVar("M", bound="Message")

LIMIT = 32
_POLL_SECONDS = 5.0
_PAUSE_SECONDS = 0.1


class Watchers:
    """Feeds Watch… calls: the resource now and whenever it changed; changes in between are merged."""

    def __init__(self, listener: Listener, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: dict[str, set[threading.Event]] = {}
        self._count = 0
        self._closed = False
        listener.subscribe("watch", self._changed)

    def stream(
        self, resource_name: str, read: Callable[[], M], done: Callable[[M], bool], context: Any
    ) -> Iterator[M]:
        """What `read` returns, each time it is another, up to and including the one that is `done`.

        Ends when the client goes or the server drains. `context` is the gRPC servicer context.

        Raises:
            ResourceExhausted: TOO_MANY_WATCHERS.
        """
        changed = self._enter(resource_name)
        try:
            context.add_callback(changed.set)
            shown: M | None = None
            while context.is_active() and not self._closed:
                changed.clear()
                seen = read()
                if shown is None or seen != shown:
                    shown = seen
                    yield seen
                    if done(seen):
                        return
                changed.wait(_POLL_SECONDS)
                if context.is_active() and not self._closed:
                    time.sleep(_PAUSE_SECONDS)  # a burst of changes is one message
        finally:
            self._leave(resource_name, changed)

    @property
    def count(self) -> int:
        """How many streams are open."""
        return self._count

    def close(self) -> None:
        """End every stream; new ones end at once."""
        self._closed = True
        self._changed("")

    def _enter(self, resource_name: str) -> threading.Event:
        changed = threading.Event()
        with self._lock:
            if self._count >= self._limit:
                raise ResourceExhausted(
                    f"{self._limit} streams are open already; ask again in a while, or poll with Get",
                    reason="TOO_MANY_WATCHERS",
                )
            self._count += 1
            metrics.WATCHERS.set(self._count)
            self._waiting.setdefault(resource_name, set()).add(changed)
        return changed

    def _leave(self, resource_name: str, changed: threading.Event) -> None:
        with self._lock:
            self._count -= 1
            metrics.WATCHERS.set(self._count)
            waiting = self._waiting[resource_name]
            waiting.discard(changed)
            if not waiting:
                del self._waiting[resource_name]

    def _changed(self, resource_name: str) -> None:
        with self._lock:
            if resource_name:
                waiting = list(self._waiting.get(resource_name, ()))
            else:
                waiting = [event for events in self._waiting.values() for event in events]
        for event in waiting:
            event.set()
