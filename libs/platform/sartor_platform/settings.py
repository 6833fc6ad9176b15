"""Settings: a frozen dataclass read from `SARTOR_<FIELD>` variables, with every fault reported at once."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from sartor_platform.errors import FieldViolation, InvalidArgument

PREFIX = "SARTOR_"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSettings:
    """What every process of every service needs to know; a service's own settings extend it."""

    database_url: str = field(repr=False)
    kafka_bootstrap_servers: str
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_ssl_cafile: str = ""
    kafka_sasl_mechanism: str = ""
    kafka_sasl_username: str = ""
    kafka_sasl_password: str = field(default="", repr=False)
    s3_endpoint: str
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    s3_bucket: str = "sartor"
    s3_secure: bool = False
    s3_region: str = "us-east-1"
    grpc_bind: str = "127.0.0.1:50051"
    metrics_bind: str = "127.0.0.1:0"
    data_dir: Path = Path(".sartor/work")
    """Work folders of jobs and the caches of objects and models."""
    worker_slots: int = 1
    worker_devices: str = "cpu"
    """Devices this worker has, comma-separated: a job that requires another is left to other workers."""
    object_cache_bytes: int = 20_000_000_000
    topic_partitions: int = 12
    topic_replication_factor: int = 1
    kafka_session_timeout_ms: int = 6_000
    """How long a consumer may be silent before others get its partitions; Tansu waits half of it at joins."""
    park_after_seconds: float = 5.0
    """How long an event may fail, and its partition wait, before it is parked with those of its key."""
    parked_limit: int = 100_000
    """Most parked events of a service; beyond it they wait in their partitions."""
    outbox_retention_seconds: float = 7 * 86_400.0
    """Of published events, answers to requests, and dead letters that were replayed or dropped."""
    dead_letter_retention_seconds: float = 90 * 86_400.0
    """Of dead letters nobody has dealt with. Parked events are never forgotten."""
    attempt_grace_seconds: float = 3_600.0
    """How long after a job's end the objects of its losing attempts are swept."""
    watchdog_seconds: float = 60.0
    unwell_after_seconds: float = 10.0
    """How long the database or the broker may be away before health checks are told."""
    drain_seconds: float = 10.0
    drain_notice_seconds: float = 0.0
    """How long a server that was told to stop still takes calls while its health says NOT_SERVING: the time
    load balancers need to look elsewhere."""
    lease_seconds: float = 30.0
    """How long a worker may be silent before others may take its job; kinds may set their own."""
    job_attempts: int = 3
    """How often a job is tried before it has failed; kinds may set their own."""
    fault_points: str = ""
    """The fault harness's folder; empty in every real installation. See fault_points.py."""
    log_level: str = "info"
    log_json: bool | None = None
    """Log lines as JSON; unset: as JSON unless a person is watching a terminal."""


S = TypeVar("S")


def read(cls: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """The settings of this class from the environment.

    Raises:
        InvalidArgument: BAD_SETTINGS, with one violation for each missing or malformed variable.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    faults: list[FieldViolation] = []
    for item in fields(cls):  # type: ignore[arg-type]
        variable = PREFIX + item.name.upper()
        text = environ.get(variable)
        if text is None or (text == "" and hints[item.name] is not str):
            if item.default is MISSING and item.default_factory is MISSING:
                faults.append(FieldViolation(variable, "is not set"))
            continue
        try:
            values[item.name] = _parser(hints[item.name])(text)
        except ValueError as error:
            faults.append(FieldViolation(variable, str(error)))
    if faults:
        lines = "; ".join(f"{fault.field} {fault.description}" for fault in faults)
        raise InvalidArgument(
            f"the settings are not usable: {lines}", reason="BAD_SETTINGS", violations=faults
        )
    return cls(**values)


def _parser(hint: Any) -> Callable[[str], Any]:
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    parsers: dict[Any, Callable[[str], Any]] = {str: str, int: _int, float: _float, bool: _bool, Path: Path}
    if hint not in parsers:
        raise TypeError(f"settings cannot have a field of type {hint}; use str, int, float, bool or Path")
    return parsers[hint]


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"must be a whole number, not {text!r}") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number, not {text!r}") from None


def _bool(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"must be true or false, not {text!r}")
