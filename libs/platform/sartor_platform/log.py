"""structlog, set up once a process: constant event names, bound fields, JSON unless a person is watching."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

import structlog

from sartor_platform import tracing

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def configure(service: str, process: str, *, level: str = "info", as_json: bool | None = None) -> None:
    """Send every log line of this process to standard output, named after the service and the process."""
    number = _LEVELS.get(level.lower(), 20)
    render_json = not sys.stdout.isatty() if as_json is None else as_json
    tail: list[Any]
    if render_json:
        tail = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=str)]
    else:
        tail = [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())]
    shared: Any = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    output: Any = Output(sys.stdout)
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    global _fields
    _fields = {"service": service, "process": process}
    stages: list[Any] = [_drop_record, *tail]
    renderer = structlog.stdlib.ProcessorFormatter(processors=stages, foreign_pre_chain=shared)
    handler = logging.StreamHandler(output)
    handler.setFormatter(renderer)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
    # The broker's client cries at every reconnect; our own lines say what follows from it.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


def get(**fields: object) -> Any:
    """A logger with these fields bound."""
    return structlog.get_logger(**fields)


def brief(error: BaseException) -> str:
    """An error in one line: what a server said, without the driver's advice."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__


class Output:
    """A stream that loses lines rather than raise: a full disk under the log must not fail what is logged.

    Once there is room again, a line says how many are missing.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, line: str) -> None:
        """Write a line whole."""
        try:
            if self._lost:
                self._stream.write(json.dumps({"event": "log.lines_lost", "count": self._lost}) + "\n")
                self._stream.flush()
                self._lost = 0
            self._stream.write(line)
            self._stream.flush()
        except OSError:
            self._lost += 1

    def flush(self) -> None:
        """Every line is written through already."""


_fields: dict[str, str] = {}


def _add_trace(_logger: object, _method: str, line: dict[str, Any]) -> dict[str, Any]:
    # Threads start with an empty context, so the process's own fields are set here and not by contextvars
    # alone.
    for key, value in _fields.items():
        line.setdefault(key, value)
    trace = tracing.trace_id()
    if trace:
        line["trace"] = trace
    return line


def _drop_record(_logger: object, _method: str, line: dict[str, Any]) -> dict[str, Any]:
    line.pop("_record", None)
    line.pop("_from_structlog", None)
    return line
