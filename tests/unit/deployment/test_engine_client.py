"""The gateway's client for engines: frames cut whatever their pieces, connections kept, endings told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from sartor_deployment.gateway.engine_answer import EngineGone
from sartor_deployment.gateway.engine_client import EngineClient

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PIECES = [b"data: one\n\n", b"data: " + b"x" * 70_000 + b"\n\n", b"a", b"data: [DONE]\n\n"]
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def framed(pieces: list[bytes]) -> bytes:
    """A body in chunks; sizes may be written with extensions and in capitals, a trailer may follow."""
    chunks = b"".join(b"%X;n=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return chunks + b"0\r\nServer-Timing: total\r\n\r\n"


async def with_engine(serve: Serve, ask: Callable[[EngineClient, str], Awaitable[None]]) -> int:
    """Ask an engine that answers so; how many connections it took."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    client = EngineClient()
    try:
        await ask(client, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/x")
    finally:
        client.close()
        server.close()
    return connections


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """One request's body."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(size)


@pytest.mark.parametrize("seed", range(8))
def test_chunks_are_cut_out_whatever_the_pieces_they_come_in(seed: int) -> None:
    """Frames broken in the middle of a size, of a line end, of the content; the connection is used again."""
    random_ = random.Random(seed)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            data, at = CHUNKED + framed(PIECES), 0
            while at < len(data):
                step = random_.choice([1, 2, 3, 7, 5000, 60_000])
                writer.write(data[at : at + step])
                await writer.drain()
                await asyncio.sleep(0)
                at += step

    async def ask(client: EngineClient, url: str) -> None:
        for _ in range(3):
            answer = await client.post(url, b"{}")
            assert answer.head.status == 200
            assert answer.head.headers["content-type"] == "text/event-stream"
            assert await answer.read() == b"".join(PIECES)
            answer.close()

    assert uvloop.run(with_engine(serve, ask)) == 1


def test_a_connection_that_the_engine_closed_meanwhile_is_replaced() -> None:
    """Each is closed after its answer, without saying so before: the request goes out on another one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await request_of(reader)
        writer.write(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        await writer.drain()

    async def ask(client: EngineClient, url: str) -> None:
        for number in range(3):
            answer = await client.post(url, b"%d" % number)
            assert await answer.read() == b"%d" % number
            answer.close()

    assert uvloop.run(with_engine(serve, ask)) == 3


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        CHUNKED + b"5\r\nab",
        CHUNKED + b"zz\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
    ],
)
def test_an_answer_that_breaks_off_is_told(said: bytes) -> None:
    """Nowhere is a part taken for the whole."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(said)
        await writer.drain()

    async def ask(client: EngineClient, url: str) -> None:
        with pytest.raises(EngineGone):
            await (await client.post(url, b"{}")).read()

    uvloop.run(with_engine(serve, ask))


def test_nobody_there_is_told() -> None:
    """A port on which nobody listens."""

    async def ask() -> None:
        with pytest.raises(EngineGone):
            await EngineClient().post("http://127.0.0.1:9/x", b"{}")

    uvloop.run(ask())


def test_what_came_stays_readable_while_its_connection_serves_the_next() -> None:
    """A slow client's answer is whole although the engine has long been asked something else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = await request_of(reader)
            writer.write(CHUNKED + framed([body, b" said"]))
            await writer.drain()

    async def ask(client: EngineClient, url: str) -> None:
        answers = []
        for body in (b"first", b"second"):
            answer = await client.post(url, body)
            ended = asyncio.Event()
            answer.watch(lambda _piece: None, lambda failure, event=ended: event.set())  # type: ignore[misc]
            await ended.wait()
            answer.close()
            answers.append(answer)
        assert [await answer.read() for answer in answers] == [b"first said", b"second said"]

    assert uvloop.run(with_engine(serve, ask)) == 1


def test_an_answer_that_nobody_reads_holds_up_the_engine_instead_of_filling_memory() -> None:
    """Of 64 MiB only some wait in the gateway; all of it comes when it is read at last."""
    size, said = 64 * 2**20, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while said < size:
            writer.write(b"x" * 2**20)
            await writer.drain()
            said += 2**20

    async def ask(client: EngineClient, url: str) -> None:
        answer = await client.post(url, b"{}")
        before = -1
        while said != before:
            before = said
            await asyncio.sleep(0.2)
        assert said < size / 2
        assert len(await answer.read()) == size

    uvloop.run(with_engine(serve, ask))
