"""A small HTTP/1.1 client for engines: a streamed token costs one read and one cut on its way through.

A general client parses each chunk into events and passes them through layers of iterators; beside an engine
that needs every core, that costs tokens. Engines are ours: they speak plain HTTP/1.1 with a length or chunks.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_CONNECT_SECONDS = 2.0
_READ_BYTES = 65_536
_MOST_HEAD_BYTES = 65_536
_MOST_IDLE = 64


class EngineGone(Exception):
    """The engine cannot be reached, or ended in the middle of its answer."""


@dataclass(frozen=True, slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        """At once: the engine sees it and stops to generate."""
        with contextlib.suppress(OSError, RuntimeError):
            self.writer.transport.abort()


class EngineAnswer:
    """An answer whose head has come; its body is read as it comes."""

    def __init__(
        self, client: EngineClient, place: tuple[str, int], connection: _Connection, head: _Head
    ) -> None:
        self.status_code = head.status
        self.headers = head.headers
        self._client, self._place, self._connection = client, place, connection
        self._keeps = head.keeps_alive
        self._chunked = "chunked" in head.headers.get("transfer-encoding", "").lower()
        length = head.headers.get("content-length", "")
        self._left = int(length) if length.isdigit() else None
        self._done = head.status in (204, 304) or self._left == 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, in the pieces in which it comes.

        Raises:
            EngineGone: it ended before its end.
        """
        chunks = _Chunks() if self._chunked else None
        while not self._done:
            data = await _read(self._connection.reader)
            if not data:
                if self._chunked or self._left is not None:
                    raise EngineGone("the engine closed the connection in the middle of its answer")
                self._done, self._keeps = True, False
                return
            if chunks is not None:
                data = chunks.feed(data)
                self._done = chunks.ended
            elif self._left is not None:
                self._left -= len(data)
                self._done = self._left <= 0
            if data:
                yield data

    async def read(self) -> bytes:
        """All of it. Raises: as pieces."""
        return b"".join([piece async for piece in self.pieces()])

    def close(self) -> None:
        """Give the connection back where the answer was read to its end; else end it."""
        if self._done and self._keeps:
            self._client.give_back(self._place, self._connection)
        else:
            self._connection.close()
        self._keeps = False


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
        idle = self._idle.get(place)
        while idle:
            connection = idle.pop()
            if connection.reader.at_eof() or connection.writer.is_closing():
                connection.close()
                continue
            answer = await self._ask(place, connection, request, reused=True)
            if answer is not None:
                return answer
        answer = await self._ask(place, await _connect(place), request, reused=False)
        if answer is None:
            raise EngineGone("the engine closed the connection without an answer")
        return answer

    def give_back(self, place: tuple[str, int], connection: _Connection) -> None:
        """A connection that is free again."""
        if len(self._idle[place]) < _MOST_IDLE and not connection.reader.at_eof():
            self._idle[place].append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is open and idle."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _ask(
        self, place: tuple[str, int], connection: _Connection, request: bytes, *, reused: bool
    ) -> EngineAnswer | None:
        """None where a kept connection turns out to have been closed before it took the request."""
        try:
            connection.writer.write(request)
            await connection.writer.drain()
            head = await _read_head(connection.reader)
            return EngineAnswer(self, place, connection, head)
        except asyncio.IncompleteReadError as error:
            connection.close()
            if reused and not error.partial:
                return None
            raise EngineGone("the engine closed the connection without an answer") from error
        except OSError as error:
            connection.close()
            if reused:
                return None
            raise EngineGone(str(error) or type(error).__name__) from error
        except BaseException:
            connection.close()
            raise


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    headers: Mapping[str, str]
    keeps_alive: bool


class _Chunks:
    """Cuts the chunks' frames away (RFC 9112, 7.1), whatever the pieces in which they come."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""
        self._left = 0
        """Bytes of the chunk that is open, with its line end; 0: a size line comes next."""

    def feed(self, data: bytes) -> bytes:
        """The content of the next bytes."""
        data = self._rest + data if self._rest else data
        self._rest = b""
        found: list[bytes] = []
        at = 0
        while at < len(data) and not self.ended:
            if self._left:
                content = self._left - 2
                if content > 0:
                    found.append(data[at : at + content])
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._rest = data[at:]
                break
            size = _size(data[at:end])
            at = end + 2
            if size == 0:
                self.ended = True
            else:
                self._left = size + 2
        return found[0] if len(found) == 1 else b"".join(found)


def _size(line: bytes) -> int:
    try:
        return int(line.split(b";", 1)[0], 16)
    except ValueError as error:
        raise EngineGone("the engine sent a chunk that is none") from error


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_READ_BYTES)
    except OSError as error:
        raise EngineGone(str(error) or type(error).__name__) from error


async def _connect(place: tuple[str, int]) -> _Connection:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(*place, limit=_MOST_HEAD_BYTES)
    except (OSError, TimeoutError) as error:
        raise EngineGone(str(error) or f"no connection within {_CONNECT_SECONDS:g} s") from error
    taken = writer.get_extra_info("socket")
    if taken is not None:
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _Connection(reader, writer)


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    while True:
        try:
            text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError as error:
            raise EngineGone("the head of the engine's answer has no end") from error
        first, *lines = text.split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[1].isdigit():
            raise EngineGone(f"the engine does not speak HTTP: {first[:80]!r}")
        if words[1].startswith("1"):
            continue  # an interim answer; the real one follows
        fields = (line.partition(":") for line in lines if ":" in line)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        closes = "close" in headers.get("connection", "").lower() or words[0] == "HTTP/1.0"
        return _Head(int(words[1]), headers, not closes)
