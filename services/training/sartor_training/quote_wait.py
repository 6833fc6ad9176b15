"""Waiting for a worker's quote inside a call: no longer than its client does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sartor_platform.database import Database
from sartor_platform.errors import FailedPrecondition, Unavailable
from sartor_platform.jobs import job_of

from sartor_training.store import quotes

_LONGEST_SECONDS = 120.0
_PAUSE_SECONDS = 0.1


def wait_for_quote(
    database: Database, name: str, context: Any, *, at_most_seconds: float = _LONGEST_SECONDS
) -> Mapping[str, Any]:
    """What the worker measured.

    Raises:
        FailedPrecondition: with the reason for which the training would fail too.
        Unavailable: QUOTE_NOT_READY where no worker came to it in time; it is not measured any more then.
    """
    left = context.time_remaining()
    end = time.monotonic() + min(at_most_seconds, at_most_seconds if left is None else left - 0.5)
    while time.monotonic() < end and context.is_active():
        with database.read() as connection:
            job = job_of(connection, name)
            found = quotes.result(connection, name)
        if found is not None:
            return found
        if job is not None and job.finished:
            raise FailedPrecondition(job.error_message, reason=job.error_reason, metadata={"quote": name})
        time.sleep(_PAUSE_SECONDS)
    with database.transaction() as tx:
        tx.cancel_job(name)
    raise Unavailable(
        "no worker had time to measure this training; try again, or start one more worker of training",
        reason="QUOTE_NOT_READY",
        metadata={"quote": name},
    )
