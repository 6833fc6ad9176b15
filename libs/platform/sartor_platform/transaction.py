"""A transaction as use cases see it: state, outgoing events and jobs are committed together or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from sartor_platform import tracing
from sartor_platform.errors import InvalidArgument
from sartor_platform.names import new_id

if TYPE_CHECKING:
    from google.protobuf.message import Message

_PUBLISH = text(
    "INSERT INTO outbox (event_id, topic, subject, type, source, run, generation, traceparent, data)"
    " VALUES (:event_id, :topic, :subject, :type, :source, :run, :generation, :traceparent, :data)"
)
_ENQUEUE = text(
    "INSERT INTO jobs (id, kind, resource, project, run, generation, revision, parent, payload, priority,"
    " requirements, not_before, deadline, traceparent, state)"
    " VALUES (:id, :kind, :resource, :project, :run, :generation, :revision, :parent,"
    " cast(:payload AS jsonb), :priority, cast(:requirements AS jsonb), :not_before, :deadline,"
    " :traceparent, 'QUEUED')"
)
_CANCEL = text(
    "UPDATE jobs SET state = 'CANCELLING', update_time = now()"
    " WHERE resource = :resource AND state IN ('QUEUED', 'PAUSED', 'RUNNING') RETURNING id"
)
_NOTIFY = text("SELECT pg_notify(:channel, payload) FROM unnest(cast(:payloads AS text[])) AS payload")
_PAYLOAD_LIMIT = 1900  # characters; PostgreSQL takes 7999 bytes
_EVENT_LIMIT_BYTES = 900_000  # brokers take a little over a megabyte by default


class Transaction:
    """Made by `Database.transaction`. Use it in the thread that opened it, inside its block."""

    __slots__ = ("_channel", "_now", "_service", "_wakes", "connection")

    def __init__(self, connection: Connection, *, service: str, channel: str) -> None:
        self.connection = connection
        self._service = service
        self._channel = channel
        self._now: datetime | None = None
        self._wakes: dict[str, None] = {}

    @property
    def now(self) -> datetime:
        """The time this transaction began, by the database's clock, in UTC."""
        if self._now is None:
            self._now = self.connection.execute(text("SELECT now()")).scalar_one()
        return self._now

    def publish(
        self, message: Message, *, subject: str, run: str = "", generation: int = 0, topic: str = ""
    ) -> str:
        """Tell the world after commit: an event about `subject`, on this service's topic.

        Args:
            topic: another one, that others write to as well, such as that of data events.
        Returns the event's id.
        """
        from google.protobuf.json_format import MessageToJson

        event_id = new_id()
        data = MessageToJson(message, indent=None, ensure_ascii=False).encode()
        if len(data) > _EVENT_LIMIT_BYTES:
            raise InvalidArgument(
                f"an event of {len(data)} bytes is too large; publish a reference to an object instead",
                reason="EVENT_TOO_LARGE",
                metadata={"type": message.DESCRIPTOR.full_name, "subject": subject},
            )
        values = {
            "event_id": event_id,
            "topic": topic or f"sartor.{self._service}.v1",
            "subject": subject,
            "type": message.DESCRIPTOR.full_name,
            "source": f"/sartor/{self._service}",
            "run": run,
            "generation": generation,
            "traceparent": tracing.current() or tracing.next_span(),
            "data": data,
        }
        self.connection.execute(_PUBLISH, values)
        self.wake("outbox")
        return event_id

    def enqueue(
        self,
        kind: str,
        *,
        resource: str,
        project: str,
        run: str = "",
        generation: int = 0,
        revision: int = 0,
        payload: Mapping[str, Any] | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        deadline: datetime | None = None,
        requirements: Mapping[str, Any] | None = None,
        parent: str = "",
    ) -> str:
        """Leave work for a worker, who may claim it once this transaction is committed. Returns the job's id.

        Args:
            priority: higher is claimed first; within one priority the projects take turns, oldest first.
            requirements: {"device": "cuda"} leaves the job to workers that have that device.
        """
        values = {
            "id": new_id(),
            "kind": kind,
            "resource": resource,
            "project": project,
            "run": run,
            "generation": generation,
            "revision": revision,
            "parent": parent,
            "payload": json.dumps(dict(payload or {})),
            "priority": priority,
            "requirements": json.dumps(dict(requirements or {})),
            "not_before": not_before,
            "deadline": deadline,
            "traceparent": tracing.current() or tracing.next_span(),
        }
        self.connection.execute(_ENQUEUE, values)
        self.wake("jobs")
        self.notify(resource)
        return str(values["id"])

    def cancel_job(self, resource: str) -> bool:
        """Ask the resource's unfinished job to stop; False where there is none.

        The job turns CANCELLING now; a worker ends its child and calls the kind's `failed` with reason
        CANCELLED.
        """
        cancelled = self.connection.execute(_CANCEL, {"resource": resource}).scalars().all()
        for job in cancelled:
            self.wake(f"cancel:{job}")
        if cancelled:
            self.notify(resource)
        return bool(cancelled)

    def notify(self, resource_name: str) -> None:
        """Wake those who watch this resource, after commit."""
        self.wake(f"watch:{resource_name}")

    def before_commit(self) -> None:
        """Send what was collected on the way; called by `Database.transaction`."""
        if self._wakes:
            self.connection.execute(_NOTIFY, {"channel": self._channel, "payloads": list(self._wakes)})
            self._wakes.clear()

    def wake(self, payload: str) -> None:
        """Tell the processes of this service, after commit: `topic` or `topic:detail` (see listen.py)."""
        self._wakes[payload[:_PAYLOAD_LIMIT]] = None
