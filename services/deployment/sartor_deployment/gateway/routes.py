"""Which engines answer for which model: the routing table, read from the database and swapped as a whole."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sartor_platform import log
from sartor_platform.database import Database, is_transient
from sartor_platform.listen import Listener

from sartor_deployment import store
from sartor_deployment.resources import ENDPOINT, State
from sartor_deployment.usecases.revisions import AGENTS

_LOOK_EVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a revision's engines take: `slots` at a time each, `queue` waiting at this gateway."""

    slots: int = 4
    queue: int = 256


@dataclass(frozen=True, slots=True)
class Route:
    """What a model name means now: the revision that answers, and the engines that serve it.

    `canary` answers `canary_weight` percent of the requests instead; `shadow` is asked `shadow_share` of them
    too.
    """

    revision: str
    engines: tuple[str, ...]
    endpoint: str = ""
    slots: int = 4
    queue: int = 256
    sample_share: float = 0.0
    canary: str = ""
    canary_weight: int = 0
    shadow: str = ""
    shadow_share: float = 0.0

    @property
    def project(self) -> str:
        """ "projects/{project}" of the endpoint."""
        return "/".join(self.endpoint.split("/")[:2])


@dataclass(frozen=True, slots=True)
class Table:
    """All routes at one moment. `ambiguous` are endpoint ids that several projects use."""

    routes: Mapping[str, Route] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def table(
    live: Mapping[str, str],
    engines: Mapping[str, tuple[str, ...]],
    limits: Mapping[str, Limits] | None = None,
    canaries: Mapping[str, tuple[str, int]] | None = None,
    sample_shares: Mapping[str, float] | None = None,
    shadows: Mapping[str, tuple[str, float]] | None = None,
) -> Table:
    """Routes by endpoint id where it is unique, endpoint name, and the name of every revision with an engine.

    Args:
        live: endpoint name → live revision, "" where there is none.
        engines: revision → URLs of the engines that answer.
        limits: revision → what its engines take.
        canaries: endpoint → (revision, percent of the traffic).
        sample_shares: endpoint → share of requests of which the text is kept.
        shadows: endpoint → (revision, share of the requests that it is asked too).
    """
    limits, canaries, shares, shadows = limits or {}, canaries or {}, sample_shares or {}, shadows or {}

    def route(revision: str) -> Route:
        endpoint = revision.partition("/revisions/")[0]
        most = limits.get(revision, Limits())
        share = shares.get(endpoint, 0.0)
        return Route(revision, engines.get(revision, ()), endpoint, most.slots, most.queue, share)

    ids = {name: ENDPOINT.parse(name)["endpoint"] for name in live}
    uses = Counter(ids.values())
    routes: dict[str, Route] = {revision: route(revision) for revision in engines}
    models: list[str] = []
    for name, revision in live.items():
        if not revision:
            continue
        routes[revision] = route(revision)
        canary, weight = canaries.get(name, ("", 0))
        if not engines.get(canary):
            canary, weight = "", 0  # without an engine it answers nobody
        shadow, share = shadows.get(name, ("", 0.0))
        routes[name] = replace(
            routes[revision], canary=canary, canary_weight=weight, shadow=shadow, shadow_share=share
        )
        if uses[ids[name]] == 1:
            routes[ids[name]] = routes[name]
        models.append(ids[name] if uses[ids[name]] == 1 else name)
    ambiguous = {
        id_: tuple(sorted(name for name in live if ids[name] == id_))
        for id_, count in uses.items()
        if count > 1
    }
    return Table(routes, (*sorted(models), *sorted(engines)), ambiguous)


class Routes:
    """The current table. A thread keeps it; requests read it, and may wait for the next one."""

    def __init__(self, database: Database) -> None:
        self.current = Table()
        self._database = database
        self._wake = threading.Event()
        self._stopping = False
        self._read_at = 0.0
        self._changed: set[Callable[[], None]] = set()
        self._listener = Listener(database)
        self._listener.subscribe("watch", lambda name: self._wake.set() if name in ("", AGENTS) else None)
        self._thread = threading.Thread(target=self._keep, name="routes", daemon=True)

    def start(self) -> None:
        """Begin to keep the table."""
        self._listener.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop."""
        self._stopping = True
        self._wake.set()
        self._listener.stop()

    @property
    def fresh(self) -> bool:
        """Whether the table was read at all. It stays in use while the database is away."""
        return self._read_at > 0

    async def changed(self, seconds: float) -> None:
        """Wait until the table is another, at most so long."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(event.set)

        self._changed.add(tell)
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
        finally:
            self._changed.discard(tell)

    def _keep(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                now = self._read()
                self._read_at = time.monotonic()
                if now != self.current:
                    self.current = now
                    log.get().info("gateway.routes", models=list(now.models))
                    for tell in list(self._changed):
                        tell()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.get().warning("gateway.routes_not_read", error=str(error).strip())
            self._wake.wait(_LOOK_EVERY_SECONDS)

    def _read(self) -> Table:
        with self._database.read() as connection:
            live = store.live_revisions(connection)
            ready = store.ready_engines(connection)
            served = store.served(connection)
            shares = store.sample_shares(connection)
        engines: dict[str, tuple[str, ...]] = {}
        for row in ready:
            engines[row.revision] = (*engines.get(row.revision, ()), row.url)
        limits = {each.name: Limits(each.slots, each.queue) for each in served}
        canaries = {
            each.endpoint: (each.name, each.canary_weight)
            for each in served
            if each.state is State.CANARY and each.canary_weight
        }
        shadows = {
            each.endpoint: (each.name, each.shadow_share) for each in served if each.state is State.SHADOW
        }
        return table(live, engines, limits, canaries, shares, shadows)
