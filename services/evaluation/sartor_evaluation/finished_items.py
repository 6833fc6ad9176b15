"""Items as they finish: sent from the child to its worker, kept until the evaluation ends, for those who
watch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from sartor_platform.worker import JobContext

from sartor_evaluation import store
from sartor_evaluation.items import HELD_OUT, Outcome
from sartor_evaluation.results import json_line, row_of

_SEND_EVERY_SECONDS = 0.5
_MOST = 5_000
"""Of an evaluation; who wants more reads its results."""


class FinishedItems:
    """In the child: gathers what finished and sends it now and then."""

    def __init__(self, report: Any) -> None:
        self._send: Callable[[dict[str, Any]], None] | None = getattr(report, "send", None)
        self._rows: list[dict[str, Any]] = []
        self._sent, self._last = 0, time.monotonic()

    def __call__(self, candidate: str, outcome: Outcome) -> None:
        if self._send is None or self._sent >= _MOST:
            return
        row = row_of(outcome.item.suite or HELD_OUT, candidate, outcome)
        self._rows.append(json.loads(json_line(row)))
        if time.monotonic() - self._last >= _SEND_EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        if self._rows and self._send is not None:
            self._send({"type": "finished", "rows": self._rows})
        self._sent, self._rows, self._last = self._sent + len(self._rows), [], time.monotonic()


def keep_finished(context: JobContext, message: dict[str, Any]) -> None:
    """In the worker: keep what the child sent, and wake those who watch."""
    if message.get("type") == "finished":
        with context.runtime.database.transaction() as tx:
            store.add_finished(tx.connection, context.job.resource, message["rows"])
            tx.notify(context.job.resource)
