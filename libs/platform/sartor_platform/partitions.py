"""What the consumer holds of each partition: the messages in hand, and when it may go on after a fault."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from sartor_platform import events, log
from sartor_platform.dead_letters import lane_of
from sartor_platform.errors import SartorError
from sartor_platform.events import Event


@dataclass(slots=True)
class Pending:
    """A message in hand. One that is no event has a fault and must not be asked for its event."""

    record: Any
    fault: SartorError | None = None
    tries: int = 0
    failing_since: float | None = None
    """When its handler failed first, by the monotonic clock: such a message is in no batch."""
    _event: Event | None = None
    _parsed: bool = False
    _lane: str | None = None

    @property
    def lane(self) -> str:
        """What the messages of its key share."""
        if self._lane is None:
            self._lane = lane_of(self.record)
        return self._lane

    @property
    def event(self) -> Event:
        """The event."""
        assert self._event is not None
        return self._event

    @property
    def type(self) -> str:
        """The event's type; "" where there is none."""
        return self._event.type if self._event is not None else ""

    def parse(self) -> None:
        """Fill the event's message, where its type is one this process knows; raises BadEvent."""
        if self._parsed:
            return
        kind = events.message_class(self.event.type)
        if kind is not None:
            self._event = replace(self.event, message=events.parse(self.event, kind))
        self._parsed = True


def decoded(record: Any, foreign_type: str = "") -> Pending:
    """A Kafka record as an event, or with the fault that makes it none.

    Args:
        foreign_type: of its topic, see `Topic.foreign`.
    """
    if foreign_type and not events.is_cloud_event(record.headers):
        return Pending(record, _event=events.foreign(record, foreign_type))
    try:
        event = events.decode(
            record.topic, record.partition, record.offset, record.timestamp, record.headers, record.value
        )
    except SartorError as fault:
        return Pending(record, fault=fault)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop what comes after it
        log.get().exception(
            "event.decoder_broke", position=f"{record.topic}/{record.partition}/{record.offset}"
        )
        return Pending(record, fault=events.BadEvent(f"the message cannot be read: {type(error).__name__}"))
    return Pending(record, _event=event)


@dataclass(slots=True)
class Partition:
    """One partition's messages in order. `next_offset` is what to commit, None if nothing new was done."""

    pending: deque[Pending] = field(default_factory=deque)
    retry_at: float = 0.0
    faults: int = 0
    next_offset: int | None = None

    def run_of(self, type_: str, limit: int, waits: Callable[[Pending], bool]) -> list[Pending]:
        """The messages at the front that are events of this type and may be in a batch, at most `limit`."""
        run = []
        for pending in islice(self.pending, max(limit, 0)):
            if pending.fault is not None or pending.type != type_:
                break
            if pending.failing_since is not None or waits(pending):
                break
            run.append(pending)
        return run

    def done(self, count: int) -> None:
        """The first `count` messages are dealt with."""
        for _ in range(count):
            self.next_offset = self.pending.popleft().record.offset + 1
        self.faults = 0
        self.retry_at = 0.0
