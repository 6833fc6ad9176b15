"""A streamed answer: read from the engine as fast as it comes, sent to the client as fast as he reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping

from sartor_platform import log
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sartor_deployment.gateway.engine_answer import EngineAnswer, EngineGone
from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.usage import Passage

_LOOKS = 4
"""How often, within his patience, it is looked whether a client still reads."""


class EngineStream(Response):
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
        self.status_code = answer.head.status
        self.background = None
        self.init_headers(headers)
        self._answer = answer
        self._ended = ended
        self._until = until
        self._slow_reader_seconds = slow_reader_seconds
        self._too_late = False
        self._broken: ApiError | None = None
        self._finished = False
        self._sending_since: float | None = None
        answer.watch(passage.see, self._engine_ended)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; give up on a client that goes or takes nothing."""
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(max(self._until - time.monotonic(), 0.01), self._cut_off)
        sender = asyncio.create_task(self._send(send))
        watchers = [asyncio.create_task(_until_gone(receive)), asyncio.create_task(self._until_slow())]
        try:
            await asyncio.wait([sender, *watchers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            deadline.cancel()
            for task in (sender, *watchers):
                task.cancel()
            # Also when the client has gone: the engine sees its connection close and stops to generate.
            self._finish(failed=False)
            with contextlib.suppress(asyncio.CancelledError):
                await sender

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        more = True
        while more:
            piece = await self._next()
            more = bool(piece)
            self._sending_since = time.monotonic()
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            self._sending_since = None

    async def _next(self) -> bytes:
        """What the engine has said since; why it ended, where that was not well; empty at the end."""
        try:
            return await self._answer.next()
        except EngineGone:
            error, self._broken = self._broken, None
            return f"data: {json.dumps(error.body())}\n\n".encode() if error is not None else b""

    def _engine_ended(self, failure: EngineGone | None) -> None:
        if self._finished:
            return
        if failure is not None and self._too_late:
            self._broken = ApiError(504, "the answer took too long and was cut off here", "request_timeout")
        elif failure is not None:
            log.get().warning("gateway.stream_broke", error=repr(failure))
            self._broken = ApiError(
                502, "the engine ended in the middle of its answer; ask again", "engine_died"
            )
        self._finish(failed=failure is not None and not self._too_late)

    def _cut_off(self) -> None:
        self._too_late = True
        self._answer.close()

    def _finish(self, *, failed: bool) -> None:
        if not self._finished:
            self._finished = True
            self._answer.close()
            self._ended(failed)

    async def _until_slow(self) -> None:
        patience = self._slow_reader_seconds
        while self._sending_since is None or time.monotonic() - self._sending_since < patience:
            await asyncio.sleep(patience / _LOOKS)
        log.get().warning("gateway.slow_reader", seconds=patience)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
