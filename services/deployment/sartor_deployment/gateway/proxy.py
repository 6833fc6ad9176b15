"""Passes a request on to an engine and its answer back; another engine is tried before the first byte."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
from prometheus_client import Counter, Histogram
from sartor_platform import log
from starlette.responses import Response, StreamingResponse

from sartor_deployment.gateway.errors import ApiError, from_engine
from sartor_deployment.gateway.routes import Route, Routes

REQUESTS = Counter("sartor_gateway_requests", "Requests by model and status.", ["revision", "status"])
FIRST_BYTE_SECONDS = Histogram(
    "sartor_gateway_first_byte_seconds",
    "Until the engine's first byte.",
    ["revision"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_HEADERS = {"Content-Type": "application/json"}
_PASSED_ON = ("content-type", "cache-control")


class Proxy:
    """Talks to engines. One for the process, inside its event loop."""

    def __init__(self, routes: Routes, *, wait_seconds: float) -> None:
        self._routes = routes
        self._wait_seconds = wait_seconds
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=2.0),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections to engines."""
        await self._client.aclose()

    async def forward(self, model: str, path: str, body: bytes) -> Response:
        """The engine's answer to `body` at `path`; streamed if the engine streams.

        Raises:
            ApiError: 404 unknown model, 503 no engine answers, or the engine's own error.
        """
        started = time.monotonic()
        until = started + self._wait_seconds
        avoid: set[str] = set()
        while True:
            route = self.route(model)
            engine = self._routes.pick(route, avoid)
            if engine is None:
                await self._wait_for_engine(route, until)
                avoid.clear()
                continue
            try:
                answer = await self._send(engine + path, body)
            except httpx.TransportError as error:
                log.get().warning(
                    "gateway.engine_unreachable", engine=engine, revision=route.revision, error=repr(error)
                )
                avoid.add(engine)
                continue
            FIRST_BYTE_SECONDS.labels(route.revision).observe(time.monotonic() - started)
            return await self._answer(route, answer)

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
            raise ApiError(
                404,
                f"the id {model!r} belongs to several endpoints; name one: {names}",
                "model_not_found",
                "model",
            )
        known = ", ".join(table.models) or "none yet"
        raise ApiError(
            404,
            f"the model {model!r} does not exist or is not live; there are: {known}",
            "model_not_found",
            "model",
        )

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
        await self._routes.changed(min(left, 0.5))

    async def _send(self, url: str, body: bytes) -> httpx.Response:
        request = self._client.build_request("POST", url, content=body, headers=_HEADERS)
        return await self._client.send(request, stream=True)

    async def _answer(self, route: Route, answer: httpx.Response) -> Response:
        status = answer.status_code
        REQUESTS.labels(route.revision, str(status)).inc()
        if status >= 400:
            data = await answer.aread()
            await answer.aclose()
            raise from_engine(status, data)
        headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
        headers["x-sartor-revision"] = route.revision
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            try:
                return Response(await answer.aread(), status, headers)
            except httpx.TransportError as error:
                raise ApiError(
                    502, f"the engine ended in the middle of its answer: {error!r}", "engine_died"
                ) from error
            finally:
                await answer.aclose()
        return StreamingResponse(_stream(answer, route), status, headers)


async def _stream(answer: httpx.Response, route: Route) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx.TransportError as error:
        log.get().warning("gateway.stream_broke", revision=route.revision, error=repr(error))
        broken = ApiError(502, "the engine ended in the middle of its answer; ask again", "engine_died")
        yield f"data: {json.dumps(broken.body())}\n\n".encode()
    finally:
        # Also when the client has gone: the engine sees its connection close and stops to generate.
        await asyncio.shield(answer.aclose())
