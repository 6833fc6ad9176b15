"""The client of the OpenAI-compatible API, against a small HTTP server that speaks it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from sartor.deployment.v1.endpoint_pb2 import Endpoint
from sartor.evaluation.v1.evaluation_pb2 import Comparison, Estimate, ItemResult, Score
from sartor_cli.chat import model_id
from sartor_cli.demo_answers import choose_items
from sartor_cli.faults import CommandFailed
from sartor_cli.gateway import Gateway, Said
from sartor_cli.output import console, duration
from sartor_cli.scores import candidates_of, comparison_table, score_table


class Api(BaseHTTPRequestHandler):
    """Serves one model and streams two words."""

    asked: ClassVar[list[dict[str, object]]] = []

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        return

    def do_GET(self) -> None:
        self._answer(200, json.dumps({"data": [{"id": "support"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Api.asked.append(body)
        if body["model"] != "support":
            self._answer(404, json.dumps({"error": {"message": "no such model"}}))
            return
        chunks = [{"choices": [{"delta": {"content": word}}]} for word in ("Good", " morning")]
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        self._answer(200, "".join([*lines, ": a comment\n\n", "data: [DONE]\n\n"]))

    def _answer(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Gateway(f"http://127.0.0.1:{server.server_port}/v1")
    server.shutdown()
    server.server_close()


def test_an_answer_streams_in_pieces(gateway: Gateway) -> None:
    """Piece by piece, decoded greedily."""
    assert list(gateway.stream("support", [Said("user", "Hello")])) == ["Good", " morning"]
    assert Api.asked[-1]["temperature"] == 0
    assert Api.asked[-1]["messages"] == [{"role": "user", "content": "Hello"}]
    assert gateway.ask("support", [Said("user", "Hello")]) == "Good morning"


def test_a_refusal_is_told_in_the_gateway_s_words(gateway: Gateway) -> None:
    """An unknown model is no stack trace."""
    with pytest.raises(CommandFailed, match="no such model"):
        gateway.ask("other", [Said("user", "Hello")])


def test_a_gateway_that_is_down_is_told() -> None:
    """With its address."""
    with pytest.raises(CommandFailed, match=r"127.0.0.1:1/v1 does not answer"):
        Gateway("http://127.0.0.1:1/v1").models()


def test_an_endpoint_is_found_by_id_or_name(gateway: Gateway) -> None:
    """The gateway lists the id where it is unique, else the name."""
    assert model_id(gateway, Endpoint(name="projects/p/endpoints/support")) == "support"
    with pytest.raises(CommandFailed, match="it serves support"):
        model_id(gateway, Endpoint(name="projects/p/endpoints/other"))


def test_questions_are_chosen_by_kind_and_never_by_score() -> None:
    """One of each language and kind, in the order of their ids."""
    items = [
        ItemResult(item_id="4", slices={"language": "en", "label": "Bench"}),
        ItemResult(item_id="3", slices={"language": "de"}),
        ItemResult(item_id="2", slices={"language": "en"}, metrics={"token_f1": 0.0}),
        ItemResult(item_id="1", slices={"language": "en"}, metrics={"token_f1": 0.1}),
    ]
    assert [each.item_id for each in choose_items(items)] == ["1", "3", "4"]
    assert [each.item_id for each in choose_items(items[2:])] == ["1", "2"]


def test_figures_are_shown_with_intervals_in_the_usual_order() -> None:
    """base, base with the best prompt, tuned."""
    estimate = Estimate(value=0.5, lower=0.4, upper=0.6, items=40)
    scores = [
        Score(suite="held_out", metric="token_f1", candidate=each, estimate=estimate)
        for each in ("tuned", "mine", "base", "prompted")
    ]
    assert candidates_of(scores) == ["base", "prompted", "tuned", "mine"]
    difference = Comparison(
        suite="held_out",
        metric="token_f1",
        candidate="tuned",
        baseline="base",
        difference=estimate,
        verdict="better",
    )
    with console.capture() as captured:
        console.print(score_table(scores), comparison_table([difference]))
    shown = captured.get()
    assert "BASE + BEST PROMPT" in shown
    assert "0.500 [0.400, 0.600]" in shown
    assert "+0.500 [+0.400, +0.600]" in shown
    assert "tuned − base" in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (61, "1m01s"), (3700, "1h01m"), (200_000, "2d"), (-5, "0s")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    """One or two units."""
    assert duration(seconds) == text
