"""`sartor loop`: how the loop of an endpoint stands, its brake, and a turn of it by hand."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor.deployment.v1.endpoint_pb2 import Loop, RevisionState
from sartor.deployment.v1.loop_pb2 import AdaptationState, AdaptationTrigger, LoopStatus

from sartor_cli.client import Sartor
from sartor_cli.kind import C, short
from sartor_cli.options import DataDir, Output, Project
from sartor_cli.output import Format, age, console, duration, heading, last, plain, print_data, table
from sartor_cli.projects import choose_project
from sartor_cli.words import styled

HELP = """The loop of an endpoint: drift, new data or corrections lead to a model that is tuned again.

\b
Examples:
  sartor loop status support
  sartor loop pause support -m "audit until Friday"
  sartor loop start support
"""
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)
Name = Annotated[str, typer.Argument(help="An endpoint as `sartor get endpoints` names it.")]
_SHOWN = 10


@app.command()
def status(
    endpoint: Name,
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Show what the loop waits for, what it spent, and its adaptations."""
    with Sartor.local(data_dir) as sartor:
        name = f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}"
        found = sartor.ask(sartor.deployment.GetLoop, api.GetLoopRequest(name=name))
        ordered = sartor.ask(sartor.deployment.GetEndpoint, api.GetEndpointRequest(name=name)).loop
        request = api.ListAdaptationsRequest(parent=name)
        adaptations = list(sartor.all(sartor.deployment.ListAdaptations, request, limit=_SHOWN))
    if output is not Format.TABLE:
        print_data({"loop": plain(found), "adaptations": [plain(each) for each in adaptations]}, output)
        return
    _show(found, ordered)
    if adaptations:
        show_adaptations(adaptations)


@app.command()
def pause(
    endpoint: Name,
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for those who read it later.")] = "",
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Pull the brake: nothing is tuned again, and what is on its way reaches no user without a person."""
    with Sartor.local(data_dir) as sartor:
        name = f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}"
        request = api.PauseLoopRequest(name=name, message=message, request_id=str(uuid.uuid4()))
        found = sartor.ask(sartor.deployment.PauseLoop, request)
    console.print(f"The loop of {last(endpoint)} is paused by {found.paused_by}; what is live answers on.")


@app.command()
def resume(endpoint: Name, project: Project = "", data_dir: DataDir = Path(".sartor")) -> None:
    """Let the loop go on."""
    with Sartor.local(data_dir) as sartor:
        name = f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}"
        request = api.ResumeLoopRequest(name=name, request_id=str(uuid.uuid4()))
        sartor.ask(sartor.deployment.ResumeLoop, request)
        made = list(
            sartor.all(sartor.deployment.ListRevisions, api.ListRevisionsRequest(parent=name), limit=_SHOWN)
        )
    console.print(f"The loop of {last(endpoint)} goes on.")
    for each in made:  # what was stopped on its way to users does not go on by itself
        if each.state == RevisionState.REVISION_STATE_AWAITING_APPROVAL:
            command = f"sartor deploy approve {last(endpoint)} {last(each.name)}"
            console.print(f"{last(each.name)} still waits for a person: {command}")


@app.command()
def start(endpoint: Name, project: Project = "", data_dir: DataDir = Path(".sartor")) -> None:
    """Tune the model again now. Cool-down does not hold it, the budget does."""
    with Sartor.local(data_dir) as sartor:
        name = f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}"
        request = api.StartAdaptationRequest(name=name, request_id=str(uuid.uuid4()))
        found = sartor.ask(sartor.deployment.StartAdaptation, request)
    console.print(
        f"Adaptation {last(found.name)} has begun, run {found.run}: sartor loop status {last(endpoint)}"
    )


def _show(found: LoopStatus, ordered: Loop) -> None:
    if not found.configured:
        console.print(f"{last(found.name)} has no loop; add `loop` to its deployment in the project file.")
        return
    if found.paused_by:
        why = f": {found.pause_message}" if found.pause_message else ""
        console.print(f"[bold]Paused[/] by {found.paused_by}, {age(found.pause_time)} ago{why}")
    console.print(f"The model is tuned again {_causes(ordered)}.")
    console.print(
        f"Waiting: {found.waiting_corrections} corrected answers, {found.new_records} new training records"
    )
    if found.unusable_corrections:
        console.print(
            f"{found.unusable_corrections} corrections cannot become records: their questions were not"
            " sampled"
        )
    seconds = found.training_time_used.ToTimedelta().total_seconds()
    budget = ordered.budget
    console.print(
        f"Spent in the last {duration(budget.period.ToTimedelta().total_seconds())}: {found.runs_used} of"
        f" {budget.runs} adaptations, {duration(seconds)} of"
        f" {duration(budget.training_time.ToTimedelta().total_seconds())} training"
    )
    if found.HasField("cool_down_until"):
        console.print(f"No other begins by itself before {found.cool_down_until.ToDatetime():%F %T} UTC")
    if found.held:
        console.print(f"Held: {found.held}")


def _causes(ordered: Loop) -> str:
    """What begins an adaptation, as a sentence goes on."""
    causes = ["when questions, answers or feedback drift"] if ordered.on_drift else []
    if ordered.min_corrections:
        causes.append(f"after {ordered.min_corrections:,} corrected answers")
    if ordered.min_new_records:
        causes.append(f"after {ordered.min_new_records:,} new training records")
    if ordered.every.ToTimedelta():
        causes.append(f"every {duration(ordered.every.ToTimedelta().total_seconds())}")
    return ", ".join([*causes, "when asked by `sartor loop start`"])


def show_adaptations(adaptations: list[Any]) -> None:
    """The adaptations of an endpoint, newest first."""
    heading("Adaptations, newest first")
    columns = (
        C("AGE", lambda each: age(each.create_time), right=True),
        C("STATE", lambda each: styled(_word(AdaptationState.Name(each.state), "ADAPTATION_STATE_"))),
        C("BEGUN BY", lambda each: _word(AdaptationTrigger.Name(each.trigger), "ADAPTATION_TRIGGER_")),
        C("MODEL VERSION", lambda each: short(each.model_version)),
        C("REVISION", lambda each: last(each.revision)),
        C("CORRECTIONS", lambda each: str(each.corrections), right=True),
        C("WHY", lambda each: f"{each.reason}: {each.message}" if each.reason else each.cause),
        C("RUN", lambda each: each.run),
    )
    console.print(table(adaptations, columns))


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", " ")
