"""Which project a command means."""

from __future__ import annotations

from sartor.deployment.v1.deployment_service_pb2 import ListEndpointsRequest
from sartor.ingestion.v1.ingestion_service_pb2 import ListProjectsRequest
from sartor_platform.errors import DeadlineExceeded, Unavailable

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.output import last


def choose_project(sartor: Sartor, given: str) -> str:
    """The resource name of the project given, or of the only one there is.

    Raises:
        CommandFailed: none was given and there is not exactly one.
    """
    if given:
        return given if given.startswith("projects/") else f"projects/{given}"
    names = _projects(sartor)
    if len(names) == 1:
        return str(names[0])
    if not names:
        raise CommandFailed("There is no project yet.", "Apply one: sartor apply -f project.yaml", 2)
    known = ", ".join(last(name) for name in names)
    raise CommandFailed("There are several projects.", f"Name one with --project: {known}.", 2)


def _projects(sartor: Sartor) -> list[str]:
    """All of them; those that have an endpoint while ingestion is away: the brake must be within reach."""
    try:
        return [each.name for each in sartor.all(sartor.ingestion.ListProjects, ListProjectsRequest())]
    except (Unavailable, DeadlineExceeded):
        request = ListEndpointsRequest(parent="projects/-")
        endpoints = sartor.all(sartor.deployment.ListEndpoints, request)
        names = sorted({"/".join(each.name.split("/")[:2]) for each in endpoints})
        if not names:
            raise
        return names
