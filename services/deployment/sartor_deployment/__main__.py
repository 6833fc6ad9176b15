"""`python -m sartor_deployment server|worker|migrate|agent|gateway`. Each role imports only what it needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sartor_platform.runtime import Runtime
from sartor_platform.service import ServiceDefinition, main

from sartor_deployment.settings import DeploymentSettings

if TYPE_CHECKING:
    from sartor_platform.grpc_server import Servicer
    from sartor_platform.inbox import Handler
    from sartor_platform.ticks import Tick
    from sartor_platform.worker import JobKind

_DRIFT_SECONDS = 3.0
_LOOP_SECONDS = 2.0
_REEVALUATION_SECONDS = 5.0


def _servicers(runtime: Runtime) -> Sequence[Servicer]:
    from sartor.deployment.v1 import deployment_service_pb2, deployment_service_pb2_grpc
    from sartor_platform.grpc_server import Servicer

    from sartor_deployment.service import DeploymentService

    return [
        Servicer(
            deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server,
            DeploymentService(runtime),
            deployment_service_pb2.DESCRIPTOR.services_by_name["DeploymentService"].full_name,
        )
    ]


def _topics(_runtime: Runtime) -> Sequence[str]:
    from sartor_deployment.events import TOPICS

    return TOPICS


def _handlers(_runtime: Runtime) -> Mapping[str, Handler]:
    from sartor_deployment.events import HANDLERS

    return HANDLERS


def _job_kinds(runtime: Runtime) -> Sequence[JobKind]:
    from sartor_deployment.worker import job_kinds

    return job_kinds(runtime.settings)


def _ticks(_runtime: Runtime) -> Sequence[Tick]:
    from sartor_platform.ticks import Tick

    from sartor_deployment.usecases import drift, loop, reevaluation

    return (
        Tick("drift", _DRIFT_SECONDS, drift.tick),
        Tick("loop", _LOOP_SECONDS, loop.tick),
        Tick("reevaluation", _REEVALUATION_SECONDS, reevaluation.tick),
    )


def _agent(runtime: Runtime) -> None:
    from sartor_deployment.agent.role import run

    run(runtime)


def _gateway(runtime: Runtime) -> None:
    from sartor_deployment.gateway.role import run

    run(runtime)


DEFINITION = ServiceDefinition(
    name="deployment",
    package="sartor_deployment",
    settings=DeploymentSettings,
    servicers=_servicers,
    topics=_topics,
    handlers=_handlers,
    job_kinds=_job_kinds,
    ticks=_ticks,
    roles={"agent": _agent, "gateway": _gateway},
)

if __name__ == "__main__":
    sys.exit(main(DEFINITION))
