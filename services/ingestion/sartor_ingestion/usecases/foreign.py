"""Messages of other systems: each source on their topic adapts them to rows, or to objects to import."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sartor_platform.errors import InvalidArgument
from sartor_platform.transaction import Transaction

from sartor_ingestion.adapters import (
    DEBEZIUM,
    OPENAI_REQUESTS,
    OTEL_GENAI,
    S3_NOTIFICATIONS,
    debezium,
    openai_requests,
    otel_genai,
    s3_notifications,
)
from sartor_ingestion.adapters.messages import KEY, BadMessage, Message, ObjectNotice, Said
from sartor_ingestion.reach import Reach
from sartor_ingestion.resources import SourceSpec
from sartor_ingestion.store import sources
from sartor_ingestion.store.sources import SourceOnDuty
from sartor_ingestion.usecases.objects import Notices
from sartor_ingestion.usecases.records import Delivery, take_deliveries


def _debezium(message: Message, spec: SourceSpec) -> Said:
    return debezium.read(message, spec.tables, spec.mapping.op or "op")


_READERS: Mapping[str, Callable[[Message, SourceSpec], Said]] = {
    S3_NOTIFICATIONS: lambda message, _: s3_notifications.read(message),
    DEBEZIUM: _debezium,
    OPENAI_REQUESTS: lambda message, _: openai_requests.read(message),
    OTEL_GENAI: lambda message, _: otel_genai.read(message),
}


@dataclass(frozen=True, slots=True)
class ForeignMessage:
    """A message as it lay in its topic."""

    topic: str
    message: Message
    position: str
    time: datetime


def take_messages(tx: Transaction, messages: Sequence[ForeignMessage], reach: Reach) -> None:
    """Let the sources of each message's topic take what it says; a topic without such a source says nothing.

    Raises:
        InvalidArgument: the reason is that of BadMessage; also BAD_OBJECT_URI.
        PermissionDenied: OBJECT_NOT_ALLOWED, where no source of the topic reads an object.
    """
    on_duty = {topic: sources.adapting(tx.connection, topic) for topic in {m.topic for m in messages}}
    deliveries: list[Delivery] = []
    ready: dict[str, SourceOnDuty] = {}
    notices = Notices(reach)
    for message in messages:
        for source in on_duty[message.topic]:
            said = _read(source.spec, message)
            if said.objects:
                alone = len(on_duty[message.topic]) == 1
                mine = [one for one in said.objects if alone or _reads(source, one)]
                notices.take(tx, source, mine, message.position, message.topic)
            if said.rows or said.rejections:
                ready[source.name] = _with_key(source)
                rows = said.rows
                deliveries.append(
                    Delivery(source.name, rows, message.position, message.time, said.rejections)
                )
    notices.start(tx)
    if deliveries:
        take_deliveries(tx, deliveries, ready)


def _read(spec: SourceSpec, message: ForeignMessage) -> Said:
    try:
        return _READERS[spec.adapter](message.message, spec)
    except BadMessage as error:
        metadata = {"adapter": spec.adapter, "position": message.position}
        raise InvalidArgument(error.message, reason=error.reason, metadata=metadata) from error


def _with_key(source: SourceOnDuty) -> SourceOnDuty:
    """The source as its adapter's rows are read: by the adapter's key where its mapping names none."""
    spec = source.spec
    if spec.mapping.key:
        return source
    mapping = replace(spec.mapping, key=KEY, key_may_be_missing=True)
    return replace(source, spec=replace(spec, mapping=mapping))


def _reads(source: SourceOnDuty, notice: ObjectNotice) -> bool:
    """Whether an object is this source's, where several have one topic."""
    return notice.uri.startswith(source.spec.object_prefixes or ("\0",))
