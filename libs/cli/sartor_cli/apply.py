"""`sartor apply`: checks a project file, here and at every service, then writes it as one generation."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import ParseDict
from sartor.curation.v1.curation_policy_pb2 import CurationPolicy
from sartor.curation.v1.curation_service_pb2 import ApplyCurationPolicyRequest
from sartor.deployment.v1.deployment_service_pb2 import ApplyEndpointRequest
from sartor.deployment.v1.endpoint_pb2 import Endpoint
from sartor.evaluation.v1.evaluation_service_pb2 import (
    ApplyGateRequest,
    ApplyPromptRequest,
    ApplySuiteRequest,
)
from sartor.evaluation.v1.gate_pb2 import Gate
from sartor.evaluation.v1.prompt_pb2 import Prompt
from sartor.evaluation.v1.suite_pb2 import Suite
from sartor.ingestion.v1.ingestion_service_pb2 import ApplyProjectRequest, ApplySourceRequest
from sartor.ingestion.v1.project_pb2 import Project
from sartor.ingestion.v1.source_pb2 import Source
from sartor.training.v1.base_model_pb2 import BaseModel
from sartor.training.v1.training_plan_pb2 import TrainingPlan
from sartor.training.v1.training_service_pb2 import ApplyBaseModelRequest, ApplyTrainingPlanRequest
from sartor_platform.errors import InvalidArgument, NotFound, SartorError

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.options import DataDir, Output
from sartor_cli.output import Column, Format, console, print_data, table
from sartor_cli.project_file import Part, ProjectFile, ProjectFileFaults, read_project_file
from sartor_cli.yaml_fields import Fault


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a kind of part goes."""

    message: type[Any]
    field: str
    request: type[Any]
    call: Callable[[Sartor], Callable[[Any], Any]]


# In the order in which they are written: data comes in last, when everything that acts on it is in place.
_TARGETS = {
    "base_models": _Target(
        BaseModel, "base_model", ApplyBaseModelRequest, lambda sartor: sartor.training.ApplyBaseModel
    ),
    "deployment": _Target(
        Endpoint, "endpoint", ApplyEndpointRequest, lambda sartor: sartor.deployment.ApplyEndpoint
    ),
    "suites": _Target(Suite, "suite", ApplySuiteRequest, lambda sartor: sartor.evaluation.ApplySuite),
    "prompts": _Target(Prompt, "prompt", ApplyPromptRequest, lambda sartor: sartor.evaluation.ApplyPrompt),
    "evaluation": _Target(Gate, "gate", ApplyGateRequest, lambda sartor: sartor.evaluation.ApplyGate),
    "training": _Target(
        TrainingPlan,
        "training_plan",
        ApplyTrainingPlanRequest,
        lambda sartor: sartor.training.ApplyTrainingPlan,
    ),
    "curation": _Target(
        CurationPolicy,
        "curation_policy",
        ApplyCurationPolicyRequest,
        lambda sartor: sartor.curation.ApplyCurationPolicy,
    ),
    "sources": _Target(Source, "source", ApplySourceRequest, lambda sartor: sartor.ingestion.ApplySource),
}


@dataclass(frozen=True, slots=True)
class Applied:
    """One part as it stands now."""

    resource: str
    revision: int
    generation: int


def apply(
    file: Annotated[Path, typer.Option("--file", "-f", help="The project file (YAML).")],
    check: Annotated[bool, typer.Option("--check", help="Only check it; apply nothing.")] = False,
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Apply a project file: the standing orders of one use case.

    The whole file is checked first, here and by every service. All faults are shown with their lines, and if
    there is one, nothing is applied. Applying an unchanged file changes nothing.

    \b
    Examples:
      sartor apply -f examples/support-desk/project.yaml
      sartor apply -f project.yaml --check
    """
    try:
        project = read_project_file(file)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}.", "Check the path.", 2) from None
    except ProjectFileFaults as broken:
        raise _with_services_faults(broken, data_dir) from None
    with Sartor.local(data_dir) as sartor:
        faults = list(validate(sartor, project))
        if faults:
            raise ProjectFileFaults(file, faults)
        if check:
            console.print(
                f"{file}: {len(project.parts) + 1} parts, no faults. Nothing was applied (--check)."
            )
            return
        applied = apply_project(sartor, project)
    if output is not Format.TABLE:
        print_data(
            [
                {"name": each.resource, "revision": each.revision, "generation": each.generation}
                for each in applied
            ],
            output,
        )
        return
    console.print(table(applied, _COLUMNS))
    console.print(f"Applied {len(applied)} parts as generation {applied[0].generation}.")


_COLUMNS = (
    Column[Applied]("RESOURCE", lambda each: each.resource, whole=True),
    Column[Applied]("REVISION", lambda each: str(each.revision), right=True),
)


def _with_services_faults(broken: ProjectFileFaults, data_dir: Path) -> ProjectFileFaults:
    """The file's faults and what the services object to in the rest of it, so that one look finds all."""
    if broken.sound is None:
        return broken
    try:
        with Sartor.local(data_dir) as sartor:
            more = list(validate(sartor, broken.sound))
    except (CommandFailed, SartorError):
        return broken  # no services to ask; what was found stands
    return ProjectFileFaults(broken.path, [*broken.faults, *more])


def validate(sartor: Sartor, project: ProjectFile) -> Iterator[Fault]:
    """Asks every service whether it would take its parts; yields what they object to, with its lines."""
    for call, request, part in _requests(sartor, project, 0, validate_only=True):
        try:
            sartor.ask(call, request)
        except InvalidArgument as error:
            yield from _faults_of(error, part, project)
        except NotFound as error:
            # The project itself is made by this very file.
            if part is None or not _is_about_project(error, project):
                yield _fault(part, project, "", error.message)
        except SartorError as error:
            if error.transient:
                raise
            yield _fault(part, project, "", error.message)


def apply_project(sartor: Sartor, project: ProjectFile) -> list[Applied]:
    """Writes all parts with one generation, the project first and its sources last."""
    generation = 0
    applied: list[Applied] = []
    for kind in (None, *_TARGETS):
        for call, request, part in _requests(sartor, project, generation, validate_only=False):
            if (part.kind if part else None) == kind:
                answer = sartor.ask(call, request)
                generation = generation or answer.order.generation
                applied.append(Applied(answer.name, answer.order.revision, answer.order.generation))
    return applied


def _requests(
    sartor: Sartor, project: ProjectFile, generation: int, *, validate_only: bool
) -> Iterator[tuple[Callable[[Any], Any], Any, Part | None]]:
    shared: dict[str, Any] = {"generation": generation, "validate_only": validate_only}
    message = Project(
        name=f"projects/{project.project}", display_name=project.display_name, project_file=project.text
    )
    yield (
        sartor.ingestion.ApplyProject,
        ApplyProjectRequest(project=message, request_id=str(uuid.uuid4()), **shared),
        None,
    )
    for part in project.parts:
        target = _TARGETS[part.kind]
        order = ParseDict(dict(part.values), target.message())
        request = target.request(request_id=str(uuid.uuid4()), **shared, **{target.field: order})
        yield target.call(sartor), request, part


def _faults_of(error: InvalidArgument, part: Part | None, project: ProjectFile) -> Iterator[Fault]:
    if not error.violations:
        yield _fault(part, project, "", error.message)
    for violation in error.violations:
        yield _fault(part, project, violation.field, violation.description)


def _fault(part: Part | None, project: ProjectFile, field: str, message: str) -> Fault:
    if part is None:
        return Fault(project.line, 1, "project", message)
    shown = field.removeprefix(f"{_TARGETS[part.kind].field}.")
    return Fault(part.line_of(field), 1, f"{part.kind}.{shown}" if shown else part.title, message)


def _is_about_project(error: NotFound, project: ProjectFile) -> bool:
    name = f"projects/{project.project}"
    return error.reason == "PROJECT_NOT_FOUND" or name in error.metadata.values()
