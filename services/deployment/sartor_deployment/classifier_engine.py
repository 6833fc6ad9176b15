"""One engine for a version that says labels or numbers (`python -m sartor_deployment.classifier_engine`).

POST /v1/classifications {"input": text or texts}. It says where it listens in one JSON line on its output
and ends with its parent, as `engine` does; /health, /slots and /completion are what agents look at.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sartor_deployment.build.classifier import unpack
from sartor_deployment.engine import die_with

_MOST_TEXTS = 512
_MOST_BODY_BYTES = 64 * 2**20


class BadInput(Exception):
    """A request that cannot be answered."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM."""
    given = _arguments(argv)
    die_with(given.parent)
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    from sartor_models.classifier import load_classifier
    from sartor_models.errors import ModelError
    from sartor_platform.errors import SartorError

    torch.set_num_threads(given.threads or os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix="classifier-", dir=Path(given.model).parent) as folder:
        try:
            base, version = unpack(Path(given.model), Path(folder))
            classifier = load_classifier(base, version)
        except (SartorError, ModelError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
        server = _Server((given.host, given.port), given.alias, classifier)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address[:2]
        sys.stdout.write(json.dumps({"host": str(host), "port": port}) + "\n")
        sys.stdout.flush()
        signal.sigwait(stop)
    os._exit(0)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    for name in ("port", "context", "slots", "threads", "parent"):
        parser.add_argument(f"--{name}", type=int, default=0)
    return parser.parse_args(argv)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], alias: str, classifier: Any) -> None:
        super().__init__(address, _Handler)
        self.alias, self.classifier = alias, classifier
        self.busy = 0
        self._computing = threading.Lock()
        self._counting = threading.Lock()
        self._number = 0

    def classify(self, texts: list[str]) -> dict[str, Any]:
        """The answer to one request. One at a time: torch uses every core for each already."""
        with self._counting:
            self.busy += 1
            self._number += 1
            number = self._number
        try:
            with self._computing:
                said = self.classifier.predict(texts)
        finally:
            with self._counting:
                self.busy -= 1
        tokens = sum(each.tokens for each in said)
        return {
            "id": f"cls-{os.getpid()}-{number}",
            "object": "list",
            "model": self.alias,
            "data": [_said(index, each) for index, each in enumerate(said)],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
        }


def _said(index: int, prediction: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"index": index, "object": "classification", "truncated": prediction.truncated}
    if prediction.value is not None:
        return {**found, "value": prediction.value}
    return {
        **found,
        "label": prediction.labels[0] if prediction.labels else None,
        "labels": list(prediction.labels),
        "probabilities": {name: round(share, 6) for name, share in prediction.probabilities.items()},
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Health, and whether it works on something."""
        if self.path == "/health":
            self._answer(200, {"status": "ok"})
        elif self.path == "/slots":
            self._answer(200, [{"is_processing": True}] * self.server.busy)
        else:
            self._refuse(404, f"there is no {self.path}")

    def do_POST(self) -> None:
        """Classify; everything else is not for this model."""
        size = int(self.headers.get("Content-Length") or 0)
        if size > _MOST_BODY_BYTES:
            self.close_connection = True
            self._refuse(413, f"a request may have {_MOST_BODY_BYTES} bytes")
            return
        body = self.rfile.read(size)
        try:
            if self.path == "/completion":  # the agent's proof that it answers
                self._answer(200, self.server.classify(["a"]))
            elif self.path == "/v1/classifications":
                self._answer(200, self.server.classify(_texts(body)))
            else:
                self._refuse(
                    400, "this model says labels or numbers and writes no text: ask /v1/classifications"
                )
        except BadInput as error:
            self._refuse(400, str(error))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Nothing: what is seen is counted at the gateway."""

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, {"error": {"message": message, "type": "invalid_request_error"}})

    def _answer(self, status: int, value: Any) -> None:
        data = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _texts(body: bytes) -> list[str]:
    try:
        given = json.loads(body).get("input")
    except (ValueError, AttributeError) as error:
        raise BadInput(f"the body is no JSON object: {error}") from error
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadInput("'input' must be a text or a list of texts")
    if len(texts) > _MOST_TEXTS:
        raise BadInput(f"'input' has {len(texts)} texts, at most {_MOST_TEXTS} go into one request")
    if any(not text.strip() for text in texts):
        raise BadInput("'input' has an empty text")
    return texts


if __name__ == "__main__":
    sys.exit(main())
