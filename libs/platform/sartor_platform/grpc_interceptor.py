"""Around every gRPC call: principal, trace, errors → status, metrics, and one log line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc

from sartor_platform import deadlines, fault_points, grpc_status, log, metrics, principal, tracing
from sartor_platform.errors import SartorError, grpc_code

# Seconds; what grpc says is left where the client named no deadline is more.
_FOREVER = 1e8
Authenticate = Callable[[dict[str, str]], str]


def local_user(_metadata: dict[str, str]) -> str:
    """Everybody who reaches the embedded stack is the local user."""
    return principal.LOCAL


class CallInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg,unused-ignore]
    """Wraps every handler. `authenticate` names the principal from the call's metadata, or raises."""

    def __init__(self, authenticate: Authenticate = local_user) -> None:
        self._authenticate = authenticate

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Called by grpc for each call."""
        handler = continuation(details)
        if handler is None:
            return None
        metadata = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        return self._wrapped(handler, details.method, metadata)

    def _wrapped(self, handler: Any, method: str, metadata: dict[str, str]) -> Any:
        quiet = method.startswith("/grpc.")
        streams = handler.request_streaming or handler.response_streaming

        def answer(behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
            def call(request: Any, context: Any) -> Any:
                with self._around(method, metadata, context, quiet, streams):
                    response = behaviour(request, context)
                    if not quiet:
                        fault_points.at("after_commit_before_answer")
                    return response

            return call

        def stream(behaviour: Callable[[Any, Any], Iterator[Any]]) -> Callable[[Any, Any], Iterator[Any]]:
            def call(request: Any, context: Any) -> Iterator[Any]:
                with self._around(method, metadata, context, quiet, streams):
                    yield from behaviour(request, context)

            return call

        kind = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        wrap = stream if handler.response_streaming else answer
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(wrap(getattr(handler, kind)), handler.request_deserializer, handler.response_serializer)

    @contextmanager
    def _around(
        self, method: str, metadata: dict[str, str], context: Any, quiet: bool, streams: bool
    ) -> Iterator[None]:
        started = time.monotonic()
        code, who = "OK", ""
        with ExitStack() as stack:
            stack.enter_context(tracing.continued(metadata.get("traceparent", "")))
            left = context.time_remaining()
            if not streams:
                named = left is not None and left < _FOREVER
                stack.enter_context(deadlines.limited(left if named else deadlines.DEFAULT_SECONDS))
            try:
                who = self._authenticate(metadata)
                stack.enter_context(principal.acting_as(who))
                yield
                if streams and not context.is_active():
                    code = "CANCELLED"
            except GeneratorExit:
                code = "CANCELLED"
                raise
            except Exception as error:
                if not isinstance(error, SartorError) and context.code() is not None:
                    code = str(context.code())  # the handler aborted by itself
                    raise
                code = grpc_code(error)
                if not isinstance(error, SartorError):
                    log.get().exception("grpc.handler_broke", method=method)
                grpc_status.abort(context, error)
            finally:
                seconds = time.monotonic() - started
                metrics.REQUEST_SECONDS.labels(method, code).observe(seconds)
                if not quiet:
                    log.get().info(
                        "grpc.call", method=method, code=code, principal=who, seconds=round(seconds, 4)
                    )
