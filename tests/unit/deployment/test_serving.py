"""What users of the gateway rely on: bounded waiting, no broken stream, cancelled work, keys, quotas."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sartor_deployment.api_keys import ApiKey, digest, new_secret, shown
from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.feedback import Feedback
from sartor_deployment.gateway.keys import Caller, Keys, _Recent
from sartor_deployment.gateway.proxy import ProxyLimits
from sartor_deployment.gateway.routes import Route
from sartor_deployment.gateway.traffic import Seen, traffic_row
from sartor_deployment.gateway.usage import Passage, Usage

from tests.unit.deployment.engines import (
    FixedRoutes,
    begin_stream,
    engine,
    gateway,
    send_event,
    send_json,
    table_of,
)

ENDPOINT = "projects/desk/endpoints/support"
QUESTION = {"model": "support", "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**QUESTION, "stream": True}


class Seens:
    """Keeps what the gateway saw."""

    def __init__(self) -> None:
        self.all: list[tuple[Seen, Usage]] = []
        self.passages: list[tuple[Seen, Passage]] = []

    def record(self, seen: Seen, passage: Passage) -> None:
        self.passages.append((seen, passage))
        self.all.append((seen, passage.usage()))


def until(look: Callable[[], Any], what: str) -> None:
    """Wait for it."""
    end = time.monotonic() + 20
    while not look():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def ask(url: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    """One question."""
    return httpx.post(f"{url}/v1/chat/completions", json=body or QUESTION, headers=headers, timeout=30)


def answer_at_once(handler: BaseHTTPRequestHandler, _body: Any) -> None:
    """A short answer."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    choices = [{"message": {"content": "hi"}}]
    send_json(handler, 200, {"id": "chatcmpl-1", "choices": choices, "usage": usage})


def test_a_full_queue_is_429_with_retry_after_and_breaks_nobody() -> None:
    """One slot, its lookahead of two, two may wait: of eight at once, three are sent away, five answered."""
    go_on = threading.Event()

    def slow(handler: BaseHTTPRequestHandler, body: Any) -> None:
        go_on.wait(20)
        answer_at_once(handler, body)

    with engine(slow) as url, ThreadPoolExecutor(8) as pool:
        routes = FixedRoutes(table_of(Route("r1", (url,), ENDPOINT, slots=1, queue=2)))
        with gateway(routes) as front:
            asked = [pool.submit(ask, front) for _ in range(8)]
            until(lambda: sum(each.done() for each in asked) == 3, "three are sent away")
            go_on.set()
            answers = [each.result() for each in asked]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 3
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert {answer.json()["error"]["code"] for answer in refused} == {"queue_full"}


def test_when_the_client_goes_the_engine_is_told() -> None:
    """For a whole answer and for a stream: the engine's connection closes, and the slot is free again."""
    cut_off = threading.Semaphore(0)

    def endless(handler: BaseHTTPRequestHandler, body: Any) -> None:
        if body.get("max_tokens") == 1:
            answer_at_once(handler, body)
            return
        if body.get("stream"):
            begin_stream(handler)
            send_event(handler, {"choices": []})
        handler.connection.settimeout(20)
        if handler.connection.recv(1) == b"":
            cut_off.release()
        handler.close_connection = True

    with engine(endless) as url:
        routes = FixedRoutes(table_of(Route("r1", (url,), ENDPOINT, slots=1, queue=1)))
        with gateway(routes) as front:
            for _ in range(4):  # more than there are places: each must have been given back
                with pytest.raises(httpx.ReadTimeout):
                    httpx.post(f"{front}/v1/chat/completions", json=QUESTION, timeout=1.5)
                assert cut_off.acquire(timeout=20), "the engine went on for nobody"
            for _ in range(4):
                with httpx.stream("POST", f"{front}/v1/chat/completions", json=STREAM, timeout=20) as stream:
                    next(stream.iter_raw())
                assert cut_off.acquire(timeout=20), "the engine went on for nobody"
            assert ask(front, {**QUESTION, "max_tokens": 1}).status_code == 200


def test_an_engine_that_fails_or_loads_before_the_first_byte_is_passed_over() -> None:
    """One hangs up, one says 503, the third answers."""

    def hang_up(handler: BaseHTTPRequestHandler, _body: Any) -> None:
        handler.connection.close()
        handler.close_connection = True

    def loads(handler: BaseHTTPRequestHandler, _body: Any) -> None:
        send_json(handler, 503, {"error": {"message": "Loading model"}})

    with engine(hang_up) as one, engine(loads) as two, engine(answer_at_once) as three:
        routes = FixedRoutes(table_of(Route("r1", (one, two, three), ENDPOINT)))
        with gateway(routes) as front:
            assert [ask(front).status_code for _ in range(3)] == [200] * 3


def test_two_hundred_streams_at_once_all_end_whole() -> None:
    """Eight slots: the others wait, none breaks, and never are more at the engine than agreed."""
    at_once, most, lock = [0], [0], threading.Lock()

    def stream(handler: BaseHTTPRequestHandler, _body: Any) -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        begin_stream(handler)
        for number in range(3):
            send_event(handler, {"choices": [{"delta": {"content": str(number)}}]})
        with lock:
            at_once[0] -= 1
        handler.wfile.write(b"data: [DONE]\n\n")

    def read(front: str) -> str:
        with httpx.stream("POST", f"{front}/v1/chat/completions", json=STREAM, timeout=60) as answer:
            assert answer.status_code == 200
            return answer.read().decode()

    with engine(stream) as url, ThreadPoolExecutor(200) as pool:
        routes = FixedRoutes(table_of(Route("r1", (url,), ENDPOINT, slots=8, queue=256)))
        with gateway(routes) as front:
            texts = list(pool.map(lambda _: read(front), range(200)))
    assert {text.count("content") for text in texts} == {3}
    assert all(text.endswith("data: [DONE]\n\n") for text in texts)
    assert most[0] <= 10


def test_a_slow_reader_costs_the_engine_nothing() -> None:
    """He reads nothing; the engine says all it has to say, and its only place goes to the next."""
    said_all = threading.Event()

    def much(handler: BaseHTTPRequestHandler, body: Any) -> None:
        if not body.get("stream"):
            answer_at_once(handler, body)
            return
        begin_stream(handler)
        for _ in range(400):
            send_event(handler, {"choices": [{"delta": {"content": "x" * 4000}}]})
        said_all.set()

    with engine(much) as url:
        routes = FixedRoutes(table_of(Route("r1", (url,), ENDPOINT, slots=1, queue=1)))
        seens = Seens()
        with gateway(routes, recorder=seens) as front:
            address = urlsplit(front)
            with socket.create_connection((str(address.hostname), address.port or 80)) as lazy:
                body = json.dumps(STREAM).encode()
                lazy.sendall(
                    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
                )
                assert said_all.wait(20)
                until(lambda: seens.all, "its place is given back")
                assert ask(front).status_code == 200


def test_a_body_that_does_not_come_is_waited_for_no_longer_than_a_slow_reader() -> None:
    """Else connections that say nothing would gather without end."""
    routes = FixedRoutes(table_of(Route("r1", ("http://127.0.0.1:9",), ENDPOINT)))
    with gateway(routes, limits=ProxyLimits(slow_reader=0.3)) as front:
        address = urlsplit(front)
        with socket.create_connection((str(address.hostname), address.port or 80), timeout=20) as slow:
            slow.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"mod')
            assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_what_is_said_of_an_answer_waits_until_the_answer_is_written_down() -> None:
    """However long the database needs; what nobody knows is a 404 a moment later."""

    class Late(Seens):
        looks = 0

        def unwritten(self, request: str) -> bool:
            self.looks += request == "known"
            return request == "known" and self.looks < 20

    class Store:
        def __init__(self) -> None:
            self.tries: list[str] = []

        def keep(self, given: Feedback, _project: str) -> str:
            self.tries.append(given.request)
            if given.request != "known" or late.looks < 20:
                raise ApiError(404, "there is no such answer", "answer_not_found")
            return "r1"

    late, store = Late(), Store()
    routes = FixedRoutes(table_of(Route("r1", ("http://127.0.0.1:9",), ENDPOINT)))
    with gateway(routes, recorder=late, feedback=store) as front:
        said = [
            httpx.post(f"{front}/v1/feedback", json={"request_id": request, "score": 1}, timeout=60)
            for request in ("known", "unknown")
        ]
    assert [each.status_code for each in said] == [201, 404]
    assert store.tries == ["known", "known", "unknown", "unknown"]


def test_a_revision_is_swapped_under_load_without_a_failed_request() -> None:
    """The table changes while users ask; who waits for the old revision is answered by the new one."""
    names: list[str] = []
    swapped = threading.Event()

    def named(name: str) -> Callable[[BaseHTTPRequestHandler, Any], None]:
        def answer(handler: BaseHTTPRequestHandler, _body: Any) -> None:
            names.append(name)
            if len(names) > 10:  # or the old one may have answered all before it is swapped
                swapped.wait(20)
            send_json(handler, 200, {"model": name})

        return answer

    with engine(named("r1")) as one, engine(named("r2")) as two, ThreadPoolExecutor(16) as pool:
        first = Route("r1", (one,), ENDPOINT, slots=1, queue=64)
        routes = FixedRoutes(table_of(first))
        with gateway(routes) as front:
            asked = [pool.submit(ask, front) for _ in range(60)]
            until(lambda: len(names) > 10, "some are answered")
            routes.current = table_of(dataclasses.replace(first, revision="r2", engines=(two,)))
            swapped.set()
            assert [each.result().status_code for each in asked] == [200] * 60
    assert set(names) == {"r1", "r2"}


def test_a_canary_gets_its_share_and_a_user_stays_where_he_is() -> None:
    """A quarter of the users, each always with the same revision."""

    def named(name: str) -> Callable[[BaseHTTPRequestHandler, Any], None]:
        return lambda handler, _body: send_json(handler, 200, {"model": name})

    with engine(named("live")) as live, engine(named("canary")) as canary:
        route = Route("r1", (live,), ENDPOINT, canary="r2", canary_weight=25)
        table = table_of(route)
        table = dataclasses.replace(table, routes={**table.routes, "r2": Route("r2", (canary,), ENDPOINT)})
        with gateway(FixedRoutes(table)) as front, httpx.Client() as client:

            def model(user: int) -> str:
                body = {**QUESTION, "user": f"user-{user}"}
                return str(client.post(f"{front}/v1/chat/completions", json=body).json()["model"])

            met = [model(user) for user in range(200)]
            assert 0.15 < met.count("canary") / 200 < 0.35
            assert [model(user) for user in range(40)] == met[:40]


def test_what_is_in_the_shadow_is_asked_the_same_and_answers_nobody() -> None:
    """The user gets the live answer, though the shadow has no place; agreement and failures are recorded."""
    asked_too: list[Any] = []
    full = threading.Event()

    def live(handler: BaseHTTPRequestHandler, body: Any) -> None:
        assert body["stream"]
        begin_stream(handler)
        for word in ("the ", "live ", "answer"):
            send_event(handler, {"choices": [{"delta": {"content": word}}]})
        handler.wfile.write(b"data: [DONE]\n\n")

    def shadow(handler: BaseHTTPRequestHandler, body: Any) -> None:
        asked_too.append(body)
        if body["messages"][0]["content"] == "fail":
            send_json(handler, 500, {"error": {"message": "broken"}})
            return
        if body["messages"][0]["content"] == "load":
            send_json(handler, 503, {"error": {"message": "Loading model"}})
            return
        assert full.wait(20)
        send_json(handler, 200, {"choices": [{"message": {"content": "the other Answer"}}]})

    with engine(live) as one, engine(shadow) as two:
        route = Route("r1", (one,), ENDPOINT, shadow="r2", shadow_share=1.0)
        table = table_of(route)
        routes = {**table.routes, "r2": Route("r2", (two,), ENDPOINT, slots=1)}
        seens = Seens()
        with gateway(FixedRoutes(dataclasses.replace(table, routes=routes)), recorder=seens) as front:
            texts = [ask(front, STREAM).text for _ in range(6)]  # one slot and two places before it: three
            assert all("live" in text and "other" not in text for text in texts)
            until(lambda: len(asked_too) == 3, "the copies are asked")
            full.set()
            until(lambda: len(seens.all) == 9, "they are recorded")
            for asked in ("load", "fail"):  # an engine that is being started again is no failure
                ask(front, {**STREAM, "messages": [{"role": "user", "content": asked}]})
                until(lambda: asked_too[-1]["messages"][0]["content"] == asked, "the copy is asked")  # noqa: B023
            until(lambda: len(seens.all) == 12, "the failure is recorded")
    assert asked_too[0] == QUESTION
    rows = [traffic_row(*each) for each in seens.passages if each[0].revision == "r2"]
    assert [(row.failed, row.agreement) for row in rows] == [(False, pytest.approx(2 / 3))] * 3 + [
        (True, None)
    ]
    assert {row.id.split("-")[0] for row in rows} == {"shadow"}


def test_an_answer_that_takes_too_long_is_cut_off_with_words() -> None:
    """504 before the first byte; an error event after it."""

    def hangs(handler: BaseHTTPRequestHandler, body: Any) -> None:
        if body.get("stream"):
            begin_stream(handler)
            send_event(handler, {"choices": []})
        handler.connection.settimeout(20)
        handler.connection.recv(1)
        handler.close_connection = True

    with engine(hangs) as url:
        routes = FixedRoutes(table_of(Route("r1", (url,), ENDPOINT)))
        with gateway(routes, limits=ProxyLimits(request=0.3)) as front:
            late = ask(front)
            assert (late.status_code, late.json()["error"]["code"]) == (504, "request_timeout")
            assert "request_timeout" in ask(front, STREAM).text


def key_of(secret: str, **changes: Any) -> ApiKey:
    """A key of the project `desk`."""
    key = ApiKey("projects/desk/apiKeys/k", "desk", shown(secret), 0, 0, "test", datetime.now(UTC))
    return dataclasses.replace(key, **changes)


def keys_with(secret: str, *, required: bool = True, **changes: Any) -> Keys:
    """The gateway's keys: this one."""
    keys = Keys(None, required=required)
    keys._keys = {digest(secret): key_of(secret, **changes)}
    return keys


def test_keys_open_their_own_project_only() -> None:
    """Without one 401, with a foreign one 404, with the right one an answer."""
    secret = new_secret()
    with engine(answer_at_once) as url:
        routes = FixedRoutes(table_of(Route("r1", (url,), ENDPOINT)))
        with gateway(routes, keys=keys_with(secret)) as front:
            assert ask(front).json()["error"]["code"] == "missing_api_key"
            wrong = ask(front, Authorization="Bearer sk-sartor-wrong")
            assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")
            assert ask(front, Authorization=f"Bearer {secret}").status_code == 200
            assert secret not in json.dumps(httpx.get(f"{front}/v1/models").json())
        with gateway(routes, keys=keys_with(secret, project="other")) as front:
            assert ask(front, Authorization=f"Bearer {secret}").status_code == 404
            listed = httpx.get(f"{front}/v1/models", headers={"Authorization": f"Bearer {secret}"})
            assert listed.json()["data"] == []


def test_an_open_gateway_takes_what_clients_must_send_but_no_ended_key() -> None:
    """The client library always sends something."""
    secret = new_secret()
    keys = keys_with(secret, required=False, revoke_time=datetime.now(UTC))
    assert keys.caller("Bearer none").key is None
    with pytest.raises(ApiError, match="was revoked"):
        keys.caller(f"Bearer {secret}")
    past = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(ApiError, match="has expired"):
        keys_with(secret, expire_time=past).caller(f"Bearer {secret}")


def test_quotas_are_429_with_the_time_to_wait() -> None:
    """Requests and tokens of the last minute count; each refusal says when to come again."""
    secret = new_secret()
    with engine(answer_at_once) as url:
        routes = FixedRoutes(table_of(Route("r1", (url,), ENDPOINT)))
        keys = keys_with(secret, requests_per_minute=2)
        with gateway(routes, keys=keys) as front:
            answers = [ask(front, Authorization=f"Bearer {secret}") for _ in range(3)]
            assert [each.status_code for each in answers] == [200, 200, 429]
            assert answers[2].json()["error"]["type"] == "rate_limit_error"
            assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
    keys = keys_with(secret, tokens_per_minute=10)
    caller = Caller(key_of(secret, tokens_per_minute=10))
    keys.admit(caller)
    keys.used(caller.name, 10)
    with pytest.raises(ApiError, match="quota of 10 tokens"):
        keys.admit(caller)


def test_what_is_older_than_a_minute_counts_no_more() -> None:
    """Requests and tokens each leave the sums when their own minute is over."""
    recent = _Recent()
    for at, tokens in ((0.0, 0), (1.0, 40), (2.0, 0), (3.0, 7)):
        recent.add(at, tokens)
    assert (recent.requests, recent.tokens, recent.oldest) == (2, 47, 0.0)
    recent.forget(1.0)
    assert (recent.requests, recent.tokens, recent.oldest) == (1, 7, 2.0)
    recent.forget(3.0)
    assert (recent.requests, recent.tokens, recent.oldest) == (0, 0, None)


def test_tokens_are_read_from_what_passes_through() -> None:
    """From `usage`, from llama.cpp's timings at a stream's end, or counted where it broke off."""
    whole, stream, broken = Passage(), Passage(), Passage()
    whole.see(b'{"id":"chatcmpl-9","usage":{"prompt_tokens": 7,"completion_tokens":3}}')
    assert (whole.answer_id, whole.usage()) == ("chatcmpl-9", Usage(7, 3, True))
    for _ in range(4):
        stream.see(b'data: {"id":"chatcmpl-8","choices":[]}\n\n')
    stream.see(b'data: {"timings":{"cache_n":5,"prompt_n":2,"predicted_n":4}}\n\ndata: [DONE]\n\n')
    assert stream.usage() == Usage(7, 4, True)
    broken.see(b'data: {"choices":[]}\n\ndata: {"choices":[]}\n\n')
    assert broken.usage() == Usage(0, 2, False)
