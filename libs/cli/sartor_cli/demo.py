"""`sartor demo`: from data events to a tailored model that answers, with the example's data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sartor_local import control
from sartor_local.supervisor import StackOptions

from sartor_cli.apply import apply_project, validate
from sartor_cli.client import Sartor
from sartor_cli.demo_answers import show_answers
from sartor_cli.demo_run import follow_published, publish, snapshots_of
from sartor_cli.faults import CommandFailed
from sartor_cli.options import DataDir
from sartor_cli.output import console, duration, heading, last
from sartor_cli.project_file import ProjectFile, ProjectFileFaults, read_project_file
from sartor_cli.reports import download_reports
from sartor_cli.run import Run
from sartor_cli.scores import comparison_table, score_table
from sartor_cli.stack_commands import start, stop_quietly, summary
from sartor_cli.stage import StageState


def demo(
    example: Annotated[
        Path | None, typer.Option(help="The example's folder; examples/support-desk if left out.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running at the end.")] = False,
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """See it all at once: a company's support desk gets its own model.

    Starts the stack, applies the example's project file, lets a separate program publish the example's
    records as data events on Kafka, and follows what comes of them: snapshot, curation, training, evaluation,
    gate, deployment. Then the tuned model answers questions it never saw. Exits with 0 only if all of it
    happened.

    \b
    Examples:
      sartor demo
      sartor demo --keep    # afterwards: sartor chat support
    """
    began = time.monotonic()
    folder = find_example(example)
    project = read_project_file(folder / "project.yaml")
    with running_stack(data_dir, keep) as started, Sartor.local(data_dir) as sartor:
        _apply(sartor, project)
        before = snapshots_of(sartor, project)
        publish(sartor, folder, project)
        run = follow_published(sartor, project, before, data_dir)
        _conclude(sartor, run, data_dir, began, keep or not started)


@contextmanager
def running_stack(data_dir: Path, keep: bool) -> Iterator[bool]:
    """A stack for the block; stops at its end what was started here. Yields whether it was started here."""
    state = control.status(data_dir)
    if state is not None:
        console.print(f"A stack is already running in {data_dir}; the demo uses it and leaves it running.")
        yield False
        return
    heading("1 · The stack")
    state = start(StackOptions(data_dir))
    try:
        console.print(f"Ready after {state.ready_seconds:.1f} s.")
        console.print(summary(state, data_dir))
        yield True
    except KeyboardInterrupt:
        keep = False
        raise
    finally:
        if not keep:
            console.print("Stopping what was started…")
            stop_quietly(data_dir)


def find_example(given: Path | None) -> Path:
    """The example's folder: as given, below the working folder, or beside the sources."""
    name = Path("examples/support-desk")
    places = [given] if given else [name, Path(__file__).resolve().parents[3] / name]
    for place in places:
        if (place / "project.yaml").is_file() and (place / "publish.py").is_file():
            return place
    raise CommandFailed(
        f"There is no example in {places[0]} (it needs project.yaml and publish.py).",
        "Run this in the repository's folder, or name the folder with --example.",
        2,
    )


def _apply(sartor: Sartor, project: ProjectFile) -> None:
    heading("2 · The project file")
    faults = list(validate(sartor, project))
    if faults:
        raise ProjectFileFaults(project.path, faults)
    applied = apply_project(sartor, project)
    console.print(f"{project.path}: {len(applied)} parts applied as generation {applied[0].generation}.")


def _conclude(sartor: Sartor, run: Run, data_dir: Path, began: float, stays: bool) -> None:
    """Shows answers, figures and reports, and fails unless every stage succeeded."""
    verdicts = [each for each in run.evaluations if each.HasField("verdict")]
    answered = False
    if run.succeeded and verdicts:
        heading("5 · Questions it never saw")
        answered = show_answers(sartor, run, verdicts[0])
    heading("6 · The figures")
    for each in verdicts:
        console.print("Held-out items, value with its 95 % interval:")
        console.print(score_table(each.scores))
        console.print("\nPaired differences on the same items:")
        console.print(comparison_table(each.comparisons))
        for rule in each.verdict.rules:
            console.print(f"  {'✔' if rule.passed else '✘'} {rule.explanation}", markup=False)
    paths = download_reports(sartor, run, data_dir / "reports" / run.id)
    heading("7 · How to go on")
    _go_on(run, paths, stays)
    console.print(f"The demo took {duration(time.monotonic() - began)}.")
    _judge(run, answered)


def _go_on(run: Run, paths: list[Path], stays: bool) -> None:
    say: Callable[[str], None] = lambda text: console.print(text, markup=False, soft_wrap=True)  # noqa: E731
    if paths:
        say("Reports (open them in a browser):")
        for path in paths:
            say(f"  {path}")
    if not stays:
        say("  sartor up                 start the stack again; everything is kept")
    if run.succeeded and run.revisions:
        say(f"  sartor chat {run.revisions[0].name.split('/')[3]:<13} talk to the tuned model")
    say(f"  sartor runs show {run.id}   the run once more")
    say("  sartor get curations      what was kept and what was dropped, and why: sartor get dropped ID")
    say("  sartor apply -f …         your own project file; README.md explains it")


def _judge(run: Run, answered: bool) -> None:
    if not run.succeeded:
        stages = ", ".join(s.title for s in run.stages if s.state is StageState.NOT_REACHED)
        rest = f" Not reached: {stages}." if stages else ""
        raise CommandFailed(
            "It did not all happen. " + "; ".join(run.faults) + "." + rest, "See `sartor logs`."
        )
    if not run.revisions or not answered:
        raise CommandFailed(
            "The tuned model did not answer over its endpoint.", "See `sartor get revisions`."
        )
    console.print(
        f"[bold green]All of it happened:[/] {last(run.revisions[0].name)} is live and the gate has passed."
    )
