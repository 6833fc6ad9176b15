"""`python -m sartor_evaluation server|worker|migrate`: the wiring. Each role imports only what it needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sartor_platform.runtime import Runtime
from sartor_platform.service import ServiceDefinition, main

from sartor_evaluation.settings import EvaluationSettings

if TYPE_CHECKING:
    from sartor_platform.grpc_server import Servicer
    from sartor_platform.inbox import Handler
    from sartor_platform.worker import JobKind


def _servicers(runtime: Runtime) -> Sequence[Servicer]:
    from sartor_evaluation.service import servicers

    return servicers(runtime)


def _topics(_runtime: Runtime) -> Sequence[str]:
    from sartor_evaluation.events import TOPICS

    return TOPICS


def _handlers(_runtime: Runtime) -> Mapping[str, Handler]:
    from sartor_evaluation.events import HANDLERS

    return HANDLERS


def _job_kinds(runtime: Runtime) -> Sequence[JobKind]:
    import atexit

    from sartor_evaluation.runners import RunnerServer
    from sartor_evaluation.worker import job_kinds

    # Resident runners live beside the worker: it may start processes, a server may not.
    runners = RunnerServer(runtime)
    runners.start()
    atexit.register(runners.stop)
    return job_kinds()


DEFINITION = ServiceDefinition(
    name="evaluation",
    package="sartor_evaluation",
    settings=EvaluationSettings,
    servicers=_servicers,
    topics=_topics,
    handlers=_handlers,
    job_kinds=_job_kinds,
)

if __name__ == "__main__":
    sys.exit(main(DEFINITION))
