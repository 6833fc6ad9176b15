"""The end of the demo: the live endpoint answers held-out questions next to the base model's answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.padding import Padding
from rich.text import Text
from sartor.deployment.v1.deployment_service_pb2 import GetEndpointRequest
from sartor.evaluation.v1.evaluation_service_pb2 import ListItemResultsRequest

from sartor_cli.chat import model_id
from sartor_cli.client import Sartor
from sartor_cli.gateway import Gateway, Said
from sartor_cli.output import console
from sartor_cli.run import Run

QUESTIONS = 3


def show_answers(sartor: Sartor, run: Run, evaluation: Any) -> bool:
    """Asks the endpoint; True if every question got an answer.

    The base model's answers are those of the evaluation, greedily decoded from the same prompts.
    """
    endpoint_name = run.revisions[0].name.rpartition("/revisions/")[0]
    endpoint = sartor.ask(sartor.deployment.GetEndpoint, GetEndpointRequest(name=endpoint_name))
    gateway = Gateway(endpoint.url or (sartor.stack.gateway_url if sartor.stack else ""))
    model = model_id(gateway, endpoint)
    console.print(f"POST {gateway.base_url}/chat/completions, model {model}", markup=False)
    items = choose_items(_results(sartor, evaluation))
    answered = 0
    for item in items:
        answer = gateway.ask(model, [Said("user", item.prompt)])
        answered += bool(answer)
        _show(item, answer)
    return bool(items) and answered == len(items)


def _results(sartor: Sartor, evaluation: Any) -> list[Any]:
    request = ListItemResultsRequest(
        parent=evaluation.name, filter='candidate = "base" AND suite = "held_out"'
    )
    return list(sartor.all(sartor.evaluation.ListItemResults, request))


def choose_items(results: Iterable[Any], most: int = QUESTIONS) -> list[Any]:
    """A question of each kind (language, labelled or not), then others; by id, never by score."""
    ordered = sorted(results, key=lambda each: each.item_id)
    chosen: list[Any] = []
    kinds: set[tuple[str, bool]] = set()
    for each in ordered:
        kind = (each.slices.get("language", ""), bool(each.slices.get("label", "")))
        if kind not in kinds and len(chosen) < most:
            kinds.add(kind)
            chosen.append(each)
    for each in ordered:
        if len(chosen) < most and each not in chosen:
            chosen.append(each)
    return chosen


def _show(item: Any, answer: str) -> None:
    console.print()
    console.print(Text(f"Question: {item.prompt}", style="bold"))
    for title, text, style in (
        ("base", item.answer, "dim"),
        ("tuned", answer, "green"),
        ("right", item.reference, ""),
    ):
        console.print(Padding(Text(f"{title:<6} {_short(text)}", style=style), (0, 0, 0, 2)))


def _short(text: str, most: int = 500) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[:most] + "…"
