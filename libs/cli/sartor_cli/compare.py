"""`sartor compare`: two curations side by side, by the figures of their reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.table import Table
from sartor.curation.v1.curation_service_pb2 import GetCurationRequest

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.options import DataDir, Project
from sartor_cli.output import console
from sartor_cli.projects import choose_project
from sartor_cli.reports import download, object_store

Figures = Mapping[str, Any]


def compare(
    first: Annotated[str, typer.Argument(help="Id of the earlier curation.")],
    second: Annotated[str, typer.Argument(help="Id of the later one.")],
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Show what changed between two curated snapshots: records, reasons, labels, languages, grade.

    \b
    Examples:
      sartor compare 01jd… 01je…
    """
    with Sartor.local(data_dir) as sartor:
        root = choose_project(sartor, project)
        reports = [_report(sartor, f"{root}/curations/{each}") for each in (first, second)]
    table = Table("", first, second, "change", box=None)
    for name, before, after in differences(*reports):
        table.add_row(name, _shown(before), _shown(after), _change(before, after))
    console.print(table)


def differences(first: Figures, second: Figures) -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of every figure, those of groups only where they differ."""
    if "grade" in first and "grade" in second:
        yield "grade", first["grade"]["grade"], second["grade"]["grade"]
    for name in ("read", "kept", "dropped", "changed"):
        yield name, first[name], second[name]
    groups: list[tuple[str, Figures, Figures]] = [
        ("dropped", first["dropped_by_reason"], second["dropped_by_reason"]),
        ("split", _by_split(first), _by_split(second)),
    ]
    for name in ("languages", "labels", "sources", "kinds"):
        groups.append((name, first[name]["after"], second[name]["after"]))
    for name, before, after in groups:
        for key in dict.fromkeys((*before, *after)):
            if before.get(key, 0) != after.get(key, 0):
                yield f"{name}: {key}", before.get(key, 0), after.get(key, 0)
    codes = [{sign["code"] for sign in report["warnings"]} for report in (first, second)]
    for code in sorted(codes[0] ^ codes[1]):
        yield f"warning: {code}", "yes" if code in codes[0] else "no", "yes" if code in codes[1] else "no"


def _by_split(report: Figures) -> dict[str, int]:
    return {one["split"]: one["records"] for one in report["splits"]}


def _report(sartor: Sartor, name: str) -> Figures:
    curation = sartor.curation.GetCuration(GetCurationRequest(name=name))
    if not curation.HasField("report"):
        raise CommandFailed(f"{name} has no report yet.", f"See how far it is: sartor get curation {name}")
    with TemporaryDirectory() as folder:
        path = download(object_store(sartor), curation.report, Path(folder) / "report.json")
        figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    return figures


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _change(before: Any, after: Any) -> str:
    if not isinstance(before, int) or not isinstance(after, int):
        return "" if before == after else "changed"
    return f"{after - before:+,}" if after != before else ""
