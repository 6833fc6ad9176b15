"""A streamed answer: read from the engine as fast as it comes, sent to the client as fast as he reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping

from sartor_platform import log
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from sartor_deployment.gateway.engine_client import EngineAnswer, EngineGone
from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.usage import Passage

_BUFFERED_CHUNKS = 4096


class SlowReader(Exception):
    """The client took nothing for too long."""


class EngineStream(StreamingResponse):
    """The engine's slot is given back when the engine has said all, however slowly the client reads."""

    def __init__(
        self,
        answer: EngineAnswer,
        headers: Mapping[str, str],
        passage: Passage,
        ended: Callable[[bool], None],
        *,
        until: float,
        slow_reader_seconds: float,
    ) -> None:
        self._answer = answer
        self._passage = passage
        self._ended = ended
        self._until = until
        self._slow_reader_seconds = slow_reader_seconds
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_BUFFERED_CHUNKS)
        self._finished = False
        super().__init__(self._pieces(), answer.status_code, dict(headers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; give up on a client that takes nothing."""

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._slow_reader_seconds):
                    await send(message)
            except TimeoutError:
                raise SlowReader from None

        pump = asyncio.create_task(self._pump())
        try:
            await super().__call__(scope, receive, send_in_time)
        except* SlowReader:
            log.get().warning("gateway.slow_reader", seconds=self._slow_reader_seconds)
        finally:
            # Also when the client has gone: the engine sees its connection close and stops to generate.
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump
            await self._finish(failed=False)  # the pump may never have begun

    async def _pump(self) -> None:
        failed = False
        try:
            async with asyncio.timeout(max(self._until - time.monotonic(), 0.01)):
                async for chunk in self._answer.pieces():
                    self._passage.see(chunk)
                    await self._chunks.put(chunk)
        except EngineGone as error:
            failed = True
            log.get().warning("gateway.stream_broke", error=repr(error))
            await self._tell(
                ApiError(502, "the engine ended in the middle of its answer; ask again", "engine_died")
            )
        except TimeoutError:
            await self._tell(
                ApiError(504, "the answer took too long and was cut off here", "request_timeout")
            )
        finally:
            await self._finish(failed=failed)
        await self._chunks.put(None)

    async def _finish(self, *, failed: bool) -> None:
        if not self._finished:
            self._finished = True
            self._answer.close()
            self._ended(failed)

    async def _tell(self, error: ApiError) -> None:
        await self._chunks.put(f"data: {json.dumps(error.body())}\n\n".encode())

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            # What has gathered while the client read goes out at once.
            gathered = [chunk]
            last = False
            while not self._chunks.empty():
                following = self._chunks.get_nowait()
                if following is None:
                    last = True
                    break
                gathered.append(following)
            yield b"".join(gathered)
            if last:
                return
