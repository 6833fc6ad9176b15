"""Endpoints fail in every way; what they do not answer is counted, and nothing else is asked."""

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sartor_evaluation.checks import url_allowed
from sartor_evaluation.items import ItemKind
from sartor_evaluation.metrics.catalogue import metrics
from sartor_evaluation.prompts import ZERO_SHOT
from sartor_evaluation.remote import RemoteAnswers, RemoteModel

from tests.unit.evaluation.outcomes import answer_item, label_item


class _Endpoint(ThreadingHTTPServer):
    """An OpenAI-compatible server whose behaviour is the question's first word."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = Counter()
        self.requests = []
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def tries(self, word, at_least):
        """How often it was asked: who gave up may do so before the request is read here."""
        until = time.monotonic() + 20
        while self.asked[word] < at_least and time.monotonic() < until:
            time.sleep(0.01)
        return self.asked[word]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked["GET"] += 1
        self.send_error(404)

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((request, dict(self.headers)))
        word = request["messages"][-1]["content"].split()[0]
        self.server.asked[word] += 1
        if word == "once" and self.server.asked[word] == 1:
            return self._send(503, b"busy")
        if word == "broken":
            return self._send(500, b"no")
        if word == "refused":
            return self._send(401, b"no")
        if word == "hang":
            self.server.over.wait(60)
            return None
        if word == "elsewhere":
            self.send_response(307)
            self.send_header("location", "http://127.0.0.1:1/v1/chat/completions")
            self.send_header("content-length", "0")
            return self.end_headers()
        body = json.dumps(
            {"choices": [{"message": {"content": f" {word}! "}, "finish_reason": "stop"}]}
        ).encode()
        if word == "dropped":
            self.send_response(200)
            self.send_header("content-length", str(len(body) + 100))
            self.end_headers()
            self.wfile.write(body[:20])
            self.close_connection = True
            return None
        if request.get("stream") and word != "mute":
            chunk = b'data: {"choices": [{"delta": {"content": "so"}}]}\n\n'
            body = chunk * 3 + b"data: [DONE]\n\n"
        if word == "nonsense":
            body = b'{"choices": []}'
        return self._send(200, body)

    def _send(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def endpoint():
    server = _Endpoint()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def _ask(endpoint, *words, **fields):
    settings = {"timeout_seconds": 0.4 if "hang" in words else 60, "retries": 1, "concurrency": 4, **fields}
    asker = RemoteAnswers(RemoteModel("m", endpoint.url, "m", **settings), pause_seconds=0.01)
    return asker.outcomes([answer_item(str(n), f"{word} please") for n, word in enumerate(words)], ZERO_SHOT)


@pytest.mark.parametrize(
    ("word", "why", "tries"),
    [
        ("broken", "HTTP status 500", 2),
        ("refused", "HTTP status 401", 1),
        ("hang", "no answer within 0.4 s", 2),
        ("dropped", "the connection failed", 2),
        ("nonsense", "no chat completion", 2),
        ("elsewhere", "HTTP status 307", 1),
    ],
)
def test_what_does_not_answer_fails_and_enters_no_metric(endpoint, word, why, tries):
    """The reason is kept; what may pass is tried again, what will not is not; redirects are never
    followed."""
    [outcome] = _ask(endpoint, word)
    assert why in outcome.failure
    assert outcome.answer is None
    assert not any(info.applies(outcome) for info in metrics().values())
    assert endpoint.tries(word, tries) == tries
    assert endpoint.asked["GET"] == 0


def test_answers_come_in_the_order_of_the_items_and_faults_are_repeated(endpoint):
    """One fault that passes costs nothing; likelihood metrics do not apply to what tells no probabilities."""
    outcomes = _ask(endpoint, "one", "once", "two", "three")
    assert [outcome.answer for outcome in outcomes] == ["one!", "once!", "two!", "three!"]
    assert endpoint.asked["once"] == 2
    assert metrics()["token_f1"].applies(outcomes[0])
    assert not metrics()["loss"].applies(outcomes[0])


def test_cost_is_timed_by_streaming_and_failing_is_not_fast(endpoint):
    """Three tokens; a request that failed counts with its whole timeout and no token."""
    model = RemoteModel("m", endpoint.url, "m", timeout_seconds=5.0)
    items = [answer_item(str(n), f"{word} please") for n, word in enumerate(("tell", "broken"))]
    told, broken = RemoteAnswers(model, pause_seconds=0.01).timed(items, ZERO_SHOT)
    assert (told.tokens, told.clients, told.megabytes) == (3, 2, 0.0)
    assert 0 < told.first_token_seconds <= told.seconds
    assert (broken.tokens, broken.seconds) == (0, 5.0)
    assert all(request["stream"] for request, _ in endpoint.requests)


def test_the_key_is_sent_and_choices_are_named(endpoint):
    """A label item lists its labels, or no model could know them."""
    asker = RemoteAnswers(RemoteModel("m", endpoint.url, "gpt", key="secret"), pause_seconds=0.01)
    item = label_item("a", "billing", question="billing asks")
    assert item.kind is ItemKind.LABEL
    asker.outcomes([item], ZERO_SHOT)
    [(request, headers)] = endpoint.requests
    assert headers["authorization"] == "Bearer secret"
    assert request["model"] == "gpt"
    assert "- billing\n- shipping" in request["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://models.example.com/v1", True),
        ("https://models.example.com/v1/deep", True),
        ("https://models.example.com/v10", False),
        ("https://models.example.com/v1/../admin", False),
        ("https://models.example.com:8443/v1", False),
        ("http://models.example.com/v1", False),
        ("https://user@models.example.com/v1", False),
        ("https://models.example.com.evil.org/v1", False),
        ("http://169.254.169.254/latest", False),
        ("file:///etc/passwd", False),
        ("https://models.example.com:nonsense/v1", False),
    ],
)
def test_only_what_the_settings_allow_is_asked(url, allowed):
    """Scheme, host, port and path are all compared: a beginning that looks alike is not enough."""
    assert url_allowed(url, ["https://models.example.com/v1"]) is allowed
    assert not url_allowed(url, [])
