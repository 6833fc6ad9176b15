"""W3C trace context: a `traceparent` per unit of work, in gRPC metadata, Kafka headers and job rows."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_current: ContextVar[str] = ContextVar("sartor_traceparent", default="")


def current() -> str:
    """The traceparent of the running unit of work, or ""."""
    return _current.get()


def trace_id(traceparent: str | None = None) -> str:
    """The 32 hex digits all parts of one trace share; "" where there is no trace."""
    match = _TRACEPARENT.fullmatch(traceparent if traceparent is not None else current())
    return match.group(1) if match else ""


def next_span(parent: str = "") -> str:
    """A traceparent for the next unit of work: the parent's trace (or a new one), a span of its own."""
    trace = trace_id(parent) or secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"


@contextmanager
def continued(parent: str = "") -> Iterator[str]:
    """Run the block as the next unit of work of this parent (malformed ones are replaced by a new trace)."""
    span = next_span(parent)
    token = _current.set(span)
    try:
        yield span
    finally:
        _current.reset(token)
