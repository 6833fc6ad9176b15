"""The gRPC service of dead letters, the same at every server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sartor.platform.v1 import dead_letter_pb2 as resources
from sartor.platform.v1 import dead_letter_service_pb2 as messages
from sartor.platform.v1 import dead_letter_service_pb2_grpc
from sqlalchemy import Connection, column, select, table

from sartor_platform import dead_letters, listing, log, principal
from sartor_platform.database import Database
from sartor_platform.dead_letters import COLUMNS, DEAD_LETTER, STATES, DeadLetter, letter_of
from sartor_platform.errors import FailedPrecondition, FieldViolation, InvalidArgument, NotFound
from sartor_platform.idempotency import once
from sartor_platform.inbox import BatchHandler, Handler
from sartor_platform.names import pattern
from sartor_platform.parking import attempt, cause_of, is_passing, pause_after
from sartor_platform.servicer import Servicer
from sartor_platform.transaction import Transaction

SERVICE = pattern("services/{service}")
_FILTERS = {
    "state": "state",
    "topic": "topic",
    "reason": "reason",
    "type": "event_type",
    "run": "run",
    "subject": "subject",
}
_TABLE = table("dead_letters", *(column(name.strip().strip('"')) for name in COLUMNS.split(",")))


class DeadLetterService(dead_letter_service_pb2_grpc.DeadLetterServiceServicer):
    """Proto ↔ dead_letters.py, for one service's schema."""

    def __init__(self, database: Database, handlers: Mapping[str, Handler | BatchHandler]) -> None:
        self._database = database
        self._handlers = handlers

    def GetDeadLetter(self, request: messages.GetDeadLetterRequest, context: Any) -> resources.DeadLetter:  # noqa: N802
        """Read a letter whole."""
        id_ = self._id(request.name)
        with self._database.read() as connection:
            return self._whole(dead_letters.find(connection, id_))

    def ListDeadLetters(  # noqa: N802
        self, request: messages.ListDeadLettersRequest, context: Any
    ) -> messages.ListDeadLettersResponse:
        """List letters, newest first."""
        if request.parent != "services/-":
            self._own(SERVICE.parse(request.parent, field="parent")["service"], request.parent)
        wanted = listing.parse_filter(request.filter, _FILTERS)
        if wanted.get("state", STATES[0]) not in STATES:
            raise InvalidArgument(
                f"{wanted['state']!r} is no state of a dead letter; take one of {', '.join(STATES)}",
                reason="BAD_FILTER",
                violations=[FieldViolation("filter", "unknown state")],
            )
        with self._database.read() as connection:
            letters, token = _page(connection, wanted, request)
            counts = dead_letters.counts(connection)
        return messages.ListDeadLettersResponse(
            dead_letters=[self._brief(letter) for letter in letters],
            next_page_token=token,
            open_count=counts["OPEN"],
            parked_count=counts["PARKED"],
        )

    def ReplayDeadLetter(  # noqa: N802
        self, request: messages.ReplayDeadLetterRequest, context: Any
    ) -> resources.DeadLetter:
        """Give the event to its handler again."""
        id_ = self._id(request.name)
        with self._database.transaction() as tx:

            def make() -> resources.DeadLetter:
                self._replay(tx, dead_letters.find(tx.connection, id_, lock=True))
                return self._brief(dead_letters.find(tx.connection, id_))

            return once(tx, request.request_id, request, make, resources.DeadLetter)

    def DropDeadLetter(self, request: messages.DropDeadLetterRequest, context: Any) -> resources.DeadLetter:  # noqa: N802
        """See that the event is never handled."""
        id_ = self._id(request.name)
        with self._database.transaction() as tx:

            def make() -> resources.DeadLetter:
                letter = dead_letters.find(tx.connection, id_, lock=True)
                dead_letters.drop(tx, letter, principal.current())
                return self._brief(dead_letters.find(tx.connection, id_))

            return once(tx, request.request_id, request, make, resources.DeadLetter)

    def _replay(self, tx: Transaction, letter: DeadLetter) -> None:
        if letter.state == "PARKED" and letter.retry_time is None:
            raise FailedPrecondition(
                f"{name_of(self._database.service, letter)} waits behind an earlier event of its key;"
                " replay or drop that one first",
                reason="EARLIER_EVENT_PARKED",
                metadata={"topic": letter.record.topic, "subject": letter.subject},
            )
        dead_letters.check_unresolved(letter)
        error = attempt(tx, letter, self._handlers)
        if error is None:
            dead_letters.resolve(tx, letter, "REPLAYED", principal.current())
        else:
            reason, message = cause_of(error)
            parked = letter.state == "PARKED" and is_passing(error)
            dead_letters.failed_again(tx, letter, "PARKED" if parked else "OPEN", reason, message)
            if parked:
                dead_letters.retry_after(tx, letter, pause_after(letter.tries + 1))
        log.get().info(
            "dead_letter.replayed", dead_letter=letter.id, error="" if error is None else cause_of(error)[0]
        )

    def _id(self, name: str) -> str:
        ids = DEAD_LETTER.parse(name)
        self._own(ids["service"], name)
        return ids["dead_letter"]

    def _own(self, service: str, name: str) -> None:
        if service != self._database.service:
            raise NotFound(
                f"{name} is not of this service, which is {self._database.service}; ask {service}",
                reason="DEAD_LETTER_OF_ANOTHER_SERVICE",
                metadata={"service": service},
            )

    def _brief(self, letter: DeadLetter) -> resources.DeadLetter:
        record = letter.record
        return resources.DeadLetter(
            name=name_of(self._database.service, letter),
            state=resources.DeadLetterState.Value(f"DEAD_LETTER_STATE_{letter.state}"),
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            record_time=_time(letter.record_time),
            event_id=letter.event_id,
            event_source=letter.event_source,
            event_type=letter.event_type,
            subject=letter.subject,
            run=letter.run,
            reason=letter.reason,
            message=letter.message,
            tries=letter.tries,
            create_time=_time(letter.create_time),
            update_time=_time(letter.update_time),
            retry_time=_time(letter.retry_time),
            resolve_time=_time(letter.resolve_time),
            resolved_by=letter.resolved_by,
        )

    def _whole(self, letter: DeadLetter) -> resources.DeadLetter:
        message = self._brief(letter)
        message.key, message.value = letter.record.key or b"", letter.record.value or b""
        for key, value in letter.record.headers:
            message.headers.add(key=key, value=value)
        return message


def servicer(database: Database, handlers: Mapping[str, Handler | BatchHandler]) -> Servicer:
    """What the server serves besides the service's own."""
    return Servicer(
        dead_letter_service_pb2_grpc.add_DeadLetterServiceServicer_to_server,
        DeadLetterService(database, handlers),
        messages.DESCRIPTOR.services_by_name["DeadLetterService"].full_name,
    )


def name_of(service: str, letter: DeadLetter) -> str:
    """The resource name of a letter."""
    return DEAD_LETTER.format(service=service, dead_letter=letter.id)


def _page(
    connection: Connection, wanted: Mapping[str, str], request: messages.ListDeadLettersRequest
) -> tuple[list[DeadLetter], str]:
    query = select(_TABLE)
    for name, value in wanted.items():
        query = query.where(_TABLE.c[_FILTERS[name]] == value)
    rows, token = listing.page(
        connection,
        query,
        order=[_TABLE.c.id],
        page_size=request.page_size,
        page_token=request.page_token,
        descending=True,
    )
    return [letter_of(row) for row in rows], token


def _time(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
