"""gRPC as a client of a service: a channel with deadlines, retries and traces, and errors as SartorErrors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc

from sartor_platform import grpc_status, tracing

DEADLINE_SECONDS = 30.0
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# Only what surely did not reach the service is repeated by the channel; Create calls carry a request_id
# besides.
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def channel(target: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> grpc.Channel:
    """A channel to `host:port`. Calls without a deadline of their own get this one; streams get none."""
    plain = grpc.insecure_channel(
        target,
        options=[
            ("grpc.service_config", _SERVICE_CONFIG),
            ("grpc.enable_retries", 1),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ],
    )
    return grpc.intercept_channel(plain, _Outgoing(deadline_seconds))


@contextmanager
def call_errors() -> Iterator[None]:
    """Raise the failure of a call in the block as the SartorError the server meant."""
    try:
        yield
    except grpc.RpcError as failure:
        raise grpc_status.error_of(failure) from failure


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Outgoing(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg,unused-ignore]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg,unused-ignore]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg,unused-ignore]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg,unused-ignore]
):
    """Adds the trace, and a deadline where the caller gave none."""

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(self._extended(details, self._deadline_seconds), request)

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(self._extended(details, None), request)

    def intercept_stream_unary(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return continuation(self._extended(details, None), requests)

    def intercept_stream_stream(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return continuation(self._extended(details, None), requests)

    def _extended(self, details: Any, deadline_seconds: float | None) -> _Details:
        metadata = list(details.metadata or ())
        if not any(key == "traceparent" for key, _ in metadata):
            metadata.append(("traceparent", tracing.next_span(tracing.current())))
        timeout = details.timeout if details.timeout is not None else deadline_seconds
        return _Details(
            details.method,
            timeout,
            metadata,
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )
