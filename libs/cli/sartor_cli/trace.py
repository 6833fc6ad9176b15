"""`sartor trace`: from a record or a person back to where it came from, and on to all that contains it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from sartor.common.v1.job_status_pb2 import JobState
from sartor.curation.v1.curation_pb2 import Curation
from sartor.curation.v1.curation_service_pb2 import ListCurationsRequest, ListDroppedRecordsRequest
from sartor.deployment.v1.deployment_service_pb2 import ListRevisionsRequest
from sartor.deployment.v1.endpoint_pb2 import RevisionState
from sartor.ingestion.v1.dataset_pb2 import RecordTrace
from sartor.ingestion.v1.ingestion_service_pb2 import TraceRecordsRequest
from sartor.training.v1.training_service_pb2 import ListModelVersionsRequest

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.kind import short
from sartor_cli.options import DataDir, Output, Project
from sartor_cli.output import Column, Format, console, heading, last, plain, print_data, table
from sartor_cli.projects import choose_project
from sartor_cli.words import revision_word

_RECORD_ID = re.compile(r"[0-9a-f]{8,64}")


@dataclass(slots=True)
class Containers:
    """What contains the records beyond ingestion."""

    curations: list[dict[str, Any]] = field(default_factory=list)
    """Name and snapshot of each, and the records it dropped with their reasons."""
    versions: list[dict[str, str]] = field(default_factory=list)
    revisions: list[dict[str, str]] = field(default_factory=list)
    not_asked: list[str] = field(default_factory=list)
    """Services that are not part of the stack."""


def trace(
    record: Annotated[
        str, typer.Argument(help="A record's id (8 digits or more) or its key at the source.")
    ] = "",
    subject: Annotated[
        str,
        typer.Option("--subject", help="A person, as your data names them; only the pseudonym is compared."),
    ] = "",
    project: Project = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most rows to trace.")] = 1000,
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Show where a record, or all about a person, came from, and everything that contains it.

    \b
    Examples:
      sartor trace T-90003
      sartor trace 5f0c2a71
      sartor trace --subject customer-4711 -o json
    """
    if bool(record) == bool(subject):
        raise CommandFailed("Name either a record or a --subject.", "See `sartor trace --help`.", 2)
    with Sartor.local(data_dir) as sartor:
        root = choose_project(sartor, project)
        traces = find(sartor, root, record, subject, limit)
        if not traces:
            what = f"the person {subject!r}" if subject else repr(record)
            raise CommandFailed(
                f"Nothing in {root} is about {what}." if subject else f"No record in {root} is {what}.",
                "Was it withdrawn before a snapshot was sealed, or does it belong to another project?",
            )
        containers = contained(sartor, root, traces)
    if output is Format.TABLE:
        _show(traces, containers)
        return
    found = {
        "records": [plain(each) for each in traces],
        "curations": containers.curations,
        "model_versions": containers.versions,
        "endpoint_revisions": containers.revisions,
        "services_not_asked": containers.not_asked,
    }
    print_data(found, output)


def find(sartor: Sartor, root: str, record: str, subject: str, limit: int) -> list[RecordTrace]:
    """The rows of a person, of a record id, or else of a record key."""
    requests = [TraceRecordsRequest(parent=root, subject=subject)] if subject else []
    if record and _RECORD_ID.fullmatch(record):
        requests.append(TraceRecordsRequest(parent=root, record_id=record))
    if record:
        requests.append(TraceRecordsRequest(parent=root, record_key=record))
    for request in requests:
        found: list[RecordTrace] = list(sartor.all(sartor.ingestion.TraceRecords, request, limit))
        if found:
            return found
    return []


def contained(sartor: Sartor, root: str, traces: Sequence[RecordTrace]) -> Containers:
    """The curations of the records' snapshots, the model versions of those, and the endpoints of these.

    A service that is not part of the stack is not asked, and named.
    """
    containers = Containers()
    ids: dict[str, set[str]] = {}
    for each in traces:
        for snapshot in each.snapshots:
            ids.setdefault(snapshot, set()).add(each.record_id)
    if not ids:
        return containers
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("curation", lambda: _curations(sartor, root, ids, containers)),
        ("training", lambda: _versions(sartor, root, containers)),
        ("deployment", lambda: _revisions(sartor, root, containers)),
    )
    for service, look in steps:
        if sartor.has(service):
            look()
        else:
            containers.not_asked.append(service)
    return containers


def _curations(sartor: Sartor, root: str, ids: dict[str, set[str]], containers: Containers) -> None:
    for curation in sartor.all(sartor.curation.ListCurations, ListCurationsRequest(parent=root)):
        if curation.snapshot in ids and curation.job.state == JobState.JOB_STATE_SUCCEEDED:
            dropped = _dropped(sartor, curation, ids[curation.snapshot])
            kept = len(ids[curation.snapshot]) - len(dropped)
            containers.curations.append(
                {"name": curation.name, "snapshot": curation.snapshot, "kept": kept, "dropped": dropped}
            )


def _versions(sartor: Sartor, root: str, containers: Containers) -> None:
    keeping = {each["name"] for each in containers.curations if each["kept"]}
    request = ListModelVersionsRequest(parent=f"{root}/models/-")
    for version in sartor.all(sartor.training.ListModelVersions, request) if keeping else ():
        if version.curation in keeping:
            containers.versions.append({"name": version.name, "curation": version.curation})


def _revisions(sartor: Sartor, root: str, containers: Containers) -> None:
    names = {version["name"] for version in containers.versions}
    request = ListRevisionsRequest(parent=f"{root}/endpoints/-")
    for revision in sartor.all(sartor.deployment.ListRevisions, request) if names else ():
        if revision.model_version in names:
            state = RevisionState.Name(revision.state).removeprefix("REVISION_STATE_")
            containers.revisions.append(
                {"name": revision.name, "model_version": revision.model_version, "state": state}
            )


def _dropped(sartor: Sartor, curation: Curation, ids: set[str]) -> dict[str, str]:
    """Those of the records that a curation dropped, with the reason of each."""
    if not curation.dropped_count:
        return {}
    request = ListDroppedRecordsRequest(parent=curation.name)
    dropped: dict[str, str] = {}
    for each in sartor.all(sartor.curation.ListDroppedRecords, request):
        if each.record_id in ids:
            dropped[each.record_id] = each.reason
            if len(dropped) == len(ids):
                break
    return dropped


def _show(traces: Sequence[RecordTrace], containers: Containers) -> None:
    heading(f"{len(traces)} {'row' if len(traces) == 1 else 'rows'}")
    console.print(table(traces, _ROWS))
    heading("Snapshots")
    snapshots = sorted({name for each in traces for name in each.snapshots}, key=_in_order)
    console.print("\n".join(short(name) for name in snapshots) or "None yet.")
    heading("Curations")
    if containers.curations:
        console.print(table(containers.curations, _CURATIONS))
    else:
        console.print("None.")
    heading("Model versions (trained on it, unless it is held out for tests)")
    console.print("\n".join(short(each["name"]) for each in containers.versions) or "None.")
    heading("Endpoints")
    for each in containers.revisions:
        state = revision_word(RevisionState.Value(f"REVISION_STATE_{each['state']}"))
        console.print(f"{short(each['name'])}  {state}")
    if not containers.revisions:
        console.print("None.")
    if containers.not_asked:
        console.print(f"\nNot asked, for they do not run here: {', '.join(containers.not_asked)}.")


def _in_order(snapshot: str) -> tuple[str, int]:
    dataset, _, number = snapshot.rpartition("/")
    return dataset, int(number) if number.isdigit() else 0


def _came_from(each: RecordTrace) -> str:
    """The object and row of an import, or the event and its row."""
    if not each.position:
        return "before positions were kept"
    if not getattr(each, "import"):
        event, _, index = each.position.partition("#")
        return f"event {event}, record {index}"
    name = each.file_name or each.object.uri
    return f"{name}, row {each.row} ({each.object.uri})"


_ROWS = (
    Column[RecordTrace]("RECORD", lambda each: each.record_id[:12], whole=True),
    Column[RecordTrace]("STATE", lambda each: each.state.lower()),
    Column[RecordTrace]("SOURCE", lambda each: last(each.source)),
    Column[RecordTrace]("CAME FROM", _came_from),
    Column[RecordTrace](
        "SEGMENT, ROW", lambda each: f"{each.segment}, {each.segment_row}" if each.segment else "-"
    ),
    Column[RecordTrace]("SNAPSHOTS", lambda each: ", ".join(last(name) for name in each.snapshots) or "-"),
)
_CURATIONS = (
    Column[dict[str, Any]]("NAME", lambda each: short(each["name"]), whole=True),
    Column[dict[str, Any]]("SNAPSHOT", lambda each: last(each["snapshot"])),
    Column[dict[str, Any]]("KEPT", lambda each: str(each["kept"]), right=True),
    Column[dict[str, Any]]("DROPPED", lambda each: ", ".join(sorted(set(each["dropped"].values()))) or "-"),
)
