"""The gRPC server: a thread pool, health, reflection, and an end that lets calls finish.

Calls and Watch streams share the pool, but streams are capped below it, so that watchers never starve calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sartor_platform import log, watch
from sartor_platform.errors import FailedPrecondition
from sartor_platform.servicer import Servicer

if TYPE_CHECKING:
    from sartor_platform.grpc_interceptor import Authenticate

__all__ = ["GrpcServer", "Servicer"]

_CALL_THREADS = 16
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024


class GrpcServer:
    """Serves from `start` to `stop`. `port` is where it listens, also when the address left that open."""

    def __init__(
        self, bind: str, servicers: Sequence[Servicer], *, authenticate: Authenticate | None = None
    ) -> None:
        # Here and not above: a service's modules import this one also in processes that serve nothing.
        import grpc
        from grpc_health.v1 import health, health_pb2, health_pb2_grpc
        from grpc_reflection.v1alpha import reflection

        from sartor_platform.grpc_interceptor import CallInterceptor, local_user

        self._bind = bind
        self._names = [servicer.full_name for servicer in servicers]
        self._pool = ThreadPoolExecutor(_CALL_THREADS + watch.LIMIT, thread_name_prefix="grpc")
        self._server = grpc.server(
            self._pool,
            interceptors=[CallInterceptor(authenticate or local_user)],
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        self._states = health_pb2.HealthCheckResponse
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for servicer in servicers:
            servicer.add(servicer.implementation, self._server)
        reflection.enable_server_reflection(
            [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        self.port = 0

    def start(self) -> None:
        """Listen and turn SERVING.

        Raises:
            FailedPrecondition: ADDRESS_IN_USE.
        """
        try:
            self.port = self._server.add_insecure_port(self._bind)
        except RuntimeError as error:
            raise FailedPrecondition(
                f"cannot listen on {self._bind}: the address is taken or not ours;"
                " stop what holds it or set SARTOR_GRPC_BIND",
                reason="ADDRESS_IN_USE",
                metadata={"address": self._bind},
            ) from error
        self._server.start()
        self.set_serving(True)
        log.get().info("grpc.serving", port=self.port, services=self._names)

    def stop(self, grace_seconds: float) -> None:
        """Turn NOT_SERVING, refuse new calls, give running ones this long, then cut them."""
        self.set_serving(False)
        self._server.stop(grace_seconds).wait()
        self._pool.shutdown(wait=False)

    def set_serving(self, serving: bool) -> None:
        """What health checks are told from now on; calls are taken either way."""
        state = self._states.SERVING if serving else self._states.NOT_SERVING
        for name in ["", *self._names]:
            self._health.set(name, state)
