"""A TCP proxy that can cut, reset, delay and half-open the connections that go through it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeVar

_CHUNK = 65_536
T = TypeVar("T")


class _Connection:
    """One client's way to the server and back. `flowing` is clear while nothing comes through."""

    def __init__(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.writers = writers
        self.flowing = asyncio.Event()
        self.flowing.set()

    def cut(self) -> None:
        """Both ends see an orderly close."""
        self.flowing.set()
        for writer in self.writers:
            writer.close()

    def reset(self) -> None:
        """Both ends see a reset."""
        self.flowing.set()  # what was held back goes nowhere now
        for writer in self.writers:
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class ProxyLoop:
    """The thread in which all proxies of a world run."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """Run it in the loop's thread and return its result."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(30)

    def stop(self) -> None:
        """End the thread, and with it every connection."""

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)


class Proxy:
    """Listens on `port` and passes everything on to `target_port`, both on loopback."""

    def __init__(self, loop: ProxyLoop, port: int, target_port: int) -> None:
        self._loop = loop
        self._target_port = target_port
        self._connections: set[_Connection] = set()
        self._delay_seconds = 0.0
        self.refusing = False
        self._tasks: set[asyncio.Task[None]] = set()
        started = asyncio.start_server(self._serve, "127.0.0.1", port)
        asyncio.run_coroutine_threadsafe(started, loop.loop).result(10)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def cut(self, rng: random.Random, share: float) -> int:
        """Close a share of the connections in order. Returns how many were open and are not any more."""
        return self._each(rng, share, _Connection.cut)

    def reset(self, rng: random.Random, share: float) -> int:
        """Reset a share of the connections. Returns how many."""
        return self._each(rng, share, _Connection.reset)

    def half_open(self, rng: random.Random, share: float) -> Callable[[], int]:
        """Let nothing through on a share of the connections, both ends none the wiser.

        Returns the end of it, which resets them and says how many there were.
        """
        struck: list[_Connection] = []

        def silence(connection: _Connection) -> None:
            connection.flowing.clear()
            struck.append(connection)

        def end() -> int:
            for connection in struck:
                connection.reset()
            return len(struck)

        self._each(rng, share, silence)
        return lambda: self._loop.call(end)

    def delay(self, seconds: float) -> int:
        """Hold every chunk back for so long, 0 for not at all. Returns how many connections feel it."""
        self._delay_seconds = seconds
        return self._loop.call(lambda: len(self._connections))

    def _each(self, rng: random.Random, share: float, action: Callable[[_Connection], None]) -> int:
        def act() -> int:
            chosen = [each for each in self._connections if rng.random() < share] or list(self._connections)
            for each in chosen:
                action(each)
            return len(chosen)

        return self._loop.call(act)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection((writer, far_writer))
        self._connections.add(connection)
        ways = [
            asyncio.ensure_future(self._pass_on(connection, reader, far_writer)),
            asyncio.ensure_future(self._pass_on(connection, far_reader, writer)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            self._connections.discard(connection)
            connection.cut()

    async def _pass_on(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                await connection.flowing.wait()
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()
