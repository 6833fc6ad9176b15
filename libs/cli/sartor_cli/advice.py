"""Where to deploy, as people read it: options with their cost, what decides, and why not."""

from __future__ import annotations

from typing import Any

from sartor.deployment.v1 import advice_pb2

from sartor_cli.faults import CommandFailed
from sartor_cli.kind import C
from sartor_cli.output import console, table


def data_class(word: str) -> advice_pb2.DataClass.ValueType:
    """Where data may go, by its word.

    Raises:
        CommandFailed: there is no such word.
    """
    words = {
        "anywhere": advice_pb2.DATA_CLASS_UNSPECIFIED,
        "regional": advice_pb2.DATA_CLASS_REGIONAL,
        "own-machines": advice_pb2.DATA_CLASS_OWN_MACHINES,
        "device": advice_pb2.DATA_CLASS_DEVICE,
    }
    if word not in words:
        raise CommandFailed(f"{word!r} is no class of data.", f"Choose one of {', '.join(words)}.")
    return words[word]


def show_advice(found: Any) -> None:
    """The answer of RecommendTarget as a table."""
    if found.impossible:
        console.print(f"[red]{found.impossible}[/]")
    columns = (
        C("TARGET", lambda each: each.target),
        C("MACHINE", lambda each: f"{each.replicas} × {each.machine}" if each.replicas else each.machine),
        C("ACCELERATOR", lambda each: each.accelerator or "-"),
        C("ENGINE", lambda each: f"{each.engine} {each.quantization}"),
        C(f"A MONTH {found.currency}".strip(), lambda each: f"{each.cost_per_month:,.0f}", right=True),
        C("P95 MS", lambda each: f"{each.latency_p95_ms:,.0f}", right=True),
        C("REQUESTS/S", lambda each: f"{each.capacity_requests_per_second:,.2f}", right=True),
        C("EFFICIENCY", _efficiency, right=True),
        C("DECIDED BY", lambda each: "" if each.reasons else each.deciding.replace("_", " ")),
        C("WHY NOT", lambda each: "; ".join(each.reasons)),
    )
    console.print(table(list(found.options), columns))
    if found.basis:
        console.print(f"\n{found.basis}")
    console.print(f"\n{found.model_statement}", style="dim")


def _efficiency(option: Any) -> str:
    """How much of its machine the engine reaches, and whether that is known."""
    return f"{option.efficiency:.2f} {'measured' if option.efficiency_measured else 'assumed'}"
