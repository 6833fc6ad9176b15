"""`sartor chat` and `sartor rollback`: talking to an endpoint, and taking its last revision back."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import typer
from sartor.deployment.v1.deployment_service_pb2 import (
    GetEndpointRequest,
    GetRevisionRequest,
    RollbackEndpointRequest,
)
from sartor.deployment.v1.endpoint_pb2 import Endpoint

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.gateway import Gateway, Said
from sartor_cli.options import DataDir, Output, Project
from sartor_cli.output import Format, console, last, print_detail
from sartor_cli.projects import choose_project


def chat(
    endpoint: Annotated[str, typer.Argument(help="An endpoint as `sartor get endpoints` names it.")],
    message: Annotated[str, typer.Option("--message", "-m", help="Ask this once and exit.")] = "",
    system: Annotated[str, typer.Option(help="A system instruction.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer in tokens.")] = 256,
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Talk to a deployed model. Empty line or Ctrl-D ends; /new begins afresh.

    \b
    Examples:
      sartor chat support
      sartor chat support -m "How do I reset my router?"
    """
    with Sartor.local(data_dir) as sartor:
        found = live_endpoint(sartor, f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}")
        gateway = Gateway(found.url or (sartor.stack.gateway_url if sartor.stack else ""))
    model = model_id(gateway, found)
    said = [Said("system", system)] if system else []
    if message:
        _answer(gateway, model, [*said, Said("user", message)], max_tokens)
        return
    console.print(
        f"Talking to [bold]{last(found.name)}[/bold] ({last(found.live_revision)}) at {gateway.base_url}"
    )
    _converse(gateway, model, said, max_tokens)


def _converse(gateway: Gateway, model: str, opening: list[Said], max_tokens: int) -> None:
    said = list(opening)
    while True:
        try:
            line = console.input("[bold cyan]you> [/]").strip()
        except EOFError:
            console.print()
            return
        if not line:
            return
        if line == "/new":
            said = list(opening)
            continue
        said.append(Said("user", line))
        said.append(Said("assistant", _answer(gateway, model, said, max_tokens)))


def _answer(gateway: Gateway, model: str, said: list[Said], max_tokens: int) -> str:
    answer = ""
    for piece in gateway.stream(model, said, max_tokens):
        answer += piece
        console.print(piece, end="", markup=False, soft_wrap=True)
    console.print()
    return answer


def live_endpoint(sartor: Sartor, name: str) -> Endpoint:
    """The endpoint, which must have a live revision."""
    found = sartor.ask(sartor.deployment.GetEndpoint, GetEndpointRequest(name=name))
    if not found.live_revision:
        raise CommandFailed(
            f"Endpoint {last(name)} has no live revision yet.",
            "Follow its run with `sartor runs watch`, or see `sartor get revisions`.",
        )
    return found


def model_id(gateway: Gateway, endpoint: Endpoint) -> str:
    """The id under which the gateway serves this endpoint."""
    ids = gateway.models()
    for candidate in (endpoint.name, "/".join(endpoint.name.split("/")[1::2]), last(endpoint.name)):
        if candidate in ids:
            return candidate
    raise CommandFailed(
        f"The gateway does not serve {endpoint.name} (it serves {', '.join(ids) or 'nothing'}).",
        "Wait a moment and repeat; see `sartor get revisions`.",
    )


def rollback(
    endpoint: Annotated[str, typer.Argument(help="An endpoint as `sartor get endpoints` names it.")],
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Put the revision before the live one back. Its engine is started first, so nobody waits.

    \b
    Examples:
      sartor rollback support
    """
    with Sartor.local(data_dir) as sartor:
        name = f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}"
        before = sartor.ask(sartor.deployment.GetEndpoint, GetEndpointRequest(name=name))
        with console.status("Starting the earlier revision…"):
            request = RollbackEndpointRequest(name=name, request_id=str(uuid.uuid4()))
            done = sartor.ask(sartor.deployment.RollbackEndpoint, request)
        if output is not Format.TABLE:
            print_detail(done, output)
            return
        earlier_name, text = rolled_back(before, done)
        earlier = sartor.ask(sartor.deployment.GetRevision, GetRevisionRequest(name=earlier_name))
        console.print(text)
        console.print(f"It serves {'/'.join(earlier.model_version.split('/')[3:])}.")


def rolled_back(before: Endpoint, done: Endpoint) -> tuple[str, str]:
    """The revision that answers (again, or soon), and how to say it.

    Where its engines were still warm the traffic has moved already; else it moves once an engine answers.
    """
    name = last(done.name)
    if done.live_revision != before.live_revision:
        text = f"{name}: {last(done.live_revision)} answers again instead of {last(before.live_revision)}."
        return done.live_revision, text
    earlier = done.previous_revision
    return (
        earlier,
        f"{name}: {last(earlier)} is started and then answers instead of {last(done.live_revision)}.",
    )
