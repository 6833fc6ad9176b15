"""`sartor keys`: keys with which clients of a project reach the gateway."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sartor.deployment.v1 import api_key_pb2
from sartor.deployment.v1 import deployment_service_pb2 as api

from sartor_cli.client import Sartor
from sartor_cli.kind import AGE, NAME, C
from sartor_cli.options import DataDir, Output, Project
from sartor_cli.output import Format, console, last, print_detail, print_messages
from sartor_cli.projects import choose_project

HELP = """Make, list and end API keys of the gateway.

\b
Examples:
  sartor keys create mobile-app --tokens-per-minute 20000 --days 90
  sartor keys list
  sartor keys revoke mobile-app
"""
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its id, as mobile-app; made up if left out.")] = "",
    tokens_per_minute: Annotated[
        int, typer.Option(min=0, help="Tokens, read and generated; 0: no limit.")
    ] = 0,
    requests_per_minute: Annotated[int, typer.Option(min=0, help="0: no limit.")] = 0,
    days: Annotated[int, typer.Option(min=0, help="Days until it expires; 0: never.")] = 0,
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Make a key. Its secret is shown once: only its hash is kept."""
    key = api_key_pb2.ApiKey(tokens_per_minute=tokens_per_minute, requests_per_minute=requests_per_minute)
    if days:
        key.expire_time.GetCurrentTime()
        key.expire_time.seconds += days * 86_400
    with Sartor.local(data_dir) as sartor:
        request = api.CreateApiKeyRequest(
            parent=choose_project(sartor, project),
            api_key_id=name,
            api_key=key,
            request_id=str(uuid.uuid4()),
        )
        made = sartor.ask(sartor.deployment.CreateApiKey, request)
    if output is not Format.TABLE:
        print_detail(made, output)
        return
    console.print(f"{last(made.name)}: keep this secret now, it is not shown again:")
    console.print(made.secret, soft_wrap=True, markup=False)


@app.command(name="list")
def list_keys(
    project: Project = "", data_dir: DataDir = Path(".sartor"), output: Output = Format.TABLE
) -> None:
    """List the keys of a project, without their secrets."""
    with Sartor.local(data_dir) as sartor:
        request = api.ListApiKeysRequest(parent=choose_project(sartor, project))
        found = list(sartor.all(sartor.deployment.ListApiKeys, request))
    columns = (
        NAME,
        C("SECRET", lambda each: f"{each.prefix}…"),
        C("STATE", key_state),
        C("TOKENS/MIN", lambda each: f"{each.tokens_per_minute or 'no limit'}", right=True),
        C("REQUESTS/MIN", lambda each: f"{each.requests_per_minute or 'no limit'}", right=True),
        C("BY", lambda each: each.created_by),
        AGE,
    )
    print_messages(found, columns, output, "No keys yet. Make one with: sartor keys create")


def key_state(key: api_key_pb2.ApiKey) -> str:
    """Whether the gateway takes it."""
    if key.HasField("revoke_time"):
        return "revoked"
    if not key.HasField("expire_time"):
        return "good"
    expires = key.expire_time.ToDatetime(UTC)
    return f"{'expired' if expires <= datetime.now(UTC) else 'good until'} {expires:%F}"


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Its id, as `sartor keys list` names it.")],
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """End a key; gateways refuse it within seconds."""
    with Sartor.local(data_dir) as sartor:
        full = f"{choose_project(sartor, project)}/apiKeys/{last(name)}"
        sartor.ask(sartor.deployment.RevokeApiKey, api.RevokeApiKeyRequest(name=full))
    console.print(f"{last(full)} is revoked.")
