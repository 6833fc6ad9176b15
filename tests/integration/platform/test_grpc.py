"""gRPC calls against a real server: errors, health, reflection, repeats, streams and the drain."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sartor_platform import principal, tracing
from sartor_platform.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    SartorError,
)
from sartor_platform.grpc_client import call_errors, channel
from sartor_platform.grpc_server import GrpcServer, Servicer
from sartor_platform.idempotency import once

from tests.integration.platform.conftest import Platform, until

NAME = "test.v1.EchoService"


class Echo:
    """A service whose only method does what the test says."""

    def __init__(self) -> None:
        self.behaviour: Callable[[str, Any], str] = lambda text, _context: text
        self.stream: Callable[[str, Any], Iterator[str]] = lambda text, _context: iter([text])

    def say(self, request: StringValue, context: Any) -> StringValue:
        return StringValue(value=self.behaviour(request.value, context))

    def watch(self, request: StringValue, context: Any) -> Iterator[StringValue]:
        for text in self.stream(request.value, context):
            yield StringValue(value=text)


def add(echo: Echo, server: grpc.Server) -> None:
    codec = {
        "request_deserializer": StringValue.FromString,
        "response_serializer": StringValue.SerializeToString,
    }
    methods = {
        "Say": grpc.unary_unary_rpc_method_handler(echo.say, **codec),
        "Watch": grpc.unary_stream_rpc_method_handler(echo.watch, **codec),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, methods),))


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[GrpcServer]:
    server = GrpcServer("127.0.0.1:0", [Servicer(add, echo, NAME)])
    server.start()
    yield server
    server.stop(0)


@pytest.fixture
def connection(server: GrpcServer) -> Iterator[grpc.Channel]:
    with channel(f"127.0.0.1:{server.port}") as connection:
        yield connection


def say(connection: grpc.Channel, text: str, **options: Any) -> str:
    call = connection.unary_unary(f"/{NAME}/Say", StringValue.SerializeToString, StringValue.FromString)
    with call_errors():
        return str(call(StringValue(value=text), **options).value)


def raising(error: Exception) -> Callable[[str, Any], str]:
    def behave(_text: str, _context: Any) -> str:
        raise error

    return behave


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such thing", reason="THING_NOT_FOUND", metadata={"name": "things/t"}),
        Aborted("changed", reason="ETAG_MISMATCH"),
        FailedPrecondition("first do that"),
        InvalidArgument(
            "two faults", violations=[FieldViolation("spec.rank", "too small"), FieldViolation("name", "bad")]
        ),
    ],
)
def test_an_error_arrives_as_it_was_raised(echo: Echo, connection: grpc.Channel, error: SartorError) -> None:
    """Class, message, reason, metadata and violations survive as google.rpc.Status."""
    echo.behaviour = raising(error)
    with pytest.raises(type(error)) as caught:
        say(connection, "x")
    assert (caught.value.message, caught.value.reason) == (error.message, error.reason)
    assert caught.value.metadata == error.metadata
    assert getattr(caught.value, "violations", None) == getattr(error, "violations", None)


def test_an_unforeseen_error_tells_nothing_of_itself(echo: Echo, connection: grpc.Channel) -> None:
    """The client sees INTERNAL; the log has the trace."""
    echo.behaviour = raising(KeyError("password"))
    with pytest.raises(SartorError) as caught:
        say(connection, "x")
    assert caught.value.reason == "INTERNAL"
    assert "password" not in caught.value.message


def test_the_trace_and_the_principal_reach_the_handler(echo: Echo, connection: grpc.Channel) -> None:
    """The embedded stack's user is `local`; the handler continues the caller's trace."""
    echo.behaviour = lambda _text, _context: f"{principal.current()} {tracing.trace_id()}"
    with tracing.continued() as span:
        assert say(connection, "x") == f"local {tracing.trace_id(span)}"


def test_no_statement_outlives_the_deadline_of_its_call(
    echo: Echo, connection: grpc.Channel, platform: Platform
) -> None:
    """The server gives up when the client does, and frees the session."""
    ended = threading.Event()

    def slow(text_: str, _context: Any) -> str:
        try:
            with platform.database.read() as session:
                session.exec_driver_sql("SELECT pg_sleep(600)")
        finally:
            ended.set()
        return text_

    say(connection, "connected")
    echo.behaviour = slow
    with pytest.raises(DeadlineExceeded):
        say(connection, "x", timeout=0.5)
    assert ended.wait(20)


def test_health_and_reflection_name_the_service(connection: grpc.Channel) -> None:
    """As probes and grpcurl ask."""
    health = health_pb2_grpc.HealthStub(connection)
    for name in ("", NAME):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(connection)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (listed,) = reflection.ServerReflectionInfo(iter([request]))
    assert NAME in [service.name for service in listed.list_services_response.service]


def test_a_draining_server_lets_calls_end(echo: Echo, server: GrpcServer, connection: grpc.Channel) -> None:
    """The running call gets its answer, health says NOT_SERVING, new calls are refused."""
    entered, leave = threading.Event(), threading.Event()

    def slow(text: str, _context: Any) -> str:
        entered.set()
        leave.wait(20)
        return text

    echo.behaviour = slow
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(say, connection, "answer")
        assert entered.wait(20)
        stopping = pool.submit(server.stop, 20)
        with channel(f"127.0.0.1:{server.port}") as other:
            until(lambda: _refused(other))
        leave.set()
        assert running.result() == "answer"
        stopping.result()


def _refused(connection: grpc.Channel) -> bool:
    try:
        say(connection, "late", timeout=0.3)
    except SartorError:
        return True
    return False


def test_fifty_equal_create_calls_make_one_resource(
    echo: Echo, connection: grpc.Channel, platform: Platform
) -> None:
    """All get the same answer; another body is refused; without an id each call makes its own."""

    def create(text: str, _context: Any) -> str:
        request_id, _, body = text.partition("/")

        def make() -> StringValue:
            return StringValue(value=tx.enqueue("made", resource=body, project="p"))

        with platform.database.transaction() as tx:
            return once(tx, request_id, StringValue(value=body), make, StringValue).value

    echo.behaviour = create
    request_id = str(uuid.uuid4())
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: say(connection, f"{request_id}/same"), range(50)))
    assert len(set(answers)) == 1
    assert len(platform.rows("SELECT 1 FROM jobs")) == 1
    with pytest.raises(InvalidArgument) as caught:
        say(connection, f"{request_id}/other")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    say(connection, "/same")
    assert len(platform.rows("SELECT 1 FROM jobs")) == 2


def test_a_create_that_failed_may_be_repeated(platform: Platform) -> None:
    """The id is remembered only with its success."""

    def fail() -> StringValue:
        raise FailedPrecondition("not yet")

    with pytest.raises(FailedPrecondition), platform.database.transaction() as tx:
        once(tx, "id-1", StringValue(value="x"), fail, StringValue)
    with platform.database.transaction() as tx:
        assert (
            once(tx, "id-1", StringValue(value="x"), lambda: StringValue(value="made"), StringValue).value
            == "made"
        )


def test_watchers_are_capped_and_calls_go_on(
    echo: Echo, connection: grpc.Channel, platform: Platform
) -> None:
    """One stream too many is refused; a plain call still gets through; a closed stream makes room."""

    def watch(text: str, context: Any) -> Iterator[str]:
        return (
            value.value
            for value in platform.watchers.stream(
                text, lambda: StringValue(value="now"), lambda _: False, context
            )
        )

    echo.stream = watch
    call = connection.unary_stream(f"/{NAME}/Watch", StringValue.SerializeToString, StringValue.FromString)
    streams = [call(StringValue(value="things/t")) for _ in range(32)]
    for stream in streams:
        assert next(iter(stream)).value == "now"
    with pytest.raises(ResourceExhausted) as caught, call_errors():
        list(call(StringValue(value="things/t")))
    assert caught.value.reason == "TOO_MANY_WATCHERS"
    assert say(connection, "still here") == "still here"
    streams[0].cancel()

    def room() -> bool:
        try:
            stream = call(StringValue(value="things/t"))
            return bool(next(iter(stream)).value == "now")
        except grpc.RpcError:
            return False

    until(room)
    for stream in streams:
        stream.cancel()
    until(lambda: platform.watchers.count == 0)


def test_an_address_that_is_taken_is_said_plainly(server: GrpcServer) -> None:
    """The error says what to do."""
    with pytest.raises(FailedPrecondition) as caught:
        GrpcServer(f"127.0.0.1:{server.port}", []).start()
    assert caught.value.reason == "ADDRESS_IN_USE"
    assert "SARTOR_GRPC_BIND" in caught.value.message
