"""Asks a revision on its way to users what the live one was asked, after the user has his answer.

Nobody sees these answers and nobody waits for them: where no place is free at once, the copy is dropped and
counted. What the revision did is recorded like any request, with how far its answer agrees with the user's.
"""

from __future__ import annotations

import asyncio
import json
import random
import time

from prometheus_client import Counter
from sartor_platform import log

from sartor_deployment.gateway.admission import Admission
from sartor_deployment.gateway.engine_answer import EngineGone
from sartor_deployment.gateway.engine_client import EngineClient
from sartor_deployment.gateway.routes import Route, Routes
from sartor_deployment.gateway.traffic import Recorder, Seen
from sartor_deployment.gateway.usage import Passage

DROPPED = Counter("sartor_gateway_shadow_dropped", "Copies that no engine had a place for.", ["revision"])
_END = b"[DONE]"
_LOADING = 503
_STREAMING = ("stream", "stream_options")


class Shadow:
    """One for the process, inside its event loop."""

    def __init__(
        self, routes: Routes, recorder: Recorder, admission: Admission, client: EngineClient, seconds: float
    ) -> None:
        self._routes = routes
        self._recorder = recorder
        self._admission = admission
        self._client = client
        self._seconds = seconds
        self._open: set[asyncio.Task[None]] = set()

    def draws(self, route: Route) -> bool:
        """Whether this request is to be copied."""
        return bool(route.shadow) and random.random() < route.shadow_share

    def follow(self, request: str, path: str, body: bytes, route: Route, answered: Passage) -> None:
        """Ask the same, in the background, now that the live revision has answered so."""
        got = answered.body
        streamed = got.startswith(b"data:")
        if got and (not streamed or got.rstrip().endswith(_END)):  # else the user went before
            task = asyncio.create_task(self._ask(request, path, body, route, got))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """End what is still asked."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _ask(self, request: str, path: str, body: bytes, live: Route, user_got: bytes) -> None:
        route = self._routes.current.routes.get(live.shadow)
        engine = self._admission.try_enter(route, set()) if route is not None else None
        if route is None or engine is None:
            DROPPED.labels(live.shadow).inc()
            return
        passage = Passage(keep_text=True)
        started = time.monotonic()
        status = 502
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._client.post(engine + path, _whole(body))
                try:
                    passage.see(await answer.read())
                finally:
                    answer.close()
                status = answer.head.status
        except (EngineGone, TimeoutError) as error:
            log.get().warning("gateway.shadow_failed", revision=route.revision, error=repr(error))
        finally:
            self._admission.leave(route, engine)
        if status == _LOADING:  # its engine is being started again: another one would have answered a user
            DROPPED.labels(live.shadow).inc()
            return
        ms = (time.monotonic() - started) * 1000
        self._recorder.record(
            Seen(
                id=f"shadow-{request}",
                endpoint=live.endpoint,
                revision=route.revision,
                api_key="",
                status=status,
                failed=status >= 400,  # the live revision could answer it
                first_byte_ms=ms,
                total_ms=ms,
                user_got=user_got,
            ),
            passage,
        )


def _whole(body: bytes) -> bytes:
    """The request for an answer in one piece."""
    return json.dumps(
        {name: value for name, value in json.loads(body).items() if name not in _STREAMING}
    ).encode()
