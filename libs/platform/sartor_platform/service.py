"""A service as a whole: what it consists of, and `main`, which runs its server, its worker or another role.

`topics` names what the service consumes and is asked again every few seconds. A plain string is a topic where
event types without a handler belong to somebody else and are ignored, as on `sartor.<service>.v1`.
`Topic(name, strict=True)` is one where every event is meant for this service, as on `sartor.data`: there an
unknown type goes to `<topic>.dlq` with the reason UNKNOWN_EVENT_TYPE.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from sartor_platform import fault_points, log, settings
from sartor_platform.attempt_sweep import NamedObjects, nothing_named
from sartor_platform.errors import SartorError
from sartor_platform.runtime import Runtime
from sartor_platform.servicer import Servicer
from sartor_platform.settings import PlatformSettings
from sartor_platform.threads import end_process_with_its_threads
from sartor_platform.ticks import Tick
from sartor_platform.topics import Topic
from sartor_platform.worker import JobKind

if TYPE_CHECKING:
    from sartor_platform.inbox import BatchHandler, Handler

__all__ = ["JobKind", "Runtime", "ServiceDefinition", "Servicer", "Tick", "Topic", "main"]

USAGE = 64
CANNOT_START = 78


def _no_ticks(_runtime: Runtime) -> Sequence[Tick]:
    return ()


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """What the platform must know of a service. The callables are called in the process that needs them."""

    name: str
    package: str
    settings: type[PlatformSettings]
    servicers: Callable[[Runtime], Sequence[Servicer]]
    topics: Callable[[Runtime], Sequence[str | Topic]]
    handlers: Callable[[Runtime], Mapping[str, Handler | BatchHandler]]
    job_kinds: Callable[[Runtime], Sequence[JobKind]]
    ticks: Callable[[Runtime], Sequence[Tick]] = _no_ticks
    named_objects: NamedObjects = nothing_named
    """Objects of attempts that did not win, which rows of the service name all the same."""
    roles: Mapping[str, Callable[[Runtime], None]] = field(default_factory=dict)


def main(definition: ServiceDefinition, argv: Sequence[str] | None = None) -> int:
    """`python -m sartor_<name> server|worker|migrate|<role>`; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = ["server", "worker", "migrate", *definition.roles]
    if len(arguments) != 1 or arguments[0] not in known:
        sys.stderr.write(f"usage: python -m {definition.package} {'|'.join(known)}\n")
        return USAGE
    role = arguments[0]
    try:
        configured = settings.read(definition.settings)
    except SartorError as error:
        log.configure(definition.name, role)
        log.get().error("settings.unusable", error=error.message)
        return CANNOT_START
    log.configure(definition.name, role, level=configured.log_level, as_json=configured.log_json)
    fault_points.arm(configured.fault_points, f"{definition.name}-{role}")
    try:
        status = _run(definition, role, configured)
    except SartorError as error:
        log.get().error("process.cannot_start", error=error.message, reason=error.reason)
        return CANNOT_START
    return _leave(status)


def _leave(status: int) -> NoReturn:
    """End the process now: all that must end has ended.

    The interpreter's own way out stops every thread first and then runs the finalizers of clients that wait
    for their threads: it can hang with nobody left to notice.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a full disk under the log
            stream.flush()
    os._exit(status)


def _run(definition: ServiceDefinition, role: str, configured: PlatformSettings) -> int:
    if role == "migrate":
        from sartor_platform.migrations import upgrade

        upgrade(configured.database_url, definition.package, schema=definition.name)
        return 0
    from sartor_platform import processes

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    faulthandler.register(signal.SIGUSR1)  # asked by an operator: where is each thread?
    end_process_with_its_threads(stop)
    if role == "server":
        return processes.run_server(definition, configured, stop)
    if role == "worker":
        return processes.run_worker(definition, configured, stop)
    return processes.run_role(definition, role, configured, stop)
