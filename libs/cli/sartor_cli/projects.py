"""Which project a command means."""

from __future__ import annotations

from sartor.ingestion.v1.ingestion_service_pb2 import ListProjectsRequest

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
    names = [project.name for project in sartor.all(sartor.ingestion.ListProjects, ListProjectsRequest())]
    if len(names) == 1:
        return str(names[0])
    if not names:
        raise CommandFailed("There is no project yet.", "Apply one: sartor apply -f project.yaml", 2)
    known = ", ".join(last(name) for name in names)
    raise CommandFailed("There are several projects.", f"Name one with --project: {known}.", 2)
