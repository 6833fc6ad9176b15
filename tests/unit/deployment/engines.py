"""Engines that misbehave on purpose, and a gateway as a real server in front of them."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn
import uvloop
from sartor_deployment.gateway.app import make_app
from sartor_deployment.gateway.keys import Keys
from sartor_deployment.gateway.proxy import ProxyLimits
from sartor_deployment.gateway.routes import Route, Routes, Table

Answer = Callable[[BaseHTTPRequestHandler, Any], None]


class FixedRoutes(Routes):
    """A table that stands still until a test exchanges it."""

    def __init__(self, current: Table) -> None:
        self.current = current
        self._changed = set()
        self._read_at = 1.0


class Quiet(ThreadingHTTPServer):
    """Many connections at once; those that are cut off are no news."""

    request_queue_size = 512
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing: a client that goes is what these tests do."""


@contextlib.contextmanager
def engine(answer: Answer) -> Iterator[str]:
    """An engine that answers as told; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    server = Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def send_json(handler: BaseHTTPRequestHandler, status: int, value: Any) -> None:
    """A JSON answer."""
    body = json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def begin_stream(handler: BaseHTTPRequestHandler) -> None:
    """The head of a stream of unknown length."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True


def send_event(handler: BaseHTTPRequestHandler, value: Any) -> None:
    """One piece of a stream."""
    handler.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
    handler.wfile.flush()


def table_of(route: Route) -> Table:
    """A table with this route as the endpoint `support`, and by its revision."""
    return Table({"support": route, route.revision: route}, ("support",))


@contextlib.contextmanager
def gateway(
    routes: Routes,
    *,
    limits: ProxyLimits | None = None,
    keys: Keys | None = None,
    recorder: Any = None,
    feedback: Any = None,
) -> Iterator[str]:
    """A gateway as users reach it; its URL."""
    app = make_app(
        routes,
        limits=limits or ProxyLimits(),
        max_body_bytes=100_000,
        keys=keys,
        recorder=recorder,
        feedback=feedback,
    )
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, access_log=False, http="httptools", lifespan="on",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=lambda: uvloop.run(server.serve(sockets=[socket])), daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
