"""`sartor runs`: the runs of a project, and one of them live from snapshot to deployment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from sartor.ingestion.v1.ingestion_service_pb2 import ListSnapshotsRequest

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.options import DataDir, Output, Project
from sartor_cli.output import Column, Format, age, console, last, print_data, table
from sartor_cli.projects import choose_project
from sartor_cli.run import Run, read_orders, read_run
from sartor_cli.run_view import follow, patient, run_table, stage_text
from sartor_cli.stage import StageState
from sartor_cli.words import styled

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class Line:
    """One run of the list."""

    run: str
    cause: str
    records: int
    state: str
    stage: str
    detail: str
    begun: Any


@app.callback()
def runs(
    context: typer.Context,
    project: Project = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most to list.")] = 10,
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """List the runs of a project, newest first. A run is everything that follows from one snapshot.

    \b
    Examples:
      sartor runs
      sartor runs watch             # the newest, live, to its end
      sartor runs show 01jd… -o json
    """
    if context.invoked_subcommand is not None:
        return
    with Sartor.local(data_dir) as sartor:
        root = choose_project(sartor, project)
        orders = read_orders(sartor, root)
        lines = [_line(read_run(sartor, orders, each.run), each) for each in _snapshots(sartor, root, limit)]
    if output is not Format.TABLE:
        print_data([{k: v for k, v in asdict(line).items() if k != "begun"} for line in lines], output)
    elif not lines:
        console.print("There are no runs yet. A run begins when a snapshot is sealed: sartor ingest --help")
    else:
        console.print(table(lines, _COLUMNS))


_COLUMNS = (
    Column[Line]("RUN", lambda line: line.run, whole=True),
    Column[Line]("STATE", lambda line: styled(line.state)),
    Column[Line]("STAGE", lambda line: line.stage),
    Column[Line]("RECORDS", lambda line: f"{line.records:,}", right=True),
    Column[Line]("CAUSE", lambda line: line.cause),
    Column[Line]("BEGUN", lambda line: f"{age(line.begun)} ago", right=True),
    Column[Line]("DETAIL", lambda line: line.detail),
)


@app.command()
def watch(
    run: Annotated[str, typer.Argument(help="Its id; the newest if left out.")] = "",
    next_: Annotated[
        bool, typer.Option("--next", help="Wait for a run that has not begun yet, and follow that.")
    ] = False,
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Follow a run live to its end. The exit status is 0 only if every stage succeeded.

    \b
    Examples:
      sartor runs watch             # the newest, or the first as soon as it begins
      sartor runs watch --next      # right after an ingest: the run it will start
      sartor runs watch 01jd…
    """
    with Sartor.local(data_dir) as sartor:
        root = choose_project(sartor, project)
        orders = read_orders(sartor, root)
        before = _newest(sartor, root)

        def read() -> Run | None:
            newest = "" if run else _newest(sartor, root)
            chosen = run or ("" if next_ and newest == before else newest)
            return read_run(sartor, orders, chosen) if chosen else None

        done = follow(patient(read), lambda: "Waiting for a run to begin, which a sealed snapshot does…")
    done = _with_stages(done, run)
    if not done.succeeded:
        raise CommandFailed(f"Run {done.id} did not succeed: " + "; ".join(done.faults), "See `sartor logs`.")


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Its id; the newest if left out.")] = "",
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Show a run as it stands now.

    \b
    Examples:
      sartor runs show
      sartor runs show 01jd… -o yaml
    """
    with Sartor.local(data_dir) as sartor:
        root = choose_project(sartor, project)
        chosen = run or newest_run(sartor, root)
        found = _with_stages(read_run(sartor, read_orders(sartor, root), chosen), chosen)
    if output is Format.TABLE:
        console.print(run_table(found))
    else:
        stages = [{**asdict(stage), "state": stage.state.value} for stage in found.stages]
        print_data({"run": found.id, "project": found.project, "stages": stages}, output)


def _snapshots(sartor: Sartor, project: str, limit: int) -> Sequence[Any]:
    request = ListSnapshotsRequest(parent=f"{project}/datasets/-")
    return list(sartor.all(sartor.ingestion.ListSnapshots, request, limit))


def newest_run(sartor: Sartor, project: str) -> str:
    """The id of the project's newest run."""
    newest = _newest(sartor, project)
    if not newest:
        raise CommandFailed(
            f"Project {last(project)} has no runs yet.",
            "A run begins when a snapshot is sealed: bring in data with `sartor ingest` or data events.",
        )
    return newest


def _newest(sartor: Sartor, project: str) -> str:
    newest = _snapshots(sartor, project, 1)
    return str(newest[0].run) if newest else ""


def _with_stages(run: Run | None, wanted: str) -> Run:
    if run is None or not run.stages:
        raise CommandFailed(
            f"There is no run {wanted!r} in this project.", "List them with `sartor runs`.", 2
        )
    return run


def _line(run: Run, snapshot: Any) -> Line:
    stages = [stage for stage in run.stages if stage.state is not StageState.NOT_REACHED]
    current = next((stage for stage in stages if stage.state is not StageState.SUCCEEDED), stages[-1])
    state = "succeeded" if run.succeeded else "failed" if run.ended else "running"
    detail = stage_text(current)
    return Line(
        run.id, snapshot.cause, snapshot.record_count, state, current.title, detail, snapshot.create_time
    )
