"""`sartor train`: asks what a plan's training would take and teach, and pauses, resumes and shows
trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from sartor.training.v1.training_job_pb2 import TrainingJob, TrainingStep
from sartor.training.v1.training_quote_pb2 import LabelSample, TrainingQuote
from sartor.training.v1.training_service_pb2 import (
    CreateTrainingJobRequest,
    GetTrainingPlanRequest,
    ListTrainingStepsRequest,
    PauseTrainingJobRequest,
    ResumeTrainingJobRequest,
)

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.options import DataDir, Output, Project
from sartor_cli.output import Column, Format, console, duration, print_detail, print_messages
from sartor_cli.projects import choose_project

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""Ask what a training takes; pause, resume and show it.

    \b
    Examples:
      sartor train quote support --curation 01jd…
      sartor train pause 01jd…
      sartor train steps 01jd…
    """,
)
Job = Annotated[str, typer.Argument(help="Id or name of a training job, as `sartor get jobs` shows it.")]
C = Column[TrainingStep]
_FIGURES = ("loss", "validation_loss", "learning_rate", "gradient_norm", "tokens_per_second")
_QUOTE_SECONDS = 130.0


@app.command()
def quote(
    plan: Annotated[str, typer.Argument(help="Id of the training plan.")],
    curation: Annotated[str, typer.Option(help="Id of the curation whose data it would learn.")],
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Show what a training would take and teach; a worker measures it with a few real steps.

    \b
    Examples:
      sartor train quote support --curation 01jd…
    """
    with Sartor.local(data_dir) as sartor:
        root = choose_project(sartor, project)
        name = f"{root}/trainingPlans/{plan}"
        order = sartor.ask(sartor.training.GetTrainingPlan, GetTrainingPlanRequest(name=name))
        job = TrainingJob(
            curation=f"{root}/curations/{curation}",
            model=order.model,
            base_model=order.base_model,
            recipe=order.recipe,
        )
        request = CreateTrainingJobRequest(parent=root, training_job=job, validate_only=True)
        answer = sartor.ask(
            lambda asked: sartor.training.CreateTrainingJob(asked, timeout=_QUOTE_SECONDS), request
        )
    if not answer.HasField("quote"):
        raise CommandFailed(
            "This curation or base model is not ready yet.",
            "See sartor get curations and sartor get base-models",
        )
    if output is not Format.TABLE:
        print_detail(answer.quote, output)
        return
    for line in quote_lines(answer.quote):
        console.print(line)


@app.command()
def pause(
    job: Job, project: Project = "", data_dir: DataDir = Path(".sartor"), output: Output = Format.TABLE
) -> None:
    """Stop a training until it is resumed; its worker is free at once.

    \b
    Examples:
      sartor train pause 01jd…
    """
    with Sartor.local(data_dir) as sartor:
        name = _name(sartor, job, project)
        paused = sartor.ask(sartor.training.PauseTrainingJob, PauseTrainingJobRequest(name=name))
    _show(paused, output, f"{name} is paused; go on with: sartor train resume {job}")


@app.command()
def resume(
    job: Job, project: Project = "", data_dir: DataDir = Path(".sartor"), output: Output = Format.TABLE
) -> None:
    """Let a paused training go on from its last checkpoint.

    \b
    Examples:
      sartor train resume 01jd…
    """
    with Sartor.local(data_dir) as sartor:
        name = _name(sartor, job, project)
        resumed = sartor.ask(sartor.training.ResumeTrainingJob, ResumeTrainingJobRequest(name=name))
    _show(resumed, output, f"{name} goes on")


@app.command()
def steps(
    job: Job, project: Project = "", data_dir: DataDir = Path(".sartor"), output: Output = Format.TABLE
) -> None:
    """Show the figures of every step of a training.

    \b
    Examples:
      sartor train steps 01jd…
      sartor train steps 01jd… -o json
    """
    with Sartor.local(data_dir) as sartor:
        request = ListTrainingStepsRequest(parent=_name(sartor, job, project))
        found = list(sartor.all(sartor.training.ListTrainingSteps, request))
    columns = [
        C("STEP", lambda each: str(each.step), right=True),
        *(C(name.upper().replace("_", " "), _figure(name), right=True) for name in _FIGURES),
    ]
    print_messages(found, columns, output, "This training has done no step yet.")


def quote_lines(told: TrainingQuote) -> list[str]:
    """A quote as people read it, in rich's markup."""
    audit, time = told.audit, duration(told.duration.seconds)
    lines = [
        f"tokens        {told.tokens:,} in {told.steps:,} steps",
        f"time          {time} at {told.tokens_per_second:,.0f} tokens/s on {told.device}",
        f"memory, disk  {told.peak_memory_bytes / 2**30:.1f} GiB, {told.disk_bytes / 2**30:.1f} GiB",
        f"rows          {audit.rows:,}, {audit.rows_cut:,} cut, without labels {audit.rows_without_labels:,}",
        f"learned       {audit.supervised_share:.0%} of the tokens; below in green",
    ]
    if audit.refusal:
        lines.append(f"[red]refused       {escape(audit.refusal)}[/]")
    return [*lines, *("\n" + _sample(sample) for sample in audit.samples)]


def _sample(sample: LabelSample) -> str:
    return "".join(
        f"[green]{escape(span.text)}[/]" if span.learned else f"[dim]{escape(span.text)}[/]"
        for span in sample.spans
    )


def _figure(name: str) -> Any:
    return lambda each: f"{each.figures[name]:.4g}" if name in each.figures else ""


def _name(sartor: Sartor, job: str, project: str) -> str:
    return job if "/" in job else f"{choose_project(sartor, project)}/trainingJobs/{job}"


def _show(job: TrainingJob, output: Format, sentence: str) -> None:
    if output is Format.TABLE:
        console.print(sentence)
    else:
        print_detail(job, output)
