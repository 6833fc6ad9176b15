"""A PostgreSQL connection that gives a silent server up: a half-open one would be waited for without end."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.errors import _WaitTimeout

ANSWER_SECONDS = 75.0
"""More than any statement may take that is not given its own time."""
PROMPT_SECONDS = 10.0
"""For what the server answers at once: the pool's ping, LISTEN, a look at a lock."""


class PatientConnection(psycopg.Connection[Any]):
    """Waits for each answer so long, then closes itself and raises OperationalError.

    TCP's own limits end what the network lost; they do not see a proxy or a frozen server that still
    acknowledges every packet.
    """

    answer_seconds: float | None = ANSWER_SECONDS
    """None waits for ever: for statements without a limit of their own."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg's, with a limit where the caller names none."""
        limit = self.answer_seconds
        if limit is not None and self.autocommit:  # the pool pings in autocommit; what LISTENs is in it
            limit = min(limit, PROMPT_SECONDS)
        if timeout is not None or limit is None:
            return super().wait(gen, interval=interval, timeout=timeout)
        try:
            return super().wait(gen, interval=interval, timeout=limit)
        except _WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError(
                f"the database has not answered for {limit:g} s: the connection is given up"
            ) from None
