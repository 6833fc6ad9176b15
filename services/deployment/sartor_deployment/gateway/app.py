"""The HTTP API: /v1/chat/completions, /v1/completions, /v1/models and /healthz."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from sartor_platform import log
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.proxy import Proxy
from sartor_deployment.gateway.routes import Routes


def make_app(routes: Routes, *, wait_seconds: float, max_body_bytes: int) -> Starlette:
    """The application; `routes` is kept by its owner."""
    proxy = Proxy(routes, wait_seconds=wait_seconds)

    async def chat(request: Request) -> Response:
        body = await _body(request, max_body_bytes)
        model = _checked(body, "messages")
        return await proxy.forward(model, "/v1/chat/completions", body)

    async def complete(request: Request) -> Response:
        body = await _body(request, max_body_bytes)
        model = _checked(body, "prompt")
        return await proxy.forward(model, "/v1/completions", body)

    async def models(_request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(name) for name in routes.current.models]})

    async def model(request: Request) -> Response:
        name = request.path_params["model"]
        proxy.route(name)
        return JSONResponse(_model(name))

    async def health(_request: Request) -> Response:
        if not routes.fresh:
            return PlainTextResponse("the routing table was not read yet\n", 503)
        return PlainTextResponse("ok\n")

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await proxy.close()

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", complete, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{model:path}", model),
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


async def _body(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise ApiError(413, f"the request is larger than {limit} bytes", "request_too_large")
        chunks.append(chunk)
    return b"".join(chunks)


def _checked(body: bytes, needed: str) -> str:
    """The model a request names, once its form is right; what the engine checks itself is left to it."""
    try:
        value = json.loads(body)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}", "invalid_json") from error
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", "invalid_json")
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise ApiError(
            400, "you must name a model: an endpoint or a revision", "missing_required_parameter", "model"
        )
    if not value.get(needed):
        raise ApiError(400, f"{needed!r} is missing or empty", "missing_required_parameter", needed)
    messages = value.get("messages")
    if needed == "messages" and not (
        isinstance(messages, list) and all(isinstance(m, dict) for m in messages)
    ):
        raise ApiError(400, "'messages' must be an array of objects", "invalid_type", "messages")
    return model


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
