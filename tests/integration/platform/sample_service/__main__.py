"""Each BaseModelReady event makes a job that doubles the length of its name; a role that only waits."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sartor.training.v1.training_events_pb2 import BaseModelReady
from sartor_platform.processes import stop_event
from sartor_platform.service import Runtime, ServiceDefinition, main
from sartor_platform.settings import PlatformSettings
from sartor_platform.ticks import Tick
from sartor_platform.topics import Topic
from sartor_platform.worker import JobContext, JobKind
from sqlalchemy import text

NAME = os.environ.get("SAMPLE_SERVICE_NAME", "sample")


def on_ready(tx: Any, event: Any) -> None:
    """An event becomes a job; one named "stuck" holds a process up that is told to be."""
    if event.subject == "stuck" and os.environ.get("SAMPLE_SERVICE_STUCK"):
        time.sleep(3600)
    tx.enqueue("double", resource=event.subject, project="p", payload={"number": len(event.subject)})


def stage_in(context: JobContext) -> Mapping[str, Any]:
    """The task is the payload; where told so, a job hangs in its staging and hears of nothing."""
    if context.job.resource.startswith("hangs") and os.environ.get("SAMPLE_SERVICE_STUCK"):
        time.sleep(3600)
    return context.job.payload


def stage_out(context: JobContext, result: dict[str, Any]) -> Any:
    """The result becomes a row and an event."""

    def accept(tx: Any) -> None:
        tx.connection.execute(
            text("INSERT INTO doubles VALUES (:resource, :number)"),
            {"resource": context.job.resource, "number": result["number"]},
        )
        tx.publish(BaseModelReady(base_model=context.job.resource), subject=context.job.resource)

    return accept


def kinds(_runtime: Runtime) -> Sequence[JobKind]:
    """One kind."""
    return [
        JobKind(
            name="double",
            entry="tests.integration.platform.work:double",
            stage_in=stage_in,
            stage_out=stage_out,
            failed=lambda tx, job, reason, message: None,
        )
    ]


def tick(runtime: Runtime) -> None:
    """Counts the ticks in the database."""
    with runtime.database.transaction() as tx:
        tx.connection.execute(
            text(
                "INSERT INTO doubles VALUES ('tick', 1)"
                " ON CONFLICT (resource) DO UPDATE SET number = doubles.number + 1"
            )
        )


DEFINITION = ServiceDefinition(
    name=NAME,
    package="tests.integration.platform.sample_service",
    settings=PlatformSettings,
    servicers=lambda runtime: [],
    topics=lambda runtime: [Topic(f"{NAME}.data", strict=True)],
    handlers=lambda runtime: {BaseModelReady.DESCRIPTOR.full_name: on_ready},
    job_kinds=kinds,
    ticks=lambda runtime: [Tick("count", 0.5, tick)],
    roles={"waiter": lambda runtime: (stop_event().wait(), None)[1]},
)

if __name__ == "__main__":
    sys.exit(main(DEFINITION))
