"""What every process measures, and the small HTTP server that shows it: /metrics and /healthz."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from sartor_platform.errors import FailedPrecondition

_LONG = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400)
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

REQUEST_SECONDS = Histogram(
    "sartor_request_seconds", "Time of a gRPC call.", ["method", "code"], buckets=_SHORT
)
JOB_SECONDS = Histogram(
    "sartor_job_seconds", "Time of one attempt at a job.", ["kind", "outcome"], buckets=_LONG
)
JOB_WAIT_SECONDS = Histogram(
    "sartor_job_wait_seconds",
    "From when a job could first be claimed to its claim.",
    ["kind"],
    buckets=_SHORT,
)
CHILD_START_SECONDS = Histogram(
    "sartor_job_child_start_seconds",
    "From a child's spawn to its first line of Python.",
    ["kind"],
    buckets=_SHORT,
)
QUEUE_DEPTH = Gauge("sartor_job_queue_depth", "Unfinished jobs.", ["kind", "state"])
CONSUMER_LAG = Gauge("sartor_consumer_lag", "Messages that wait in the topic for this consumer.", ["topic"])
EVENTS = Counter("sartor_events", "Consumed events.", ["topic", "type", "outcome"])
DEAD_LETTERS = Gauge(
    "sartor_dead_letters", "Events that wait: for a person (OPEN), or for a later try (PARKED).", ["state"]
)
OUTBOX_AGE_SECONDS = Gauge("sartor_outbox_age_seconds", "Age of the oldest event that is not published yet.")
PUBLISHED = Counter("sartor_published_events", "Events the relay published.", ["topic"])
WATCHERS = Gauge("sartor_watchers", "Open Watch streams.")


class MetricsServer:
    """Serves /metrics; /healthz, whether work may be sent here; /livez, whether a restart would not help.

    `unwell` and `stuck` answer None while all is well.

    Raises:
        FailedPrecondition: ADDRESS_IN_USE.
    """

    def __init__(
        self,
        bind: str,
        unwell: Callable[[], str | None],
        stuck: Callable[[], str | None] = lambda: None,
    ) -> None:
        host, _, port = bind.rpartition(":")
        try:
            self._server = ThreadingHTTPServer(
                (host or "127.0.0.1", int(port)), _handler({"/healthz": unwell, "/livez": stuck})
            )
        except OSError as error:
            raise FailedPrecondition(
                f"cannot listen on {bind}: {error.strerror}; stop what holds it or set SARTOR_METRICS_BIND",
                reason="ADDRESS_IN_USE",
                metadata={"address": bind},
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens, also when the settings left the choice to the system."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def _handler(questions: Mapping[str, Callable[[], str | None]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET."""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
            elif path in questions:
                fault = questions[path]()
                self._answer(
                    503 if fault else 200, "text/plain; charset=utf-8", (fault or "ok").encode() + b"\n"
                )
            else:
                self._answer(404, "text/plain; charset=utf-8", b"see /metrics, /healthz and /livez\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Probes are not worth a line."""

    return Handler
