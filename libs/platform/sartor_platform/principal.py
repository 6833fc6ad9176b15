"""Who asks: set by the gRPC interceptor, read wherever `created_by` is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOCAL = "local"
_current: ContextVar[str] = ContextVar("sartor_principal", default=LOCAL)


def current() -> str:
    """The principal of the running call; the local user outside of calls."""
    return _current.get()


@contextmanager
def acting_as(principal: str) -> Iterator[None]:
    """Run the block as this principal."""
    token = _current.set(principal)
    try:
        yield
    finally:
        _current.reset(token)
