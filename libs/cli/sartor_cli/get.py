"""`sartor get`: lists resources of any kind, or shows one whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.kind import ResourceKind
from sartor_cli.kinds import ALIASES, KINDS
from sartor_cli.options import DataDir, Output, Project
from sartor_cli.output import Format, print_detail, print_messages
from sartor_cli.projects import choose_project
from sartor_cli.yaml_fields import suggestion


def get(
    kind: Annotated[str, typer.Argument(help="What to list, such as runs' curations; see above.")],
    name: Annotated[str, typer.Argument(help="One of them: its id, its path or its resource name.")] = "",
    project: Project = "",
    parent: Annotated[
        str, typer.Option(help="Dataset, model, endpoint, curation, import or evaluation to list below.")
    ] = "",
    where: Annotated[
        str, typer.Option("--filter", help="""Such as 'run = "…"' or 'state = "RUNNING"'.""")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most to list.")] = 50,
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """List resources, or show one.

    Kinds: projects, sources, datasets, snapshots, imports, rejected, policies, curations, dropped,
    base-models, plans, jobs, models, versions, gates, evaluations, answers, endpoints, revisions.

    \b
    Examples:
      sartor get datasets
      sartor get curations 01jd… -o json
      sartor get revisions --parent support
      sartor get rejected support               # the rows of a dataset that did not fit, with reasons
      sartor get rejected imports/01jd…         # those of one file; sources/NAME: those of one source
      sartor get dropped 01jd…                  # the records a curation dropped, with reasons
      sartor get evaluations --filter 'state = "RUNNING"'
    """
    chosen = _kind(kind)
    with Sartor.local(data_dir) as sartor:
        root = choose_project(sartor, project) if chosen.name != "projects" else ""
        if name and chosen.reading is not None and chosen.read_request is not None:
            request = chosen.read_request(name=_resource(chosen, root, name, parent))
            print_detail(sartor.ask(chosen.reading(sartor), request), output)
            return
        found = list(
            sartor.all(chosen.listing(sartor), _list_request(chosen, root, name, parent, where), limit)
        )
    print_messages(found, chosen.columns, output, f"There are no {chosen.name}.")


def _kind(given: str) -> ResourceKind:
    known = {kind.name: kind for kind in KINDS}
    chosen = known.get(ALIASES.get(given, given))
    if chosen is None:
        raise CommandFailed(f"{given!r} is not a kind of resource{suggestion(given, tuple(known))}.", "", 2)
    return chosen


def _resource(kind: ResourceKind, project: str, name: str, parent: str) -> str:
    """The full resource name of what the user calls `name`."""
    if name.startswith("projects/"):
        return name
    if kind.name == "projects":
        return f"projects/{name}"
    wanted = kind.collection.count("{}")
    ids = [part for part in name.split("/") if part not in kind.collection.split("/")]
    if parent and len(ids) < wanted:
        ids.insert(0, parent.rpartition("/")[2])
    if len(ids) != wanted:
        shape = kind.collection.replace("{}", "…")
        raise CommandFailed(f"{name!r} does not name one of the {kind.name}.", f"Write it as {shape}.", 2)
    return f"{project}/{kind.collection.format(*ids)}"


def _list_request(kind: ResourceKind, project: str, name: str, parent: str, where: str) -> object:
    below = parent or (name if kind.reading is None else "")
    if kind.parent and kind.reading is None and not below:
        owner = kind.parent.partition("/")[0]
        raise CommandFailed(
            f"The {kind.name} belong to one of the {owner}.", f"Name it: sartor get {kind.name} NAME", 2
        )
    fields: dict[str, str] = {}
    if kind.name != "projects":
        path = kind.parent.format(below or "-") if kind.parent and "/" not in below else below
        fields["parent"] = below if below.startswith("projects/") else f"{project}/{path}".rstrip("/")
    if where:
        fields["filter"] = where
    try:
        return kind.list_request(**fields)
    except ValueError:
        raise CommandFailed(f"{kind.name} cannot be filtered.", "Leave --filter out.", 2) from None
