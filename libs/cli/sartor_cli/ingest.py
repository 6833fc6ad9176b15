"""`sartor ingest`: uploads a file, follows its reading and shows what was rejected, with reasons."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from sartor.common.v1.job_status_pb2 import JobState
from sartor.ingestion.v1.dataset_pb2 import Import, RejectedRecord
from sartor.ingestion.v1.ingestion_service_pb2 import (
    GetSourceRequest,
    ImportObjectsRequest,
    ListRejectedRecordsRequest,
    RequestSnapshotRequest,
    UploadHeader,
    UploadRecordsRequest,
    WatchImportRequest,
)
from sartor.ingestion.v1.source_pb2 import DataFormat

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.options import DataDir, Output, Project
from sartor_cli.output import Column, Format, console, last, plain, print_data, table
from sartor_cli.preview import show_preview
from sartor_cli.projects import choose_project
from sartor_cli.words import state_word

CHUNK_BYTES = 1024 * 1024
_FORMATS = ("jsonl", "json", "csv", "parquet", "text", "markdown", "html", "pdf", "docx")


def ingest(
    file: Annotated[str, typer.Argument(help="A file of any format, packed or not; or s3://bucket/prefix/.")],
    source: Annotated[str, typer.Option("--source", "-s", help="The source whose mapping it is read under.")],
    project: Project = "",
    form: Annotated[
        str, typer.Option("--format", help=f"{', '.join(_FORMATS)}; else decided from the file.")
    ] = "",
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what it would bring; keep nothing.")
    ] = False,
    snapshot: Annotated[
        bool, typer.Option("--snapshot/--no-snapshot", help="Seal a snapshot at once, which starts a run.")
    ] = False,
    rejected: Annotated[int, typer.Option(min=0, help="How many rejected rows to show.")] = 10,
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Bring a file of records or documents into a source.

    JSONL, JSON, CSV, Parquet, text, Markdown, HTML, PDF, Word; also as .gz, .zst, .zip or .tar. Rows that
    cannot be used are kept with their position and reason, and shown; the others go into the dataset.

    \b
    Examples:
      sartor ingest tickets.jsonl --source tickets
      sartor ingest faq.csv --source faq --project support-desk --snapshot
      sartor ingest export.zip --source manuals --preview
      sartor ingest s3://landing/2026/ --source tickets
    """
    if form and form not in _FORMATS:
        raise CommandFailed(f"{form!r} is not a format.", f"Known are {', '.join(_FORMATS)}.", 2)
    in_store = file.startswith("s3://")
    if not in_store and not Path(file).is_file():
        raise CommandFailed(f"There is no file {file}.", "Check the path.", 2)
    with Sartor.local(data_dir) as sartor:
        name = f"{choose_project(sartor, project)}/sources/{source}"
        dataset = sartor.ask(sartor.ingestion.GetSource, GetSourceRequest(name=name)).dataset
        wanted = DataFormat.Value(f"DATA_FORMAT_{form.upper() or 'UNSPECIFIED'}")
        if in_store:
            made = _import_objects(sartor, file, name, wanted, preview=preview)
        else:
            show = output is Format.TABLE
            made = upload(sartor, Path(file), name, wanted, show=show, preview=preview)
        done = _follow(sartor, made, show=output is Format.TABLE)
        rows = (
            list(
                sartor.all(
                    sartor.ingestion.ListRejectedRecords,
                    ListRejectedRecordsRequest(parent=done.name),
                    rejected,
                )
            )
            if rejected and done.rejected_count
            else []
        )
        if snapshot and not preview:
            request = RequestSnapshotRequest(dataset=dataset, request_id=str(uuid.uuid4()))
            sartor.ask(sartor.ingestion.RequestSnapshot, request)
    if output is Format.TABLE and preview and done.job.state == JobState.JOB_STATE_SUCCEEDED:
        show_preview(done)
    elif output is Format.TABLE:
        _show(done, rows)
    else:
        print_data({**plain(done), "rejected": [plain(row) for row in rows]}, output)
    if done.job.state != JobState.JOB_STATE_SUCCEEDED:
        raise CommandFailed(
            f"The import {state_word(done.job.state)}: {done.job.error.message or 'no reason given'}",
            f"See it with `sartor get imports {last(done.name)}`.",
        )


def _import_objects(
    sartor: Sartor, uri: str, source: str, form: DataFormat.ValueType, *, preview: bool
) -> Import:
    request = ImportObjectsRequest(
        source=source, uri=uri, format=form, validate_only=preview, request_id=str(uuid.uuid4())
    )
    return sartor.ask(sartor.ingestion.ImportObjects, request)


def upload(
    sartor: Sartor,
    file: Path,
    source: str,
    form: DataFormat.ValueType,
    *,
    show: bool,
    preview: bool = False,
) -> Import:
    """Streams a file to ingestion and returns the import that reads it."""
    size = file.stat().st_size
    digest = hashlib.sha256()
    with open(file, "rb") as data:
        while piece := data.read(CHUNK_BYTES):
            digest.update(piece)
    header = UploadHeader(
        source=source,
        file_name=file.name,
        format=form,
        sha256=digest.hexdigest(),
        request_id=str(uuid.uuid4()),
        validate_only=preview,
    )
    progress = Progress(
        TextColumn("Uploading {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        console=console, transient=True, disable=not show,
    )  # fmt: skip
    with progress:
        task = progress.add_task(file.name, total=size)

        def messages() -> Iterator[UploadRecordsRequest]:
            yield UploadRecordsRequest(header=header)
            with open(file, "rb") as data:
                while piece := data.read(CHUNK_BYTES):
                    yield UploadRecordsRequest(chunk=piece)
                    progress.advance(task, len(piece))

        return sartor.send(sartor.ingestion.UploadRecords, messages())


def _follow(sartor: Sartor, made: Import, *, show: bool) -> Import:
    done = made
    status = console.status("Reading the rows…")
    if show:
        status.start()
    try:
        for done in sartor.watch(sartor.ingestion.WatchImport, WatchImportRequest(name=made.name)):
            counts = f"{done.accepted_count:,} accepted, {done.rejected_count:,} rejected"
            status.update(f"Reading the rows… {counts}")
    finally:
        status.stop()
    return done


def _show(done: Import, rows: list[RejectedRecord]) -> None:
    console.print(
        f"{done.file_name}: [green]{done.accepted_count:,} accepted[/green], "
        f"[{'red' if done.rejected_count else 'green'}]{done.rejected_count:,} rejected[/], "
        f"{done.unchanged_count:,} were there already."
    )
    if not rows:
        return
    counts = Counter(row.reason for row in rows)
    console.print(
        "Rejected rows, " + ", ".join(f"{reason} {count}" for reason, count in counts.most_common()) + ":"
    )
    console.print(table(rows, REJECTED_COLUMNS))
    if done.rejected_count > len(rows):
        console.print(
            f"… and {done.rejected_count - len(rows):,} more: sartor get rejected imports/{last(done.name)}"
        )


REJECTED_COLUMNS = (
    Column[RejectedRecord]("POSITION", lambda row: last(row.position)),
    Column[RejectedRecord]("REASON", lambda row: row.reason),
    Column[RejectedRecord]("WHAT IS WRONG", lambda row: row.message),
    Column[RejectedRecord]("ROW", lambda row: row.excerpt[:60]),
)
