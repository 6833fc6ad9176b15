"""The gateway's table and its behaviour when engines fail, in front of engines that misbehave on purpose."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sartor_deployment.gateway.app import make_app
from sartor_deployment.gateway.errors import from_engine
from sartor_deployment.gateway.proxy import ProxyLimits
from sartor_deployment.gateway.routes import Route, Routes, Table, table
from starlette.testclient import TestClient

E1, E2 = "projects/p/endpoints/support", "projects/q/endpoints/support"
QUESTION = {"model": "support", "messages": [{"role": "user", "content": "hello"}]}
NOBODY = "http://127.0.0.1:9"


class FixedRoutes(Routes):
    """A table that stands still."""

    def __init__(self, current: Table) -> None:
        self.current = current
        self._changed = set()
        self._read_at = 1.0


@pytest.fixture
def engine() -> Iterator[Callable[[Callable[[BaseHTTPRequestHandler, Any], None]], str]]:
    """Starts an engine that answers as told; returns its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[BaseHTTPRequestHandler, Any], None]) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, value: Any) -> None:
    """A JSON answer."""
    body = json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def client(*engines: str, wait_seconds: float = 0.3) -> TestClient:
    """The gateway before these engines of the endpoint `support`."""
    route = Route("r1", engines)
    current = Table({"support": route}, ("support",))
    limits = ProxyLimits(engine_wait=wait_seconds)
    app = make_app(FixedRoutes(current), limits=limits, max_body_bytes=10_000)
    return TestClient(app, raise_server_exceptions=False)


def test_endpoints_are_reached_by_id_while_it_is_unique() -> None:
    """Else by their full names; every revision with an engine by its own."""
    live = {E1: f"{E1}/revisions/r2", "projects/p/endpoints/new": ""}
    engines = {f"{E1}/revisions/r2": ("http://a",), f"{E1}/revisions/r3": ("http://b",)}
    one = table(live, engines)
    assert one.routes["support"] == one.routes[E1] == Route(f"{E1}/revisions/r2", ("http://a",), E1)
    assert one.routes[f"{E1}/revisions/r3"].engines == ("http://b",)
    assert "new" not in one.routes
    two = table({E1: f"{E1}/revisions/r2", E2: f"{E2}/revisions/r1"}, engines)
    assert "support" not in two.routes
    assert two.ambiguous == {"support": (E1, E2)}
    assert two.routes[E2].engines == ()


def test_an_unreachable_engine_is_passed_over(engine: Any) -> None:
    """The request is answered by the other."""
    good = engine(lambda handler, body: send(handler, 200, {"model": "r1", "echo": body["model"]}))
    for _ in range(3):
        answer = client(NOBODY, good).post("/v1/chat/completions", json=QUESTION)
        assert answer.status_code == 200
        assert answer.json()["echo"] == "support"
        assert answer.headers["x-sartor-revision"] == "r1"


def test_without_an_engine_it_is_503_with_retry_after() -> None:
    """After the wait, not at once and not never."""
    answer = client(NOBODY).post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["error"]["code"] == "engine_unavailable"


def test_a_stream_that_breaks_ends_with_an_error_event(engine: Any) -> None:
    """The client is told, instead of taking half an answer for a whole one."""

    def half(handler: BaseHTTPRequestHandler, _body: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"data: {}\n\n")
        handler.wfile.flush()
        handler.connection.close()
        handler.close_connection = True

    answer = client(engine(half)).post("/v1/chat/completions", json={**QUESTION, "stream": True})
    assert answer.status_code == 200
    last = answer.text.strip().splitlines()[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_died"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"{}", 400, "missing_required_parameter"),
        (b'{"model": "support"}', 400, "missing_required_parameter"),
        (b'{"model": "support", "messages": ["hello"]}', 400, "invalid_type"),
        (b'{"model": "support", "messages": [{"content": "x"}]}', 400, "invalid_type"),
        (b'{"model": "support", "messages": [{"role": "user", "content": ["x"]}]}', 400, "invalid_type"),
        (b'{"model": "nobody", "messages": [{"role": "user", "content": "x"}]}', 404, "model_not_found"),
        (b" " * 20_000, 413, "request_too_large"),
    ],
)
def test_bad_requests_get_errors_in_openai_shape(body: bytes, status: int, code: str) -> None:
    """Before any engine sees them."""
    answer = client(NOBODY).post("/v1/chat/completions", content=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["type"] == "invalid_request_error"


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "tool_call_id": "a"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "system", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, "messages[0].content"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"tools": "weather"}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"top_logprobs": 100_000}, "top_logprobs"),
    ],
)
def test_what_engines_take_for_their_own_failure_is_the_clients_mistake(
    changes: dict[str, Any], param: str
) -> None:
    """They answer it with 500, which counts against a canary, or leave it out; here it is told."""
    error = client(NOBODY).post("/v1/chat/completions", json={**QUESTION, **changes})
    assert (error.status_code, error.json()["error"]["param"]) == (400, param)


def test_a_role_that_nobody_has_is_told_with_those_there_are() -> None:
    """In OpenAI's shape; the engine would read it as if it were one."""
    asked = {**QUESTION, "messages": [{"role": "wizard", "content": "x"}]}
    error = client(NOBODY).post("/v1/chat/completions", json=asked).json()["error"]
    assert (error["code"], error["type"]) == ("invalid_value", "invalid_request_error")
    assert "'wizard'" in error["message"]
    assert "developer" in error["message"]


def test_tools_calls_and_parts_of_text_pass(engine: Any) -> None:
    """In all the forms in which OpenAI's client sends them."""
    good = engine(lambda handler, body: send(handler, 200, {"model": "r1"}))
    function = {"name": "weather", "arguments": "{}"}
    messages = [
        {"role": "developer", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "Rain?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "no"},
        {"role": "assistant", "content": None, "function_call": function},
        {"role": "function", "name": "weather", "content": "no"},
    ]
    body = {
        "model": "support",
        "messages": messages,
        "tools": [{"type": "function", "function": {"name": "weather"}}],
        "stop": ["\n"],
        "response_format": {"type": "json_object"},
        "logprobs": True,
        "top_logprobs": 5,
    }
    assert client(good).post("/v1/chat/completions", json=body).status_code == 200


def test_an_unknown_path_is_json_too() -> None:
    """Clients parse it."""
    assert client().get("/v1/nothing").json()["error"]["code"] == "unknown_url"


def test_errors_of_the_engine_are_translated() -> None:
    """Its own shape is not OpenAI's."""
    body = json.dumps({"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}})
    error = from_engine(400, body.encode())
    assert error.body()["error"] == {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    said = "While executing ...\nError: Jinja Exception: roles must alternate"
    refused = from_engine(500, json.dumps({"error": {"message": said, "type": "server_error"}}).encode())
    assert (refused.status, refused.code) == (400, "chat_template_error")
    assert refused.message.endswith("does not take these messages: roles must alternate")
    assert from_engine(500, b"<html>").body()["error"]["type"] == "server_error"
