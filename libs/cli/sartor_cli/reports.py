"""`sartor reports`: fetches the reports of a run from the object store, verified, as files to open."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from minio import Minio
from minio.error import S3Error

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.options import DataDir, Project
from sartor_cli.output import console, last
from sartor_cli.projects import choose_project
from sartor_cli.run import Run, read_orders, read_run
from sartor_cli.runs import newest_run


def reports(
    run: Annotated[str, typer.Argument(help="Its id; the newest if left out.")] = "",
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Download the reports of a run: self-contained HTML pages, and their figures as JSON.

    \b
    Examples:
      sartor reports
      sartor reports 01jd…
    """
    with Sartor.local(data_dir) as sartor:
        root = choose_project(sartor, project)
        chosen = run or newest_run(sartor, root)
        found = read_run(sartor, read_orders(sartor, root), chosen)
        paths = download_reports(sartor, found, data_dir / "reports" / chosen)
    if not paths:
        console.print(f"Run {chosen} has no reports yet. Follow it with: sartor runs watch {chosen}")
    for path in paths:
        console.print(str(path), soft_wrap=True)


def download_reports(sartor: Sartor, run: Run, folder: Path) -> list[Path]:
    """Writes the run's reports into the folder and returns their paths, pages first."""
    folder.mkdir(parents=True, exist_ok=True)
    store = object_store(sartor)
    return [download(store, reference, folder / name) for name, reference in _references(run)]


def _references(run: Run) -> Iterator[tuple[str, Any]]:
    for field, ending in (("report_page", "html"), ("report", "json"), ("card", "md")):
        for kind, resources in (("curation", run.curations), ("evaluation", run.evaluations)):
            for each in resources:
                if field in each.DESCRIPTOR.fields_by_name and each.HasField(field):
                    suffix = f"-{last(each.name)}" if len(resources) > 1 else ""
                    yield f"{kind}{suffix}.{ending}", getattr(each, field)


def object_store(sartor: Sartor) -> Minio:
    """The stack's object store."""
    environment = sartor.stack.environment if sartor.stack else {}
    if not environment.get("SARTOR_S3_ENDPOINT"):
        raise CommandFailed("The stack's object store is not known.", "Is the stack running? sartor status")
    return Minio(
        environment["SARTOR_S3_ENDPOINT"],
        access_key=environment["SARTOR_S3_ACCESS_KEY"],
        secret_key=environment["SARTOR_S3_SECRET_KEY"],
        secure=environment.get("SARTOR_S3_SECURE", "false") == "true",
    )


def download(store: Minio, reference: Any, path: Path) -> Path:
    """Write an object, verified, to the path and return it."""
    bucket, _, key = reference.uri.removeprefix("s3://").partition("/")
    try:
        answer = store.get_object(bucket, key)
        data = answer.read()
        answer.release_conn()
    except S3Error as error:
        raise CommandFailed(
            f"{reference.uri} cannot be read: {error.message}.", "See `sartor status`."
        ) from None
    if hashlib.sha256(data).hexdigest() != reference.sha256:
        raise CommandFailed(f"{reference.uri} is not what was written (its SHA-256 differs).", "Run it anew.")
    path.write_bytes(data)
    return path
