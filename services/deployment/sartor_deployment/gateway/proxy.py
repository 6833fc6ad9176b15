"""Passes a request on to an engine and its answer back; another engine is tried before the first byte."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from dataclasses import dataclass, replace

from prometheus_client import Counter, Gauge, Histogram
from sartor_platform import log
from starlette.responses import Response

from sartor_deployment.gateway.admission import Admission
from sartor_deployment.gateway.engine_answer import EngineAnswer, EngineGone
from sartor_deployment.gateway.engine_client import EngineClient
from sartor_deployment.gateway.errors import ApiError, from_engine
from sartor_deployment.gateway.routes import Route, Routes
from sartor_deployment.gateway.shadow import Shadow
from sartor_deployment.gateway.stream import EngineStream
from sartor_deployment.gateway.traffic import Recorder, Seen
from sartor_deployment.gateway.usage import Passage

REQUESTS = Counter("sartor_gateway_requests", "Requests by model and status.", ["revision", "status"])
WAITING = Gauge("sartor_gateway_waiting", "Requests that wait for an engine's slot.")
FIRST_BYTE_SECONDS = Histogram(
    "sartor_gateway_first_byte_seconds",
    "Until the engine's first byte.",
    ["revision"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_PASSED_ON = ("content-type", "cache-control")
_LOOK_AGAIN_SECONDS = 0.5
_LOADING = 503
CLASSIFICATIONS = "/v1/classifications"


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """How long things may take, in seconds."""

    engine_wait: float = 15.0
    """For an engine that is being started again, before 503."""
    queue: float = 60.0
    """For a free slot, before 429."""
    request: float = 600.0
    """From the first to the last byte."""
    slow_reader: float = 120.0
    """For a client that reads nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, its form checked."""

    id: str
    model: str
    path: str
    body: bytes
    user: str = ""
    api_key: str = ""
    sampled: bool = False


@dataclass(slots=True)
class _Deadline:
    """Until when a request waits for an engine to be there at all."""

    at: float


class Proxy:
    """Talks to engines. One for the process, inside its event loop."""

    def __init__(self, routes: Routes, recorder: Recorder, limits: ProxyLimits) -> None:
        self._routes = routes
        self._recorder = recorder
        self._limits = limits
        self.admission = Admission()
        self._client = EngineClient()
        self._shadow = Shadow(routes, recorder, self.admission, self._client, limits.request)

    async def close(self) -> None:
        """Close the connections to engines."""
        await self._shadow.close()
        self._client.close()

    async def forward(self, asked: Asked) -> Response:
        """The engine's answer; streamed if the engine streams.

        Raises:
            ApiError: 404 unknown model, 429 the queue is full, 503 no engine answers, or the engine's.
        """
        started = time.monotonic()
        deadline = _Deadline(started + self._limits.engine_wait)
        avoid: set[str] = set()
        while True:
            route = self._choose(asked)
            engine, route = await self._place(asked, route, avoid, deadline)
            try:
                answer = await self._client.post(engine + asked.path, asked.body)
            except EngineGone as error:
                self.admission.leave(route, engine)
                log.get().warning(
                    "gateway.engine_unreachable", engine=engine, revision=route.revision, error=repr(error)
                )
                avoid.add(engine)
                continue
            except BaseException:
                self.admission.leave(route, engine)
                raise
            if answer.head.status == _LOADING:  # it loads its model, or is about to end: another may answer
                answer.close()
                self.admission.leave(route, engine)
                avoid.add(engine)
                continue
            FIRST_BYTE_SECONDS.labels(route.revision).observe(time.monotonic() - started)
            return await self._answer(asked, route, engine, answer, started)

    def route(self, model: str) -> Route:
        """What `model` means now.

        Raises:
            ApiError: 404, with what there is.
        """
        table = self._routes.current
        route = table.routes.get(model)
        if route is not None:
            return route
        if model in table.ambiguous:
            names = ", ".join(table.ambiguous[model])
            what = f"the id {model!r} belongs to several endpoints; name one: {names}"
        else:
            known = ", ".join(table.models) or "none yet"
            what = f"the model {model!r} does not exist or is not live; there are: {known}"
        raise ApiError(404, what, "model_not_found", "model")

    def _choose(self, asked: Asked) -> Route:
        """The live revision, or the canary for its share. A `user` always meets the same of the two."""
        route = self.route(asked.model)
        if not route.canary:
            return route
        if asked.user:
            digest = hashlib.sha256(f"{route.canary}\0{asked.user}".encode("utf-8", "replace")).digest()
            drawn = int.from_bytes(digest[:4], "big") / 2**32
        else:
            drawn = random.random()
        if drawn * 100 >= route.canary_weight:
            return route
        return self._routes.current.routes.get(route.canary, route)

    async def _place(
        self, asked: Asked, route: Route, avoid: set[str], deadline: _Deadline
    ) -> tuple[str, Route]:
        """A place at an engine, and whose engine it is: while it waits, the live revision may be another."""
        engine = self.admission.try_enter(route, avoid)
        if engine is not None:
            return engine, route
        entered = time.monotonic()
        accepted = False
        while True:
            if not [each for each in route.engines if each not in avoid]:
                await self._wait_for_engine(route, deadline.at)
                avoid.clear()
                route = self._choose(asked)
                engine = self.admission.try_enter(route, avoid)
            else:
                WAITING.inc()
                try:
                    engine = await self.admission.wait(route, avoid, _LOOK_AGAIN_SECONDS, accepted=accepted)
                finally:
                    WAITING.dec()
                accepted = True
                # Time in the queue is not time without an engine.
                deadline.at = max(deadline.at, time.monotonic() + self._limits.engine_wait)
            if engine is not None:
                return engine, route
            if time.monotonic() - entered > self._limits.queue:
                raise ApiError(
                    429,
                    f"no slot of {route.revision} became free within {self._limits.queue:g} s",
                    "queue_timeout",
                    retry_after_seconds=5,
                )
            now = self._routes.current.routes.get(route.revision)
            route = now if now is not None and now.engines else self._choose(asked)

    async def _wait_for_engine(self, route: Route, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0:
            REQUESTS.labels(route.revision, "503").inc()
            raise ApiError(
                503,
                f"no engine of {route.revision} answers now; it is being started again",
                "engine_unavailable",
                retry_after_seconds=5,
            )
        await self._routes.changed(min(left, _LOOK_AGAIN_SECONDS))

    async def _answer(
        self, asked: Asked, route: Route, engine: str, answer: EngineAnswer, started: float
    ) -> Response:
        status, fields = answer.head.status, answer.head.headers
        REQUESTS.labels(route.revision, str(status)).inc()
        headers = {name: fields[name] for name in _PASSED_ON if name in fields}
        headers |= {"x-sartor-revision": route.revision, "x-request-id": asked.id}
        copied = self._shadow.draws(route)
        passage = Passage(keep_text=asked.sampled or copied)
        seen = Seen(
            id=asked.id,
            endpoint=route.endpoint,
            revision=route.revision,
            api_key=asked.api_key,
            status=status,
            failed=status >= 500,
            first_byte_ms=(time.monotonic() - started) * 1000,
            question=asked.body if asked.sampled else b"",
        )

        def ended(failed: bool, used: bool = True) -> None:
            seconds = time.monotonic() - started
            self.admission.leave(route, engine, seconds if used else None)
            self._recorder.record(
                replace(seen, failed=seen.failed or failed, total_ms=seconds * 1000), passage
            )
            if copied and used and not failed:
                self._shadow.follow(asked.id, asked.path, asked.body, route, passage)

        if status < 400 and fields.get("content-type", "").startswith("text/event-stream"):
            return EngineStream(
                answer, headers, passage, ended, until=started + self._limits.request,
                slow_reader_seconds=self._limits.slow_reader,
            )  # fmt: skip
        failed = True
        try:
            data = await answer.read()
            passage.see(data)
            failed = False
        except EngineGone as error:
            raise ApiError(
                502, f"the engine ended in the middle of its answer: {error!r}", "engine_died"
            ) from error
        except asyncio.CancelledError:
            failed = False  # the client went: no fault of the engine
            raise
        finally:
            answer.close()
            ended(failed, status < 400)
        if status >= 400:
            if status == 404 and asked.path == CLASSIFICATIONS:
                raise ApiError(
                    400, f"{asked.model} writes text; ask /v1/chat/completions", "not_a_classifier", "model"
                )
            raise from_engine(status, data)
        return Response(data, status, headers)
