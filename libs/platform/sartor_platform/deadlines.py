"""How long the running call may still take: set by the gRPC interceptor, kept by its transactions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

DEFAULT_SECONDS = 30.0
_until: ContextVar[float | None] = ContextVar("sartor_deadline", default=None)


def remaining_seconds() -> float | None:
    """Time left, 0 or less when it is over; None where nobody waits."""
    until = _until.get()
    return None if until is None else until - time.monotonic()


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Give the block this long."""
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)
