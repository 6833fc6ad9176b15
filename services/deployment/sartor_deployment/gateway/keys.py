"""Who asks, and whether he may: keys and their quotas, read every two seconds and counted here in between."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sartor_platform import log
from sartor_platform.database import Database, is_transient

from sartor_deployment import store
from sartor_deployment.api_keys import PREFIX, ApiKey, digest
from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.routes import Route

_LOOK_EVERY_SECONDS = 2.0
_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a key, or anybody where the gateway is open."""

    key: ApiKey | None = None

    @property
    def name(self) -> str:
        """The key's name, or ""."""
        return self.key.name if self.key else ""

    def reaches(self, route: Route) -> bool:
        """Whether it may ask there."""
        return self.key is None or route.project == f"projects/{self.key.project}"

    def check(self, route: Route) -> None:
        """Whether this key reaches that endpoint.

        Raises:
            ApiError: 404: what belongs to others does not exist for it.
        """
        if not self.reaches(route):
            raise ApiError(404, f"{route.endpoint} is not of the key's project", "model_not_found", "model")


class _Recent:
    """What a key used in the last minute, with running sums: a busy key has thousands of entries."""

    def __init__(self) -> None:
        self.requests = 0
        self.tokens = 0
        self._entries: deque[tuple[float, int]] = deque()

    def add(self, now: float, tokens: int) -> None:
        """A request (of no tokens yet), or the tokens of one that ended."""
        self._count(tokens, 1)
        self._entries.append((now, tokens))

    def forget(self, before: float) -> None:
        """Leave out what is older."""
        while self._entries and self._entries[0][0] <= before:
            self._count(self._entries.popleft()[1], -1)

    @property
    def oldest(self) -> float | None:
        """When the first of them was."""
        return self._entries[0][0] if self._entries else None

    def _count(self, tokens: int, sign: int) -> None:
        self.tokens += sign * tokens
        self.requests += sign if tokens == 0 else 0


class Keys:
    """All keys and what they used in the last minute.

    What other gateways counted comes with each look, so two gateways may together let a little more pass than
    a quota says, for about two seconds.
    """

    def __init__(self, database: Database | None, *, required: bool) -> None:
        self._database = database
        self._required = required
        self._keys: Mapping[str, ApiKey] = {}
        self._elsewhere: Mapping[str, tuple[int, int]] = {}
        self._recent: defaultdict[str, _Recent] = defaultdict(_Recent)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keys", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """Stop."""
        self._stopping.set()

    def caller(self, authorization: str) -> Caller:
        """Who sends this header.

        Raises:
            ApiError: 401 missing, unknown or ended key.
        """
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip() if scheme.lower() == "bearer" else ""
        ours = secret.startswith(PREFIX)
        if not ours and not self._required:
            return Caller()  # clients of OpenAI's library must send something
        if not secret:
            raise ApiError(
                401,
                "send an API key: `Authorization: Bearer sk-sartor-…` (`sartor keys create`)",
                "missing_api_key",
            )
        key = self._keys.get(digest(secret))
        if key is None:
            raise ApiError(401, "this API key is not known", "invalid_api_key")
        ended = key.ended(datetime.now(UTC))
        if ended:
            raise ApiError(401, f"the API key {key.prefix}… {ended}", "invalid_api_key")
        return Caller(key)

    def admit(self, caller: Caller) -> None:
        """Count a request against the quotas.

        Raises:
            ApiError: 429 with the seconds until the oldest of the last minute no longer counts.
        """
        key = caller.key
        if key is None:
            return
        now = time.monotonic()
        with self._lock:
            recent = self._recent[key.name]
            recent.forget(now - _MINUTE)
            requests, tokens = self._elsewhere.get(key.name, (0, 0))
            checks = (
                ("requests", max(recent.requests, requests), key.requests_per_minute),
                ("tokens", max(recent.tokens, tokens), key.tokens_per_minute),
            )
            for what, used, most in checks:
                if most and used >= most:
                    wait = 10 if recent.oldest is None else math.ceil(recent.oldest + _MINUTE - now)
                    raise ApiError(
                        429,
                        f"the key's quota of {most} {what} a minute is used up ({used})",
                        f"{what}_quota_exceeded",
                        retry_after_seconds=max(1, wait),
                    )
            recent.add(now, 0)

    def used(self, name: str, tokens: int) -> None:
        """What an answer cost."""
        if name and tokens:
            with self._lock:
                self._recent[name].add(time.monotonic(), tokens)

    def _keep(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        if self._database is None:
            return
        try:
            with self._database.read() as connection:
                self._keys = store.all_api_keys(connection)
                if self._keys:
                    since = datetime.now(UTC) - timedelta(seconds=_MINUTE)
                    self._elsewhere = store.used_since(connection, since)
        except Exception as error:
            if not is_transient(error):
                raise
            # The keys that were known stay good while the database is away.
            log.get().warning("gateway.keys_not_read", error=str(error).strip())
