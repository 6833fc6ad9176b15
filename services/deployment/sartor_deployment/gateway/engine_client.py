"""A small HTTP/1.1 client for engines: a streamed token costs one read and one wake on its way through.

A general client parses each chunk into events and passes them through layers of iterators; beside an engine
that needs every core, that costs tokens. Engines are ours: they speak plain HTTP/1.1 with a length or chunks.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections import defaultdict
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from sartor_deployment.gateway.engine_answer import EngineAnswer, EngineGone

_CONNECT_SECONDS = 2.0
_MOST_IDLE = 64


class EngineClient:
    """Keeps connections to engines open. One for the process, inside its event loop."""

    def __init__(self) -> None:
        self._idle: defaultdict[tuple[str, int], list[_Connection]] = defaultdict(list)

    async def post(self, url: str, body: bytes) -> EngineAnswer:
        """Ask; returns when the head of the answer is there.

        Raises:
            EngineGone: there is no answer.
        """
        parts = urlsplit(url)
        place = (parts.hostname or "", parts.port or 80)
        request = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            f"Accept: */*\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        idle = self._idle[place]
        while idle:
            connection = idle.pop()
            # It may turn out to have been closed before it took the request.
            if connection.is_open and (answer := await connection.ask(request)) is not None:
                return answer
        answer = await (await _connect(place, functools.partial(self._keep, place))).ask(request)
        if answer is None:
            raise EngineGone("the engine closed the connection without an answer")
        return answer

    def close(self) -> None:
        """Close what is open and idle."""
        for connections in self._idle.values():
            for connection in connections:
                connection.end()
        self._idle.clear()

    def _keep(self, place: tuple[str, int], connection: _Connection) -> None:
        if len(self._idle[place]) < _MOST_IDLE:
            self._idle[place].append(connection)
        else:
            connection.end()


class _Connection(asyncio.Protocol):
    """One connection: answers one request after the other. asyncio calls the last three methods."""

    def __init__(self, keep: Callable[[_Connection], None]) -> None:
        self._keep = keep
        self._transport: asyncio.Transport | None = None
        self._answer: EngineAnswer | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> EngineAnswer | None:
        """An answer whose head has come; None where the engine closed the connection before any byte of it.

        Raises:
            EngineGone: what came is no answer.
        """
        assert self._transport is not None
        answer = self._answer = EngineAnswer(self)
        self._transport.write(request)
        try:
            if await answer.head_came():
                return answer
        except BaseException:
            self.end()
            raise
        self.end()
        return None

    def end(self) -> None:
        """At once: the engine sees it and stops to generate."""
        if self._transport is not None:
            self._transport.abort()

    def hold(self) -> None:
        if self.is_open and self._transport is not None:
            self._transport.pause_reading()

    def go_on(self) -> None:
        if self.is_open and self._transport is not None:
            self._transport.resume_reading()

    def release(self, *, reusable: bool) -> None:
        if reusable and self.is_open:
            self._keep(self)
        else:
            self.end()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.over:
            self.end()  # it says more than its answer: who knows what the next one would be
        else:
            self._answer.feed(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._answer is not None:
            self._answer.lost(str(error or ""))


async def _connect(place: tuple[str, int], keep: Callable[[_Connection], None]) -> _Connection:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            transport, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(keep), *place
            )
    except (OSError, TimeoutError) as error:
        raise EngineGone(str(error) or f"no connection within {_CONNECT_SECONDS:g} s") from error
    taken = transport.get_extra_info("socket")
    if taken is not None:
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
