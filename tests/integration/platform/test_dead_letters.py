"""Dead letters and parked events, on the real broker and database, through the service every server has."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from kafka.cluster import ClusterMetadata
from sartor.platform.v1 import dead_letter_service_pb2 as messages
from sartor.platform.v1.dead_letter_pb2 import DeadLetterState
from sartor.platform.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from sartor_platform.consumer import BatchHandler
from sartor_platform.dead_letter_service import servicer
from sartor_platform.errors import InvalidArgument, NotReady, Unavailable
from sartor_platform.grpc_client import call_errors
from sartor_platform.grpc_server import GrpcServer
from sartor_platform.parking import RETRY
from sartor_platform.retention import sweep
from sartor_platform.settings import PlatformSettings
from sartor_platform.topics import Topic
from sqlalchemy.exc import OperationalError

from tests.integration.platform.conftest import Platform, read_all, until
from tests.integration.platform.test_events import READY, binary, send

OPEN, PARKED = DeadLetterState.DEAD_LETTER_STATE_OPEN, DeadLetterState.DEAD_LETTER_STATE_PARKED
REPLAYED, DROPPED = DeadLetterState.DEAD_LETTER_STATE_REPLAYED, DeadLetterState.DEAD_LETTER_STATE_DROPPED


class Switch:
    """A handler that fails on chosen ids, as it is told, until it is mended.

    What it has handled is in the database: a batch that fails is rolled back and tried one by one.
    """

    def __init__(self, platform: Platform, error: Exception, *bad: str) -> None:
        self._platform = platform
        self.error: Exception | None = error
        self.bad = set(bad)

    def __call__(self, tx: Any, event: Any) -> None:
        if event.id in self.bad and self.error is not None:
            raise self.error
        tx.enqueue("seen", resource=event.id, project="p", payload={"model": event.message.base_model})

    def many(self, tx: Any, events: Any) -> None:
        for event in events:
            self(tx, event)

    def mend(self) -> None:
        self.error = None

    def handled(self, prefix: str = "") -> list[str]:
        """The ids of the events handled so far, in their order."""
        rows = self._platform.rows("SELECT resource FROM jobs WHERE kind = 'seen' ORDER BY id")
        return [row.resource for row in rows if row.resource.startswith(prefix)]


@pytest.fixture
def settings(settings: PlatformSettings) -> PlatformSettings:
    from dataclasses import replace

    return replace(settings, park_after_seconds=0.3)


class Letters:
    """The service's dead letters over gRPC."""

    def __init__(self, platform: Platform, port: int) -> None:
        self.service = platform.service
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = DeadLetterServiceStub(self.channel)

    def list(self, where: str = "", **more: Any) -> Any:
        request = messages.ListDeadLettersRequest(parent=f"services/{self.service}", filter=where, **more)
        with call_errors():
            return self.stub.ListDeadLetters(request)

    def one(self, where: str = "") -> Any:
        (letter,) = until(lambda: list(self.list(where).dead_letters))
        return letter

    def get(self, name: str) -> Any:
        with call_errors():
            return self.stub.GetDeadLetter(messages.GetDeadLetterRequest(name=name))

    def replay(self, name: str, request_id: str = "") -> Any:
        with call_errors():
            return self.stub.ReplayDeadLetter(
                messages.ReplayDeadLetterRequest(name=name, request_id=request_id)
            )

    def drop(self, name: str, request_id: str = "") -> Any:
        with call_errors():
            return self.stub.DropDeadLetter(messages.DropDeadLetterRequest(name=name, request_id=request_id))


@pytest.fixture
def serve(platform: Platform) -> Iterator[Any]:
    """Serves the dead letters with these handlers."""
    started: list[tuple[GrpcServer, Letters]] = []

    def begin(handlers: Any) -> Letters:
        server = GrpcServer("127.0.0.1:0", [servicer(platform.database, handlers)])
        server.start()
        started.append((server, Letters(platform, server.port)))
        return started[-1][1]

    yield begin
    for server, letters in started:
        letters.channel.close()
        server.stop(0)


def test_a_letter_is_shown_whole_and_replayed_once_its_cause_is_mended(
    platform: Platform, serve: Any
) -> None:
    """Replay goes through the handler with the inbox in force; a repeat of the call changes nothing."""
    handler = Switch(platform, InvalidArgument("unknown source", reason="UNKNOWN_SOURCE"), "e-1")
    letters = serve({READY: handler})
    platform.consumer({READY: handler})
    send(
        platform, platform.topic, (binary("e-1", ce_subject="s", ce_sartorrun="r"), b'{"baseModel":"b"}', "k")
    )
    letter = letters.one()
    assert (letter.state, letter.reason, letter.message) == (OPEN, "UNKNOWN_SOURCE", "unknown source")
    assert (letter.event_id, letter.event_type, letter.run, letter.topic) == (
        "e-1",
        READY,
        "r",
        platform.topic,
    )
    assert not letter.value
    whole = letters.get(letter.name)
    assert (whole.key, whole.value) == (b"k", b'{"baseModel":"b"}')
    assert ("ce_id", b"e-1") in [(header.key, header.value) for header in whole.headers]
    again = letters.replay(letter.name)
    assert (again.state, again.tries) == (OPEN, 2)
    handler.mend()
    request = str(uuid.uuid4())
    assert [letters.replay(letter.name, request).state for _ in range(2)] == [REPLAYED, REPLAYED]
    assert platform.rows("SELECT payload FROM jobs")[0].payload == {"model": "b"}
    assert letters.get(letter.name).resolved_by == "local"
    with pytest.raises(Exception, match="replayed already"):
        letters.drop(letter.name)
    send(platform, platform.topic, (binary("e-1"), b"{}", "k"), (binary("e-2"), b"{}", "k"))
    until(lambda: handler.handled() == ["e-1", "e-2"])


def test_a_dropped_event_is_never_handled_though_it_comes_again(platform: Platform, serve: Any) -> None:
    """Its inbox row stands for it, so a redelivery after the cause was mended is passed over."""
    handler = Switch(platform, InvalidArgument("no", reason="REFUSED"), "bad")
    letters = serve({READY: handler})
    platform.consumer({READY: handler})
    send(platform, platform.topic, (binary("bad"), b"{}", "k"))
    assert letters.drop(letters.one().name).state == DROPPED
    handler.mend()
    send(platform, platform.topic, (binary("bad"), b"{}", "k"), (binary("good"), b"{}", "k"))
    until(lambda: handler.handled() == ["good"])
    assert len(letters.list().dead_letters) == 1


def test_a_redelivered_letter_is_one_letter_and_its_copy_is_sent_again_at_most(
    platform: Platform, serve: Any
) -> None:
    """A crash between the row and the offset brings the event again: no second row."""
    handler = Switch(platform, InvalidArgument("no", reason="REFUSED"), "bad")
    letters = serve({READY: handler})
    platform.relay()
    platform.consumer({READY: handler})
    same = (binary("bad"), b"{}", "k")
    send(
        platform, platform.topic, same, same, ({"x": "y"}, b"not an event", "k"), (binary("end"), b"{}", "k")
    )
    until(handler.handled)
    assert sorted(letter.reason for letter in letters.list().dead_letters) == ["BAD_CLOUD_EVENT", "REFUSED"]
    copies = read_all(platform.settings, f"{platform.topic}.dlq", 2)
    assert {dict(copy.headers)["sartor_reason"] for copy in copies} == {b"REFUSED", b"BAD_CLOUD_EVENT"}
    until(lambda: not platform.rows("SELECT 1 FROM dead_letters WHERE published_time IS NULL"))


def test_copies_of_a_topic_that_comes_later_leave_the_client_at_rest(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that forgot a topic it had sent to asks for its leader thousands of times a second."""
    asked: list[None] = []
    ask = ClusterMetadata.request_update
    monkeypatch.setattr(ClusterMetadata, "request_update", lambda self: asked.append(None) or ask(self))
    platform.relay()
    topics: list[str | Topic] = [platform.topic]
    platform.consumer({}, topics)
    _put_aside(platform, platform.topic)
    topics.append(f"{platform.topic}.later")
    _put_aside(platform, f"{platform.topic}.later")
    until(lambda: not platform.rows("SELECT 1 FROM dead_letters WHERE published_time IS NULL"))
    asked.clear()
    time.sleep(0.5)
    assert len(asked) < 20


def _put_aside(platform: Platform, topic: str) -> None:
    send(platform, topic, ({"x": "y"}, b"not an event", "k"))
    assert len(read_all(platform.settings, f"{topic}.dlq", 1)) == 1


def test_letters_are_filtered_and_paged(platform: Platform, serve: Any) -> None:
    """By state, topic and reason; a token is good for its own list only; foreign names are refused."""
    handler = Switch(platform, InvalidArgument("no", reason="REFUSED"), *(f"b-{n}" for n in range(3)))
    letters = serve({READY: handler})
    platform.consumer({READY: handler})
    send(platform, platform.topic, *((binary(f"b-{n}"), b"{}", "k") for n in range(3)))
    send(platform, platform.topic, (binary("data"), b"[", "k"), (binary("end"), b"{}", "k"))
    until(handler.handled)
    first = letters.list("reason = REFUSED", page_size=2)
    assert (len(first.dead_letters), first.open_count) == (2, 4)
    second = letters.list("reason = REFUSED", page_size=2, page_token=first.next_page_token)
    assert (len(second.dead_letters), second.next_page_token) == (1, "")
    assert [each.event_id for each in letters.list(f'topic = "{platform.topic}" AND reason = BAD_EVENT_DATA')
            .dead_letters] == ["data"]  # fmt: skip
    assert not letters.list("state = DROPPED").dead_letters
    for wrong in (
        lambda: letters.list("state = GONE"),
        lambda: letters.list("reason = BAD_EVENT_DATA", page_token=first.next_page_token),
        lambda: letters.get("services/another/deadLetters/x"),
        lambda: letters.get(f"services/{platform.service}/deadLetters/none"),
    ):
        with pytest.raises(Exception) as raised:
            wrong()
        assert getattr(raised.value, "reason", "") in (
            "BAD_FILTER", "BAD_PAGE_TOKEN", "DEAD_LETTER_OF_ANOTHER_SERVICE", "DEAD_LETTER_NOT_FOUND",
        )  # fmt: skip


def test_a_handler_that_fails_for_ever_blocks_only_its_own_key(platform: Platform, serve: Any) -> None:
    """The event and those of its key behind it are parked, in order; every other key goes on."""
    handler = Switch(platform, Unavailable("the other side is away", reason="AWAY"), "w-1")
    letters = serve({READY: handler})
    mixed = [(binary(f"{key}-{n}"), b"{}", key) for n in (1, 2, 3) for key in ("w", *"abcdefgh")]
    send(platform, platform.topic, *mixed)
    platform.consumer({READY: handler})
    until(lambda: len(handler.handled()) == 24)
    for key in "abcdefgh":
        assert handler.handled(key) == [f"{key}-1", f"{key}-2", f"{key}-3"]
    until(lambda: len(letters.list("state = PARKED").dead_letters) == 3)
    parked = list(letters.list("state = PARKED").dead_letters)[::-1]
    assert [(each.event_id, each.reason) for each in parked] == [
        ("w-1", "AWAY"), ("w-2", "EARLIER_EVENT_PARKED"), ("w-3", "EARLIER_EVENT_PARKED"),
    ]  # fmt: skip
    with pytest.raises(Exception, match="earlier event of its key"):
        letters.replay(parked[1].name)
    platform.parked_events({READY: handler})
    until(lambda: letters.get(parked[0].name).tries >= 2)
    assert not handler.handled("w")
    handler.mend()
    until(lambda: letters.list().parked_count == 0)
    assert handler.handled("w") == ["w-1", "w-2", "w-3"]
    assert {(each.state, each.resolved_by) for each in letters.list().dead_letters} == {(REPLAYED, RETRY)}
    send(platform, platform.topic, (binary("w-4"), b"{}", "w"))
    until(lambda: handler.handled()[-1] == "w-4")
    assert letters.list().parked_count == 0


def test_a_batch_with_an_event_that_fails_for_ever_goes_on_without_its_key(
    platform: Platform, serve: Any
) -> None:
    """A batch handler is given the others; what is dropped frees its key."""
    handler = Switch(platform, Unavailable("away"), "w-1")
    batch = {READY: BatchHandler(handler.many)}
    letters = serve(batch)
    send(platform, platform.topic, *((binary(f"{k}-{n}"), b"{}", k) for n in (1, 2) for k in ("w", *"abcd")))
    platform.consumer(batch)
    platform.parked_events(batch)
    until(lambda: len(handler.handled()) == 8)
    until(lambda: letters.list().parked_count == 2)
    head = next(each for each in letters.list("state = PARKED").dead_letters if each.event_id == "w-1")
    assert letters.drop(head.name).state == DROPPED
    until(lambda: handler.handled("w") == ["w-2"])


@pytest.mark.parametrize(
    "error", [NotReady(0.5, "the model is being prepared"), OperationalError("slow", None, Exception("slow"))]
)
def test_what_asks_for_later_or_meets_a_slow_database_is_parked_too(
    platform: Platform, serve: Any, error: Exception
) -> None:
    """Whatever passes is waited for in the database, not in the partition."""
    handler = Switch(platform, error, "w-1")
    letters = serve({READY: handler})
    send(platform, platform.topic, (binary("w-1"), b"{}", "w"), (binary("w-2"), b"{}", "w"))
    platform.consumer({READY: handler})
    until(lambda: letters.list().parked_count == 2)
    handler.mend()
    platform.parked_events({READY: handler})
    until(lambda: handler.handled() == ["w-1", "w-2"])


def test_a_parked_event_that_turns_out_to_be_poison_is_put_aside_and_its_key_goes_on(
    platform: Platform, serve: Any
) -> None:
    """OPEN now, with a copy for other systems; what waited behind it is handled."""
    handler = Switch(platform, Unavailable("away"), "w-1")
    letters = serve({READY: handler})
    platform.relay()
    send(platform, platform.topic, (binary("w-1"), b"{}", "w"), (binary("w-2"), b"{}", "w"))
    platform.consumer({READY: handler})
    until(lambda: letters.list().parked_count == 2)
    handler.error = InvalidArgument("closed", reason="SOURCE_CLOSED")
    platform.parked_events({READY: handler})
    until(lambda: handler.handled() == ["w-2"])
    assert letters.one("state = OPEN").reason == "SOURCE_CLOSED"
    (copy,) = read_all(platform.settings, f"{platform.topic}.dlq", 1)
    assert dict(copy.headers)["sartor_reason"] == b"SOURCE_CLOSED"


def test_parked_events_are_few_enough_and_the_rest_waits_in_its_partition(
    platform: Platform, serve: Any
) -> None:
    """Beyond the limit nothing is lost: the partition is held, and goes on when there is room."""
    from dataclasses import replace

    limited = replace(platform.settings, parked_limit=2)
    handler = Switch(platform, Unavailable("away"), "w-1")
    letters = serve({READY: handler})
    send(platform, platform.topic, *((binary(f"w-{n}"), b"{}", "w") for n in range(1, 6)))
    platform.consumer({READY: handler}, settings=limited)
    until(lambda: letters.list().parked_count == 2)
    handler.mend()
    platform.parked_events({READY: handler})
    until(lambda: len(handler.handled()) == 5)
    assert handler.handled() == [f"w-{n}" for n in range(1, 6)]


def test_resolved_letters_are_forgotten_and_parked_ones_never(platform: Platform, serve: Any) -> None:
    """Retention goes by when a letter was resolved; an open one has a longer time of its own."""
    handler = Switch(platform, InvalidArgument("no"), "o-1", "o-2")
    letters = serve({READY: handler})
    platform.consumer({READY: handler})
    send(platform, platform.topic, (binary("o-1"), b"{}", "k"), (binary("o-2"), b"{}", "k"))
    until(lambda: letters.list().open_count == 2)
    letters.drop(letters.list().dead_letters[0].name)
    handler.error = Unavailable("away")
    handler.bad = {"p-1"}
    send(platform, platform.topic, (binary("p-1"), b"{}", "k"))
    until(lambda: letters.list().parked_count == 1)
    with platform.database.connect() as session:
        assert sweep(session, 3600, 3600)["dead_letters"] == 0
        assert sweep(session, -1, 3600)["dead_letters"] == 1
        assert sweep(session, 3600, -1)["dead_letters"] == 1
    assert [letter.state for letter in letters.list().dead_letters] == [PARKED]


def test_who_takes_over_a_partition_knows_its_parked_keys(platform: Platform, serve: Any) -> None:
    """After a rebalance the next event of a parked key waits too, though its handler would take it."""
    handler = Switch(platform, Unavailable("away"), "w-1")
    letters = serve({READY: handler})
    first = platform.consumer({READY: handler})
    send(platform, platform.topic, (binary("w-1"), b"{}", "w"))
    until(lambda: letters.list().parked_count == 1)
    first.stop()
    handler.mend()
    platform.consumer({READY: handler})
    send(platform, platform.topic, (binary("w-2"), b"{}", "w"), (binary("x-1"), b"{}", "x"))
    until(lambda: handler.handled() == ["x-1"] and letters.list().parked_count == 2)
    platform.parked_events({READY: handler})
    until(lambda: handler.handled() == ["x-1", "w-1", "w-2"])


def test_poison_that_no_database_could_keep_as_text_stops_nothing(platform: Platform, serve: Any) -> None:
    """NULs, half surrogates, endless nesting and times beyond the calendar are put aside, byte by byte."""
    handler = Switch(platform, InvalidArgument("no"))
    letters = serve({READY: handler})
    structured = {"content-type": "application/cloudevents+json"}
    envelope = b'{"specversion": "1.0", "id": "\\ud800", "source": "/s", "type": "t"}'
    send(
        platform,
        platform.topic,
        (binary("nul\0"), b"{}", "k"),
        (structured, envelope, "k"),
        (structured, b"[" * 100_000, "k"),
        (binary("deep"), b'{"a":' * 100_000, "k"),
        (binary("early", ce_time="0001-01-01T00:00:00+14:00"), b"{}", "k"),
        ({**binary("n"), "ce_sartorgeneration": "9" * 40}, b"\xff\0", "k"),
        (binary("good"), b"{}", "k"),
    )
    platform.consumer({READY: handler})
    until(lambda: handler.handled() == ["good"])
    assert letters.list().open_count == 6
    values = {letters.get(each.name).value for each in letters.list().dead_letters}
    assert {envelope, b"[" * 100_000, b"\xff\0"} <= values
