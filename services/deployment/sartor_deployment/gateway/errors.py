"""Errors in the shape OpenAI's clients know: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

_TEMPLATE = "Jinja Exception:"
"""What llama.cpp writes before the words of a template that refuses, as where roles must alternate."""
_GRAMMAR, _SCHEMA = "failed to parse grammar", "Automatic parser generation failed:"
_NO_GRAMMAR = (
    "it can make no grammar of it. The usual reasons are references that lead to themselves and counts beyond"
    " 1000"
)
_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


@dataclass(eq=False, slots=True)
class ApiError(Exception):
    """A request that gets an error instead of an answer. Not frozen: Python writes the traceback into it."""

    status: int
    message: str
    code: str
    param: str | None = None
    retry_after_seconds: int = 0

    def body(self) -> dict[str, Any]:
        """As JSON."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """As an HTTP response."""
        headers = {"Retry-After": str(self.retry_after_seconds)} if self.retry_after_seconds else None
        return JSONResponse(self.body(), self.status, headers=headers)


def from_engine(status: int, body: bytes) -> ApiError:
    """An engine's error in OpenAI's shape."""
    message, kind = body.decode("utf-8", "replace")[:500], ""
    try:
        error = json.loads(body).get("error", {})
        message, kind = str(error.get("message", message)), str(error.get("type", ""))
    except (ValueError, AttributeError):
        pass  # not JSON: its text is the message
    _, raised, refusal = message.rpartition(_TEMPLATE)
    if raised:
        text = f"the model's chat template does not take these messages: {refusal.strip()}"
        return ApiError(400, text, "chat_template_error", "messages")
    if _GRAMMAR in message or _SCHEMA in message:
        why = message.rpartition(_SCHEMA)[2].strip() if _SCHEMA in message else _NO_GRAMMAR
        text = f"the engine cannot take this schema: {why}"
        return ApiError(400, text, "invalid_schema", "response_format")
    if kind == "exceed_context_size_error":
        return ApiError(400, message, "context_length_exceeded", "messages")
    if status >= 500:
        return ApiError(status, message, "engine_error")
    return ApiError(status, message, kind or "invalid_request")
