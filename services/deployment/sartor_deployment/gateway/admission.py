"""Who may use an engine now, who waits, and who is sent away: a bounded queue in front of each revision."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.routes import Route

_LOOKAHEAD = 2
"""Requests an engine holds beyond its slots, so that none of them idles while the next one is on its way."""
_MEMORY = 0.9
_LONGEST_RETRY_SECONDS = 60


@dataclass(slots=True, eq=False)
class _Waiter:
    """One request in a queue; `place` gets the engine it may use."""

    avoid: frozenset[str]
    place: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Admission:
    """Counts what is at each engine. One for the process, inside its event loop.

    First come, first served within a revision. A queue holds `route.queue` requests at most: what comes then
    is refused before anything was done for it, and told when to come again.
    """

    def __init__(self) -> None:
        self._busy: Counter[str] = Counter()
        self._queues: defaultdict[str, deque[_Waiter]] = defaultdict(deque)
        self._seconds: dict[str, float] = {}

    def waiting(self, revision: str) -> int:
        """How many wait for this revision."""
        return len(self._queues[revision])

    def at(self, engine: str) -> int:
        """How many are at this engine."""
        return self._busy[engine]

    def try_enter(self, route: Route, avoid: set[str]) -> str | None:
        """A place at the least busy engine, if one is free and nobody waits for it already."""
        if self._queues[route.revision]:
            return None
        return self._take(route, frozenset(avoid))

    async def wait(self, route: Route, avoid: set[str], seconds: float, *, accepted: bool) -> str | None:
        """A place, after those who came earlier; None if there is none after so long.

        Args:
            accepted: it waited before, for a revision that gave way meanwhile: it is not sent away now.
        Raises:
            ApiError: 429 QUEUE_FULL, with the time after which to try again.
        """
        queue = self._queues[route.revision]
        if len(queue) >= route.queue and not accepted:
            raise ApiError(
                429,
                f"{len(queue)} requests wait for {route.revision} already; try again later",
                "queue_full",
                retry_after_seconds=self._retry_after(route),
            )
        waiter = _Waiter(frozenset(avoid))
        queue.append(waiter)
        self.dispatch(route)
        try:
            async with asyncio.timeout(seconds):
                return await waiter.place
        except (TimeoutError, asyncio.CancelledError) as ended:
            # It may have been given a place in this very moment.
            given = waiter.place.result() if waiter.place.done() and not waiter.place.cancelled() else None
            if isinstance(ended, TimeoutError):
                return given
            if given is not None:
                self.leave(route, given)
            raise
        finally:
            if waiter in queue:
                queue.remove(waiter)

    def leave(self, route: Route, engine: str, seconds: float | None = None) -> None:
        """Give a place back; `seconds` is how long it was used."""
        self._busy[engine] -= 1
        if self._busy[engine] <= 0:
            del self._busy[engine]
        if seconds is not None:
            before = self._seconds.get(route.revision, seconds)
            self._seconds[route.revision] = _MEMORY * before + (1 - _MEMORY) * seconds
        self.dispatch(route)

    def dispatch(self, route: Route) -> None:
        """Hand free places to those who wait, in their order."""
        queue = self._queues[route.revision]
        while queue:
            if queue[0].place.done():
                queue.popleft()
                continue
            engine = self._take(route, queue[0].avoid)
            if engine is None:
                return
            queue.popleft().place.set_result(engine)

    def _take(self, route: Route, avoid: frozenset[str]) -> str | None:
        free = [
            engine
            for engine in route.engines
            if engine not in avoid and self._busy[engine] < route.slots + _LOOKAHEAD
        ]
        if not free:
            return None
        engine = min(free, key=lambda each: self._busy[each])
        self._busy[engine] += 1
        return engine

    def _retry_after(self, route: Route) -> int:
        at_once = max(1, len(route.engines) * route.slots)
        seconds = self._seconds.get(route.revision, 1.0) * self.waiting(route.revision) / at_once
        return max(1, min(math.ceil(seconds), _LONGEST_RETRY_SECONDS))
