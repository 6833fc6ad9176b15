"""The gateway's process: routing table and HTTP server."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading

import uvicorn
from sartor_platform import log
from sartor_platform.errors import FailedPrecondition
from sartor_platform.processes import stop_event
from sartor_platform.runtime import Runtime

from sartor_deployment.gateway.app import make_app
from sartor_deployment.gateway.feedback import FeedbackTable
from sartor_deployment.gateway.keys import Keys
from sartor_deployment.gateway.proxy import ProxyLimits
from sartor_deployment.gateway.routes import Routes
from sartor_deployment.gateway.traffic import TrafficLog
from sartor_deployment.settings import DeploymentSettings


class _Server(uvicorn.Server):
    """Leaves the signals to the process, whose stop event ends it."""

    def install(self, stop: threading.Event) -> None:
        def end() -> None:
            stop.wait()
            self.should_exit = True

        threading.Thread(target=end, name="gateway-end", daemon=True).start()

    def capture_signals(self) -> _Nothing:  # type: ignore[override]
        return _Nothing()


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_exception: object) -> None:
        return None


def run(runtime: Runtime) -> None:
    """Serve until told to stop; open requests may end within the drain time.

    Raises:
        FailedPrecondition: ADDRESS_IN_USE.
    """
    _interrupt_no_engine()
    settings = runtime.settings
    host, _, port = settings.gateway_bind.rpartition(":")
    routes = Routes(runtime.database)
    keys = Keys(runtime.database, required=_keys_required(settings))
    traffic = TrafficLog(runtime.database, keys)
    app = make_app(
        routes,
        limits=ProxyLimits(
            engine_wait=settings.gateway_wait_seconds,
            queue=settings.gateway_queue_seconds,
            request=settings.gateway_request_seconds,
            slow_reader=settings.gateway_slow_reader_seconds,
        ),
        max_body_bytes=settings.gateway_max_body_bytes,
        keys=keys,
        recorder=traffic,
        feedback=FeedbackTable(runtime.database),
    )
    config = uvicorn.Config(
        app,
        host=host.strip("[]") or "127.0.0.1",
        port=int(port),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        http="httptools",
        loop="uvloop",
        ws="none",
        timeout_graceful_shutdown=int(settings.drain_seconds),
        timeout_keep_alive=75,
    )
    server = _Server(config)
    server.install(stop_event())
    routes.start()
    keys.start()
    traffic.start()
    try:
        sockets = [config.bind_socket()]
    except SystemExit as error:
        raise FailedPrecondition(
            f"cannot listen on {settings.gateway_bind}: the address is taken or not ours; stop what holds it"
            " or set SARTOR_GATEWAY_BIND",
            reason="ADDRESS_IN_USE",
            metadata={"address": settings.gateway_bind},
        ) from error
    # Accepted sockets inherit it; asyncio sets it only where a socket names TCP, which this one does not.
    # Without it the body of each answer waits 40 ms for the client's acknowledgement of its head.
    sockets[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    log.get().info("gateway.serving", bind=settings.gateway_bind)
    try:
        server.run(sockets=sockets)
    finally:
        routes.stop()
        keys.stop()
        traffic.stop()


def _interrupt_no_engine() -> None:
    """Let the kernel finish an engine's slice before this process runs, where both want the same core.

    A token that waits a part of a millisecond is nothing to its reader; an engine whose thread is interrupted
    in the middle of a product holds up the threads of all other cores, which wait for it.
    """
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(PermissionError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _keys_required(settings: DeploymentSettings) -> bool:
    """Where others than this machine's own programs can reach it, a key is needed unless told otherwise."""
    if settings.gateway_keys != "auto":
        return settings.gateway_keys == "required"
    host = settings.gateway_bind.rpartition(":")[0].strip("[]") or "127.0.0.1"
    return host != "localhost" and not ipaddress.ip_address(host).is_loopback
