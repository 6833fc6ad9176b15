"""The HTTP API: chat, completions, classifications, models, feedback (all below /v1) and /healthz."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from sartor_platform import log
from sartor_platform.names import new_id
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.feedback import Feedback, parse_feedback
from sartor_deployment.gateway.keys import Keys
from sartor_deployment.gateway.proxy import CLASSIFICATIONS, Asked, Proxy, ProxyLimits
from sartor_deployment.gateway.request_form import checked, json_object
from sartor_deployment.gateway.routes import Routes
from sartor_deployment.gateway.templates import Templates
from sartor_deployment.gateway.tool_choice import as_call, forced_call
from sartor_deployment.gateway.traffic import NoRecorder, Recorder

_OURS_SECONDS, _OTHERS_SECONDS = 15.0, 1.5
"""So long what a user says of an answer waits until that is written down: by this gateway, or by another."""


class FeedbackStore(Protocol):
    """Where feedback goes. Blocking; called in a thread."""

    def keep(self, given: Feedback, project: str) -> str:
        """Keep it; returns the revision it is about.

        Raises:
            ApiError: 404: no such answer. 503: it cannot be kept now.
        """


def make_app(
    routes: Routes,
    *,
    limits: ProxyLimits,
    max_body_bytes: int,
    keys: Keys | None = None,
    recorder: Recorder | None = None,
    feedback: FeedbackStore | None = None,
) -> Starlette:
    """The application; `routes`, `keys` and `recorder` are kept by their owner."""
    recorder = recorder or NoRecorder()
    proxy = Proxy(routes, recorder, limits)
    guard = keys or Keys(None, required=False)
    templates = Templates()

    async def ask(request: Request, needed: str, path: str) -> Response:
        caller = guard.caller(request.headers.get("authorization", ""))
        body = await _body(request, max_body_bytes, limits.slow_reader)
        value = checked(body, needed)
        route = proxy.route(value["model"])
        caller.check(route)
        guard.admit(caller)
        forced = None
        if value.get("tools"):
            canary = routes.current.routes.get(route.canary)
            await templates.check(route, *([canary] if canary is not None else []))
            forced = forced_call(value)
        asked = Asked(
            id=f"req-{new_id()}",
            model=value["model"],
            path=path,
            body=forced.body if forced else body,
            user=value["user"] if isinstance(value.get("user"), str) else "",
            api_key=caller.name,
            sampled=route.sample_share > 0 and random.random() < route.sample_share,
        )
        answer = await while_there(request, proxy.forward(asked), limits.request)
        return as_call(forced, answer) if forced else answer

    async def chat(request: Request) -> Response:
        return await ask(request, "messages", "/v1/chat/completions")

    async def complete(request: Request) -> Response:
        return await ask(request, "prompt", "/v1/completions")

    async def classify(request: Request) -> Response:
        return await ask(request, "input", CLASSIFICATIONS)

    async def models(request: Request) -> Response:
        caller = guard.caller(request.headers.get("authorization", ""))
        table = routes.current
        shown = [name for name in table.models if caller.reaches(table.routes[name])]
        return JSONResponse({"object": "list", "data": [_model(name) for name in shown]})

    async def model(request: Request) -> Response:
        caller = guard.caller(request.headers.get("authorization", ""))
        name = request.path_params["model"]
        caller.check(proxy.route(name))
        return JSONResponse(_model(name))

    async def opinion(request: Request) -> Response:
        caller = guard.caller(request.headers.get("authorization", ""))
        given = parse_feedback(json_object(await _body(request, max_body_bytes, limits.slow_reader)))
        if feedback is None:
            raise ApiError(503, "this gateway keeps no feedback", "feedback_not_kept")
        project = f"projects/{caller.key.project}" if caller.key else ""
        try:
            revision = await asyncio.to_thread(feedback.keep, given, project)
        except ApiError as error:
            if error.code != "answer_not_found":
                raise
            await _written(recorder, given.request)
            revision = await asyncio.to_thread(feedback.keep, given, project)
        return JSONResponse({"object": "feedback", "id": given.id, "revision": revision}, 201)

    async def health(_request: Request) -> Response:
        if not routes.fresh:
            return PlainTextResponse("the routing table was not read yet\n", 503)
        return PlainTextResponse("ok\n")

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        templates.close()
        await proxy.close()

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", complete, methods=["POST"]),
            Route(CLASSIFICATIONS, classify, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{model:path}", model),
            Route("/v1/feedback", opinion, methods=["POST"]),
            Route("/healthz", health),
        ],
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _fault,
        },
        lifespan=lifespan,
    )


async def while_there(request: Request, work: Coroutine[Any, Any, Response], seconds: float) -> Response:
    """What `work` answers, as long as the client waits for it; else the work is cancelled, at the engine too.

    Raises:
        ClientDisconnect: it went.
        ApiError: 504: it took too long.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_until_gone(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if gone.done():
            raise ClientDisconnect
        raise ApiError(504, f"there was no answer within {seconds:g} s", "request_timeout")
    finally:
        gone.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _written(recorder: Recorder, request: str) -> None:
    """Wait for the record of an answer of just now."""
    began, ours = time.monotonic(), False
    while time.monotonic() - began < (_OURS_SECONDS if ours else _OTHERS_SECONDS):
        waits = recorder.unwritten(request)
        if ours and not waits:
            return
        ours |= waits
        await asyncio.sleep(0.1)


async def _body(request: Request, limit: int, seconds: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise ApiError(413, f"the request is larger than {limit} bytes", "request_too_large")
                chunks.append(chunk)
    except TimeoutError:
        text = f"the body of the request did not come within {seconds:g} s"
        raise ApiError(408, text, "request_timeout") from None
    return b"".join(chunks)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "sartor"}


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    return ApiError(error.status_code, f"{where}: {error.detail}", "unknown_url").response()


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)


async def _fault(request: Request, error: Exception) -> Response:
    log.get().error("gateway.fault", path=request.url.path, error=repr(error))
    return ApiError(500, "the gateway failed at this request; its log says why", "internal_error").response()
