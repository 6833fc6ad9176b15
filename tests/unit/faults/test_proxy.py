"""The proxy passes on what it is given, and breaks connections in the ways the harness needs."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Proxy, ProxyLoop


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=_echo, args=[connection], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


def _echo(connection: socket.socket) -> None:
    with connection, contextlib.suppress(ConnectionResetError):
        while data := connection.recv(1000):
            connection.sendall(data)


@pytest.fixture
def proxy(echo: int) -> Iterator[tuple[Proxy, socket.socket]]:
    """A proxy before it, with one connection through it that works."""
    loop = ProxyLoop()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    made = Proxy(loop, port, echo)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"first")
        assert client.recv(100) == b"first"
        yield made, client
    loop.stop()


def test_a_cut_is_an_orderly_end(proxy: tuple[Proxy, socket.socket]) -> None:
    """The client reads the end of the stream."""
    made, client = proxy
    assert made.cut(random.Random(1), 1.0) == 1
    assert client.recv(100) == b""


def test_a_reset_is_an_error(proxy: tuple[Proxy, socket.socket]) -> None:
    """The client gets ECONNRESET."""
    made, client = proxy
    assert made.reset(random.Random(1), 1.0) == 1
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_a_half_open_connection_is_silent_until_it_is_reset(proxy: tuple[Proxy, socket.socket]) -> None:
    """Nothing comes, no error either; then a reset."""
    made, client = proxy
    end = made.half_open(random.Random(1), 1.0)
    client.sendall(b"lost")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(100)
    client.settimeout(10)
    assert end() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_a_delay_holds_back_and_loses_nothing(proxy: tuple[Proxy, socket.socket]) -> None:
    """The bytes come, later."""
    made, client = proxy
    assert made.delay(0.2) == 1
    client.sendall(b"later")
    assert client.recv(100) == b"later"
