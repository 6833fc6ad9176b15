"""`sartor snapshot`: seals what is pending now, also where a contract stops it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import typer
from sartor.ingestion.v1.ingestion_service_pb2 import RequestSnapshotRequest

from sartor_cli.client import Sartor
from sartor_cli.options import DataDir, Project
from sartor_cli.output import console
from sartor_cli.projects import choose_project


def snapshot(
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    accept_breaches: Annotated[
        bool, typer.Option("--accept-breaches", help="Seal it although a source's contract stops it.")
    ] = False,
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Seal a snapshot of a dataset's pending records, which starts a run.

    \b
    Examples:
      sartor snapshot support
      sartor snapshot support --accept-breaches
    """
    with Sartor.local(data_dir) as sartor:
        name = dataset if "/" in dataset else f"{choose_project(sartor, project)}/datasets/{dataset}"
        request = RequestSnapshotRequest(
            dataset=name, request_id=str(uuid.uuid4()), accept_breaches=accept_breaches
        )
        found = sartor.ask(sartor.ingestion.RequestSnapshot, request)
    if found.pending_count:
        console.print(f"Sealing {found.pending_count:,} pending records; follow it with `sartor runs watch`.")
    else:
        console.print("Nothing is pending, so there is nothing to seal.")
