"""An engine's answer in HTTP/1.1: head and frames are cut where the bytes come in, the content waits here.

A reader that is slower than the engine costs memory up to `_MOST_WAITING_BYTES`; then the engine is held up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

_MOST_HEAD_BYTES = 65_536
_MOST_WAITING_BYTES = 4 * 2**20


class EngineGone(Exception):
    """The engine cannot be reached, or ended in the middle of its answer."""


class Source(Protocol):
    """The connection from which an answer comes."""

    def hold(self) -> None:
        """Read no more for now."""

    def go_on(self) -> None:
        """Read again."""

    def release(self, *, reusable: bool) -> None:
        """The answer needs it no longer. Where it is not reusable it ends: the engine stops to generate."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the fields of an answer; names in small letters."""

    status: int
    headers: Mapping[str, str]
    keeps_alive: bool


class EngineAnswer:
    """One answer: given to its reader once the head has come."""

    head: Head

    def __init__(self, source: Source) -> None:
        self._source: Source | None = source
        self._head_bytes: bytes | None = b""
        self._body: _Chunks | _Rest = _Rest(None)
        self._ended = False
        self._failure: EngineGone | None = None
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._seen: Callable[[bytes], None] | None = None
        self._told: Callable[[EngineGone | None], None] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self._ended or self._failure is not None

    async def head_came(self) -> bool:
        """Wait for the head; False where the connection closed before its first byte.

        Raises:
            EngineGone: what came is none.
        """
        while self._head_bytes is not None and self._failure is None:
            await self._wait()
        if self._failure is None or self._head_bytes is None:
            return True
        if not self._head_bytes:
            return False
        raise self._failure

    def watch(self, seen: Callable[[bytes], None], ended: Callable[[EngineGone | None], None]) -> None:
        """Tell `seen` each piece when it comes, and `ended` when the engine has said all or has gone."""
        for piece in self._pieces:
            seen(piece)
        self._seen = seen
        if self.over:
            ended(self._failure)
        else:
            self._told = ended

    async def next(self) -> bytes:
        """What has come since; empty at the end.

        Raises:
            EngineGone: it ended before its end.
        """
        while not self._pieces and not self.over:
            await self._wait()
        if self._pieces:
            found = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            if self._waiting_bytes > _MOST_WAITING_BYTES and self._source is not None:
                self._source.go_on()
            self._waiting_bytes = 0
            return found
        if self._failure is not None:
            raise self._failure
        return b""

    async def read(self) -> bytes:
        """All of it. Raises: as next."""
        pieces = []
        while piece := await self.next():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Give the connection back where the answer came to its end; else end both. What came is kept."""
        source, self._source = self._source, None
        if source is not None:
            source.release(reusable=self._ended and self.head.keeps_alive)
        if not self.over:
            self._fail(EngineGone("nobody waits for the rest of the answer"))

    def feed(self, data: bytes) -> None:
        """The next bytes from the connection."""
        try:
            if self._head_bytes is not None:
                data = self._take_head(self._head_bytes + data)
            if data and not self.over:
                self._take_body(data)
        except EngineGone as error:
            self._fail(error)

    def lost(self, why: str) -> None:
        """There will be no more bytes."""
        if self.over:
            return
        if self._head_bytes is None and isinstance(self._body, _Rest) and self._body.left is None:
            self._end()  # neither length nor chunks: it ends where the connection does
        else:
            where = "in the middle of its answer" if self._head_bytes is None else "without an answer"
            self._fail(EngineGone(f"{why or 'the engine closed the connection'} {where}"))

    def _take_head(self, data: bytes) -> bytes:
        while True:
            text, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self._head_bytes = data
                if len(data) > _MOST_HEAD_BYTES:
                    raise EngineGone("the head of the engine's answer has no end")
                return b""
            self._head_bytes = data
            head = _parse_head(text)
            if head.status >= 200:
                break
            data = rest  # an interim answer; the real one follows
        self.head = head
        self._head_bytes = None
        length = head.headers.get("content-length", "")
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            self._body = _Chunks()
        elif length.isdigit() or head.status in (204, 304):
            self._body = _Rest(int(length or 0))
        if self._body.ended:
            self._end()
        self._wake()
        return rest

    def _take_body(self, data: bytes) -> None:
        data = self._body.feed(data)
        if data:
            self._pieces.append(data)
            self._waiting_bytes += len(data)
            if self._seen is not None:
                self._seen(data)
            if self._waiting_bytes > _MOST_WAITING_BYTES and self._source is not None:
                self._source.hold()
            self._wake()
        if self._body.ended:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._tell()

    def _fail(self, failure: EngineGone) -> None:
        self._failure = failure
        self._tell()

    def _tell(self) -> None:
        self._wake()
        if self._told is not None:
            told, self._told = self._told, None
            told(self._failure)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Rest:
    """A body of a known length, or (None) up to the end of the connection."""

    def __init__(self, length: int | None) -> None:
        self.left = length

    @property
    def ended(self) -> bool:
        return self.left == 0

    def feed(self, data: bytes) -> bytes:
        """The content of the next bytes."""
        if self.left is not None:
            data = data[: self.left]
            self.left -= len(data)
        return data


class _Chunks:
    """Cuts the chunks' frames away (RFC 9112, 7.1), whatever the pieces in which they come."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""
        self._left = 0
        """Bytes of the chunk that is open, with its line end; 0: a line comes next."""
        self._last = False
        """The chunk of no bytes has come: lines of the trailer follow, up to an empty one."""

    def feed(self, data: bytes) -> bytes:
        """The content of the next bytes.

        Raises:
            EngineGone: these are no chunks.
        """
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
            line, at = data[at:end], end + 2
            if self._last:
                self.ended = not line
                continue
            size = _size(line)
            self._last = size == 0
            self._left = size + 2 if size else 0
        return found[0] if len(found) == 1 else b"".join(found)


def _size(line: bytes) -> int:
    try:
        return int(line.split(b";", 1)[0], 16)
    except ValueError as error:
        raise EngineGone("the engine sent a chunk that is none") from error


def _parse_head(text: bytes) -> Head:
    first, *lines = text.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise EngineGone(f"the engine does not speak HTTP: {first[:80]!r}")
    fields = (line.partition(":") for line in lines if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    closes = "close" in headers.get("connection", "").lower() or words[0] == "HTTP/1.0"
    return Head(int(words[1]), headers, not closes)
